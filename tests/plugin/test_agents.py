"""Files of agents: what they may say, and what is said of a mistake."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.agents import AGENTS, Agent, parse, read_agents, reread
from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.errors import SettingsError

FULL = """\
---
# who asks whom
proposer: command:python mine.py --name 'a: b'
model: "oracle-9"
price: 2/10

categories: schedule, optimizer
share: 0.25
---
Look at the optimizer.

---
And at nothing else.
"""


def written(root: Path, **texts: str) -> Path:
    """A project with these agents."""
    directory = root / AGENTS
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / f"{name}.md").write_text(text)
    return root


def test_a_file_says_who_proposes_and_what_for() -> None:
    """All keys, comments and blank lines; the body begins below the second fence."""
    agent = parse(FULL, "bold.md")

    assert agent == Agent(
        name="bold",
        file="experiments/agents/bold.md",
        program="Look at the optimizer.\n\n---\nAnd at nothing else.",
        proposer="command:python mine.py --name 'a: b'",
        model="oracle-9",
        price=(2.0, 10.0),
        categories=("optimizer", "schedule"),
        share=0.25,
    )
    assert agent.at("model") == "experiments/agents/bold.md:4"


def test_a_file_without_front_matter_is_all_program() -> None:
    """Everything else is the session's."""
    agent = parse("Try large steps.\n", "bold.md")

    assert (agent.program, agent.proposer, agent.model) == (
        *("Try large steps.\n", None, None),
    )
    assert (agent.categories, agent.share) == (CATEGORIES, 0.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("---\ncolour: red\n---\nGo.", 2, "unknown key 'colour'; use one of proposer"),
        ("---\nshare: 0.1\nshare: 0.2\n---\nGo.", 3, "share stands here twice"),
        ("---\n\nshare: much\n---\nGo.", 3, "share 'much': a share is a number from"),
        ("---\nshare: 1.5\n---\nGo.", 2, "a share is a number from 0 to 1"),
        ("---\nshare: nan\n---\nGo.", 2, "a share is a number from 0 to 1"),
        ("---\ncategories: magic\n---\nGo.", 2, "'magic' is none of architecture, "),
        ("---\nprice: 3\n---\nGo.", 2, "a price looks like 3/15"),
        ("---\nproposer:\n---\nGo.", 2, "'proposer:' is not `key: value`"),
        ("---\nwords alone\n---\nGo.", 2, "'words alone' is not `key: value`"),
        ("---\nshare: 0.1\nGo.", 1, "the front matter does not end"),
        ("\n---\nshare: 0.1\n---\nGo.", 1, "which is the first of the file"),
        ("---\nshare: 0.1\n---\n\n", 4, "there is no program"),
        ("", 1, "there is no program"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    text: str, line: int, words: str
) -> None:
    """Each in one sentence that says what to do."""
    with pytest.raises(SettingsError) as caught:
        parse(text, "bold.md")

    assert str(caught.value).startswith(f"experiments/agents/bold.md:{line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["two words.md", "-x.md", "ä.md", "x" * 41 + ".md"])
def test_a_name_fits_into_reports(name: str) -> None:
    """It stands in tables, events and on the command line."""
    with pytest.raises(SettingsError, match="an agent is named by its file"):
        parse("Go.", name)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a file holds: an agent, or a message with its place."""
    said = ""
    try:
        said = f"{AGENTS}/any.md:" if parse(text, "any.md").program.strip() else ""
    except SettingsError as error:
        said = str(error)

    assert said.startswith("experiments/agents/any.md:")


def test_without_a_directory_there_is_one_agent(tmp_path: Path) -> None:
    """As ever: experiments/program.md steers, and nobody has a name."""
    assert read_agents(tmp_path) == (Agent(),)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "program.md").write_text("Be simple.")
    assert read_agents(tmp_path) == (Agent(program="Be simple."),)
    written(tmp_path, README="How we write these.")
    assert [agent.name for agent in read_agents(tmp_path)] == [""]


def test_agents_come_by_name(tmp_path: Path) -> None:
    """Each file one, whatever its editor puts before the first line."""
    written(tmp_path, zoe="Go.", ann="\ufeff---\nshare: 0.5\n---\nGo.")

    assert [(one.name, one.share) for one in read_agents(tmp_path)] == [
        ("ann", 0.5),
        ("zoe", 0.0),
    ]


def test_the_examples_are_agents(tmp_path: Path) -> None:
    """docs/examples/agents can be copied as it is."""
    examples = Path(__file__).parents[2] / "docs" / "examples" / "agents"
    shutil.copytree(examples, tmp_path / AGENTS)

    assert [(one.name, one.proposer) for one in read_agents(tmp_path)] == [
        ("architect", "anthropic"),
        ("search", "tpe"),
    ]


def test_shares_are_at_most_everything(tmp_path: Path) -> None:
    """Ten tenths are 1; what goes beyond is named where it does."""
    tenths = {f"a{n}": "---\nshare: 0.1\n---\nGo." for n in range(10)}
    assert len(read_agents(written(tmp_path, **tenths))) == 10
    written(tmp_path, zoe="---\n# more\nshare: 0.05\n---\nGo.")

    with pytest.raises(SettingsError, match=r"agents/zoe\.md:3: the shares of all"):
        read_agents(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Latin-1 is a usage error, not a traceback."""
    path = written(tmp_path, bold="") / AGENTS / "bold.md"
    path.write_bytes(b"caf\xe9")

    with pytest.raises(SettingsError, match=r"bold\.md cannot be read as UTF-8"):
        read_agents(tmp_path)


def test_a_program_may_change_in_a_session(tmp_path: Path) -> None:
    """The next prompt has the new words; who proposes stays, and mistakes change
    nothing."""
    written(tmp_path, bold="---\nproposer: tpe\n---\nFirst.")
    (agent,) = read_agents(tmp_path)
    written(tmp_path, bold="---\nproposer: none\nshare: 1\n---\nSecond.")
    second = reread(tmp_path, agent)
    written(tmp_path, bold="---\nno end")

    assert (second.program, second.proposer, second.share) == ("Second.", "tpe", 0.0)
    assert reread(tmp_path, second) == second
    (tmp_path / AGENTS / "bold.md").unlink()
    assert reread(tmp_path, second) == second
