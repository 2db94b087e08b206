"""Agents in a session: side by side, each with its own text, purse and fate."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from autoresearch_plugin import bandit, cli, standings

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from messages_server import MessagesServer, Received, proposal, status

# A proposer with a planted keep rate: a third of the smallest LR so far is always
# better here, more than double always worse.
PROPOSER = '''"""python ideas.py NAME RATE: a gain with this probability."""
import json, random, re, sys
request = json.load(sys.stdin)
name, rate = sys.argv[1], float(sys.argv[2])
now = float(re.search(r"^LR = (\\S+)", request["source"], re.M)[1])
before = [e["value"] for one in request["tried"] for e in one["edits"]]
number = request["number"]
good = random.Random(f"{name} {number}").random() < rate
value = min([now, *before]) / 3 if good else now * (2.003 + number / 50)
print(json.dumps({
    "title": f"{'gain' if good else 'harm'} {number} of {name}",
    "hypothesis": request["program"].strip(),
    "category": request["categories"][0],
    "edits": [{"op": "set", "knob": "LR", "value": value}],
}))
'''


def agent(project: Any, name: str, body: str = "Go.", **keys: object) -> None:
    """Write one agent."""
    path = project.path / "experiments" / "agents" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(f"{key}: {value}\n" for key, value in keys.items())
    path.write_text(f"---\n{lines}---\n{body}\n")


def planted(project: Any, **rates: float) -> None:
    """A start far from the optimum, and agents with these keep rates."""
    path = project.path / "train.py"
    path.write_text(path.read_text().replace("LR = 0.1 ", "LR = 1e60 "))
    program = project.path / "ideas.py"
    program.write_text(PROPOSER)
    for name, rate in rates.items():
        words = f"command:{{python}} {program} {name} {rate}"
        agent(project, name, f"I am {name}.", proposer=words)


def session(project: Any, *words: str, timeout: float = 120) -> Any:
    """A session in one process; result with `rows`, its candidates."""
    ran = project.run("--autoresearch", "-pno:xdist", *words, timeout=timeout)
    ran.text = ran.stdout.str() + ran.stderr.str()
    return ran


@contextlib.contextmanager
def served(answer: Any) -> Iterator[MessagesServer]:
    """A server of models, and the environment that leads the client to it."""
    with (
        MessagesServer([answer], repeat=True) as server,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-nobody-7f3c")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


@pytest.fixture(scope="module")
def two(new_project: Any) -> Any:
    """Two agents, eight candidates; the poor one has a floor and a category."""
    project = new_project("two")
    planted(project, good=1.0)
    words = f"command:{{python}} {project.path / 'ideas.py'} poor 0"
    agent(project, "poor", "I am poor.", proposer=words, share=0.25, categories="other")
    project.commit()
    project.ran = session(project, "--autoresearch-experiments=8")
    return project


def test_each_candidate_knows_its_agent(two: Any) -> None:
    """Row, reason of the turn, and in kept.xml; each was told its own text alone."""
    rows = two.ledger().candidates()

    assert two.ran.ret == 0, two.ran.text
    assert {row["agent"] for row in rows} == {"good", "poor"}
    assert all(row["hypothesis"] == f"I am {row['agent']}." for row in rows)
    assert all(row["turn"].endswith(" %") for row in rows)
    assert {row["category"] for row in rows if row["agent"] == "poor"} == {"other"}
    root = ET.parse(two.path / "autoresearch-report" / "kept.xml").getroot()
    kept = [
        p.attrib["value"] for p in root.iter("property") if p.get("name") == "agent"
    ]
    assert kept == ["good"] * len(kept) != []


def test_the_closing_screen_says_what_each_has_done_and_why(two: Any) -> None:
    """Counts, keeps a device-hour, the share and the reason for it."""
    rows = [row for row in two.ledger().candidates() if row["agent"] == "good"]
    lines = two.ran.stdout.lines
    at = next(i for i, line in enumerate(lines) if line.startswith("agent   good: "))

    assert f"good: {len(rows)} proposals: {len(rows)} kept; " in lines[at]
    assert "keeps a device-hour" in lines[at]
    assert lines[at + 1].startswith(f"        exploit: {len(rows)} keeps of")
    assert "best with a chance of " in lines[at + 1]
    assert lines[at + 2].startswith("agent   poor: ")
    assert "0 keeps a device-hour" in lines[at + 2]
    assert "  agent poor: command, " in two.ran.text  # the header
    assert ", at least 25 %" in two.ran.text


def test_the_script_reads_the_same(
    two: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`autoresearch agents`, `show` and `prompt --agent`."""
    monkeypatch.chdir(two.path)
    assert cli.main(["agents"]) == 0
    assert "agent   good: " in capsys.readouterr().out
    assert cli.main(["show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "  agent      " in shown
    assert "  turn       " in shown
    assert cli.main(["prompt", "--agent", "poor"]) == 0
    told = capsys.readouterr().out
    assert "(experiments/agents/poor.md):\n\nI am poor." in told
    assert "Categories: other; proposals of any other are refused." in told
    assert "I am good." not in told.partition("Everything tried")[0]
    assert "gain 0 of good" in told or "harm 0 of poor" in told  # of all agents
    assert cli.main(["prompt"]) == 0
    assert "I am " in capsys.readouterr().out
    assert cli.main(["prompt", "--agent", "nobody"]) == 1
    assert "there is good, poor" in capsys.readouterr().err


def test_without_agents_nobody_is_named(new_project: Any) -> None:
    """One implicit agent: no line of the report, no name in the ledger."""
    project = new_project("plain")
    project.commit()
    ran = session(project, "--autoresearch-experiments=1")

    assert ran.ret == 0, ran.text
    (row,) = project.ledger().candidates()
    assert (row["agent"], row["turn"], row["proposer"]) == (None, None, "tpe")
    assert "agent " not in ran.text


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"proposer": "oracle"}, "bold.md:2: --autoresearch-proposer 'oracle'"),
        ({"proposer": "scripted:nowhere"}, "bold.md:2: --autoresearch-proposer script"),
        ({"share": 1, "model": "x", "proposer": "anthropic"}, "bold.md:4: "),
        ({"colour": "red"}, "bold.md:2: unknown key 'colour'"),
        ({"share": 0.6}, "careful.md:2: the shares of all agents add up to 1.2"),
    ],
)
def test_a_bad_file_is_a_usage_error(
    new_project: Any, keys: dict[str, object], words: str
) -> None:
    """Exit 4 before anything runs, with file and line."""
    project = new_project("bad")
    agent(project, "bold", **keys)
    agent(project, "careful", share=0.6)
    if "share" not in keys or keys["share"] == 1:
        agent(project, "careful")
    project.commit()
    ran = session(project)

    assert ran.ret == 4, ran.text
    assert f"experiments/agents/{words}" in ran.text
    assert "Traceback" not in ran.text


def test_none_asks_nobody(new_project: Any) -> None:
    """--autoresearch-proposer=none means it, whatever the files say."""
    project = new_project("none")
    agent(project, "bold", proposer="tpe")
    project.commit()
    ran = session(project, "--autoresearch-proposer=none")

    assert ran.ret == 0, ran.text
    assert project.ledger().candidates() == []


def test_a_category_that_is_not_asked_for_is_refused(new_project: Any) -> None:
    """No run; the answer is a loss of the agent who gave it."""
    project = new_project("category")
    script = project.script(
        first={
            "category": "other",
            "edits": [{"op": "set", "knob": "WIDTH", "value": 5}],
        },
        second={"WIDTH": 6},
    ).partition("=")[2]
    agent(project, "narrow", proposer=script, categories="batch")
    project.commit()
    ran = session(project)

    assert ran.ret == 0, ran.text
    assert project.ledger().candidates() == []
    assert "narrow: line 1: category 'other' is not asked for here" in ran.text
    assert "agent   narrow: 2 proposals: 2 refused; no device time" in ran.text


def test_who_does_not_answer_rests_and_the_others_go_on(new_project: Any) -> None:
    """The search does not propose in the name of whoever failed."""
    project = new_project("failing")
    planted(project, steady=0.5)
    agent(project, "away", proposer="command:false", share=0.5)
    project.commit()
    ran = session(project, "--autoresearch-experiments=3")

    assert ran.ret == 0, ran.text
    assert {row["agent"] for row in project.ledger().candidates()} == {"steady"}
    assert "away: command does not answer: " in ran.text
    assert "agent   away: 0 proposals; no device time" in ran.text


def test_when_the_last_one_fails_the_search_fills_in(new_project: Any) -> None:
    """Its candidates are nobody's."""
    project = new_project("all-failing")
    for name in ("ann", "bob"):
        agent(project, name, proposer="command:false")
    project.commit()
    ran = session(project, "--autoresearch-experiments=2")

    assert ran.ret == 0, ran.text
    rows = project.ledger().candidates()
    assert [(row["agent"], row["proposer"]) for row in rows] == [(None, "tpe")] * 2
    assert "command does not answer, tpe fills in until it does: " in ran.text


def test_calls_are_booked_under_their_agent(new_project: Any) -> None:
    """Two models at two prices, one cap; who cannot pay the next call leaves."""
    project = new_project("models")
    agent(project, "dear", "I am dear.", model="claude-opus-5", share=0.5)
    agent(project, "cheap", "I am cheap.", model="claude-haiku-5-5", share=0.5)
    project.commit()
    usage = {"input_tokens": 0, "output_tokens": 20_000}
    count = iter(range(100))

    def think(body: dict[str, Any]) -> Any:
        edits = [{"op": "set", "knob": "LR", "value": 0.5 + next(count) / 100}]
        data = {"title": "t", "hypothesis": "h", "category": "other", "edits": edits}
        return proposal(data, usage=usage)

    with served(think) as server:
        ran = session(
            project, "--autoresearch-experiments=8", "--autoresearch-max-usd=1.2"
        )
        asked: list[Received] = list(server.requests)
    calls = project.ledger().calls(1)
    spent = {
        name: sum(call["usd"] for call in calls if call["agent"] == name)
        for name in ("dear", "cheap")
    }

    assert ran.ret == 0, ran.text
    assert sum(spent.values()) == pytest.approx(sum(call["usd"] for call in calls))
    assert 0 < spent["cheap"] < 0.1 < spent["dear"] <= 1.2
    assert {(c["agent"], c["model"]) for c in calls} == {
        ("dear", "claude-opus-5"),
        ("cheap", "claude-haiku-5-5"),
    }
    for request in asked:
        name = "dear" if "opus" in str(request.body["model"]) else "cheap"
        assert f"I am {name}." in str(request.body["system"])
    assert "dear: the others go on: the next call of claude-opus-5 could" in ran.text
    assert f"; ${spent['dear']:.2f} in " in ran.text


def test_a_refused_key_does_not_stop_an_agent_without_one(new_project: Any) -> None:
    """401 for the model, while the search of the other agent goes on in its name."""
    project = new_project("refused-key")
    agent(project, "model", proposer="anthropic", share=0.5)
    agent(project, "search", proposer="tpe")
    project.commit()
    with served(status(401, "invalid x-api-key")):
        ran = session(project, "--autoresearch-experiments=2")

    assert ran.ret == 0, ran.text
    agents = [row["agent"] for row in project.ledger().candidates()]
    assert agents == ["search"] * max(2, len(agents))  # one may have become stale
    assert "model: the others go on: " in ran.text


@pytest.mark.slow
def test_the_better_agent_has_70_percent_by_the_hundredth_candidate(
    new_project: Any,
) -> None:
    """A session with planted keep rates of 40 % and 2 %; the report says why."""
    project = new_project("planted")
    planted(project, good=0.4, poor=0.02)
    project.commit()
    words = ("--autoresearch-rule=greedy", "--autoresearch-audit=never")  # fewer runs
    ran = session(project, "--autoresearch-experiments=100", *words, timeout=900)
    ledger = project.ledger()
    turns = standings.turns_of(ledger, ledger.sessions()[-1]["fingerprint"])
    latest = [turn.agent for turn in turns[-bandit.WINDOW :]]
    kept = {name: turns.count(bandit.Turn(name, "keep")) for name in ("good", "poor")}
    if folder := os.environ.get("AUTORESEARCH_FIGURES"):
        lines = [x for x in ran.stdout.lines if x.startswith(("agent ", "   "))]
        Path(folder, "agents.txt").write_text("\n".join([str(latest), *lines]))

    assert ran.ret == 0, ran.text
    assert len(turns) >= 100  # what became stale is no experiment
    assert latest.count("good") >= 0.7 * bandit.WINDOW
    assert kept["good"] > kept["poor"]
    assert f"exploit: {kept['good']} keeps of " in ran.text
