"""A model that does not answer: what the user sees, what lanes do, how it ends."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from messages_server import (
    MessagesServer,
    Reply,
    Script,
    dropped,
    message,
    proposal,
    status,
)

from autoresearch_plugin.hold import WAITS
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.screen import Screen

KEY = "sk-ant-of-nobody-7f3c"
SHORT = '''"""The waits of a night, in tenths of seconds."""
from autoresearch_plugin import ahead, outage
from autoresearch_plugin.proposers import anthropic_messages

anthropic_messages.FIRST_WAIT = anthropic_messages.LONGEST_WAIT = 0.01
outage.BASELINE_FIRST = 0.3
ahead.FIRST_PAUSE, outage.GIVE_UP = {pause}, {give_up}
ahead.LEAST_PATIENCE = ahead.MOST_PATIENCE = {patience}
'''


OVERLOADED = status(529, "Overloaded")


def change(number: int) -> dict[str, Any]:
    """A proposal that is a clear loss."""
    return {
        "title": f"burn {number}",
        "hypothesis": "because the model says so.",
        "category": "learning-rate",
        "edits": [{"op": "set", "knob": "LR", "value": 0.9 - number / 500}],
    }


def made(
    new_project: Any,
    name: str,
    *,
    knobs: bool = True,
    pause: float = 0.1,
    give_up: float = 0.0,
    patience: float = 60.0,
) -> Any:
    """A project whose waits are short."""
    project = new_project(name)
    words = SHORT.format(pause=pause, give_up=give_up, patience=patience)
    (project.path / "conftest.py").write_text(words)
    if not knobs:
        target = "\n".join(
            line.partition("  #")[0] for line in project.target.split("\n")
        )
        (project.path / "train.py").write_text(target)
    project.commit()
    return project


@contextlib.contextmanager
def served(*script: Script, repeat: bool = True) -> Iterator[MessagesServer]:
    """A server, and the environment that leads the client to it."""
    with (
        MessagesServer(script, repeat) as server,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


def session(project: Any, *words: str) -> Any:
    """A session; result with its text, candidates and last row."""
    ran = project.run("--autoresearch", "-pno:xdist", *words, timeout=200)
    ran.text = ran.stdout.str() + ran.stderr.str()
    ran.row = project.ledger().sessions()[-1]
    ran.rows = project.ledger().candidates(ran.row["id"])
    ran.who = [row["proposer"] for row in ran.rows]
    assert KEY not in ran.text
    assert "Traceback" not in ran.text
    return ran


def is_complete(project: Any, ran: Any) -> bool:
    """Whether reports and the closing screen are all there."""
    report = project.path / "autoresearch-report"
    cases = list(ET.parse(report / "junit.xml").getroot().iter("testcase"))
    lines = (report / "results.tsv").read_text().splitlines()
    words = ("pruned ", "spent ", "busy ", "next ")
    return (
        len(cases) == len(ran.rows)
        and len(lines) == 2 + len(ran.rows)
        and (report / "kept.xml").is_file()
        and all(word in ran.text for word in words)
    )


# ------------------------------------------------------------- away, and back again


@pytest.fixture(scope="module")
def back(new_project: Any) -> Any:
    """A good answer, an outage until the search has filled in, good answers again."""
    project = made(new_project, "back", pause=0.3)
    numbers, filled = itertools.count(), []

    def answer(body: dict[str, Any]) -> Reply:
        filled.extend(by_search(project))
        number = next(numbers)
        return proposal(change(number)) if filled or not number else OVERLOADED

    with served(answer):
        project.ran = session(project, "--autoresearch-experiments=9")
    return project


def by_search(project: Any) -> list[str]:
    """Generated files that wait or run and are not the model's."""
    names = (project.path / "experiments" / "_generated").glob("test_*.py")
    return [path.name for path in names if "burn" not in path.name]


def test_an_outage_is_filled_and_ends(back: Any) -> None:
    """The search fills in, and the model takes over again; exit code 0."""
    ran = back.ran

    assert ran.ret == 0, ran.text
    assert ran.who[0] == ran.who[-1] == "anthropic"
    assert 1 <= ran.who.count("tpe") <= 6
    assert is_complete(back, ran)


def test_an_outage_is_told_once(back: Any) -> None:
    """One sentence when it begins, one when it ends, both in the closing screen."""
    closing = back.ran.text.rpartition("pruned ")[2]

    assert closing.count("anthropic does not answer, tpe fills in until it does") == 1
    assert "HTTP 529: Overloaded" in closing
    assert closing.count("anthropic answers again after") == 1


def test_the_baseline_gets_its_runs_first(back: Any) -> None:
    """Lanes with nothing to do firm the baseline up before the search proposes."""
    ledger = back.ledger()
    head = ledger.session(1)["first_head"]
    firm = [row["finished"] for row in ledger.own_head_trials(head)]
    first = next(row for row in back.ran.rows if row["proposer"] == "tpe")

    assert len(firm) == 6
    assert sorted(firm)[3] < first["created"]


# --------------------------------------------------------------------- every fault


@pytest.mark.parametrize(
    ("name", "reply", "words", "most"),
    [
        ("overloaded", status(529), "HTTP 529", 30),
        ("limited", status(429, retry_after="0"), "HTTP 429", 30),
        ("half", dropped(), "connection (", 30),
        ("broken", Reply(b"{not json", headers={}), "unreadable answer", 30),
        ("refusing", message([], "refusal"), "the model declined to answer", 12),
    ],
)
def test_a_fault_that_lasts_leaves_the_work_to_the_search(
    new_project: Any, name: str, reply: Reply, words: str, most: int
) -> None:
    """Few calls, all candidates by the search, the cause said, exit code 0."""
    project = made(new_project, name, pause=30.0)
    with served(reply) as server:
        ran = session(project, "--autoresearch-experiments=2")
        asked = len(server.requests)

    assert ran.ret == 0, ran.text
    assert set(ran.who) == {"tpe"}  # of two, one may have become stale
    assert asked <= most
    assert "anthropic does not answer, tpe fills in until it does" in ran.text
    assert words in ran.text
    assert is_complete(project, ran)


@pytest.mark.parametrize(
    ("code", "cause", "way_out"),
    [
        (400, "Your credit balance is too low", "the account's credit"),
        (403, "not permitted", "choose another with --autoresearch-model"),
    ],
)
def test_who_would_refuse_again_is_not_asked_again(
    new_project: Any, code: int, cause: str, way_out: str
) -> None:
    """Out of credit, no permission: one call, the search for good, exit code 0."""
    project = made(new_project, f"refused-{code}")
    with served(status(code, cause)) as server:
        ran = session(project, "--autoresearch-experiments=2")
        asked = len(server.requests)

    assert ran.ret == 0, ran.text
    assert asked == 1
    assert set(ran.who) == {"tpe"}  # of two, one may have become stale
    assert ran.text.count("anthropic stopped answering, tpe fills in: ") == 2
    assert f"HTTP {code}: {cause}." in ran.text
    assert way_out in ran.text


# ------------------------------------------------------------- nothing can fill in


@pytest.mark.parametrize(
    ("code", "words"),
    [(529, "anthropic gave no answer for"), (401, "anthropic stopped answering: ")],
)
def test_a_session_without_anybody_who_proposes_ends(
    new_project: Any, code: int, words: str
) -> None:
    """Exit code 6, the reason, complete reports; the same command goes on."""
    project = made(new_project, f"nobody-{code}", knobs=False)
    with served(proposal(change(0)), status(code)):
        ran = session(project, "--autoresearch-experiments=4")
    complete = is_complete(project, ran)
    with served(*[proposal(change(number)) for number in range(1, 20)]):
        again = session(project, "--autoresearch-experiments=4")

    assert ran.ret == 6, ran.text
    assert [row["state"] for row in ran.rows] == ["discard"]
    assert words in ran.text
    assert "nothing fills in: no knob of train.py says where to search" in ran.text
    assert "(this session: the proposer gave up)" in ran.text
    assert complete
    assert again.ret == 0, again.text
    assert again.row["id"] == ran.row["id"]
    assert len(again.rows) == 4


def test_a_slow_model_does_not_keep_lanes_idle(new_project: Any) -> None:
    """Longer than lanes are patient: the baseline, then the search; told once."""
    project = made(new_project, "slow", patience=0.5)

    def think(body: dict[str, Any]) -> Reply:
        project.until(lambda: by_search(project))
        return proposal(change(len(str(body)) % 30))

    with served(think):
        ran = session(project, "--autoresearch-experiments=4")

    assert ran.ret == 0, ran.text
    assert ran.who[0] == "tpe"
    assert "anthropic" in ran.who
    assert ran.text.count(": tpe fills in") == 2  # as it happens, and at the end
    assert "anthropic kept lanes waiting for" in ran.text


# ------------------------------------------------------------- lanes that wait


class Written:
    """A terminal that remembers; as pytest's, as far as a screen uses it."""

    isatty = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, line: str) -> None:
        self.lines.append(line.strip())


def test_a_lane_that_waits_says_why(tmp_path: Path) -> None:
    """Not at once; then what for, and again when more is known."""
    ledger = Ledger(tmp_path / "ledger.db")
    session = ledger.start_session("research", "main", "{}")["id"]
    terminal = Written()
    plugins = {"terminalreporter": terminal}
    config = SimpleNamespace(pluginmanager=SimpleNamespace(getplugin=plugins.get))
    research = SimpleNamespace(ledger=ledger, session=session)
    screen = Screen(config, research)  # type: ignore[arg-type]
    told = []
    asking = "anthropic does not answer, asked again at 03:41:00"
    for seconds, state, words in [
        *((1, "yes", None), (9, "yes", None), (9, "late", asking)),
        (9, "late", asking.replace("41", "43")),
    ]:
        status = {"label": "waiting for a proposal", "phase": WAITS, "share": 0.0}
        status["started"] = time.time() - seconds
        ledger.set_lane(session, "gw3", "cuda:3", status)
        ledger.set_proposing(session, state, words)
        screen._next = 0.0
        screen.tick()
        told.append(list(terminal.lines))
        terminal.lines.clear()
    ledger.close()

    first = "gw3  waiting for a proposal"
    assert told == [[], [first], [f"{first} ({asking})"], []]


# --------------------------------------------------------------- old proposals


def test_a_proposal_for_an_old_baseline_costs_nothing(new_project: Any) -> None:
    """It is closed with its reason, and another one takes its place."""
    project = new_project("stale")
    project.commit()
    old = {"op": "replace", "old": "LR = 0.1 ", "new": "LR = 0.9 "}
    script = project.script(
        gain={"LR": 0.02},
        stale={"edits": [old]},
        harm={"LR": 0.8},
        worse={"WIDTH": 1},
    )
    ran = project.research(
        *(script, "-pno:xdist", "--autoresearch-experiments=3"),
        "--autoresearch-rule=greedy",
    )
    text = ran.stdout.str()
    ledger = project.ledger()
    rows = {row["title"]: row for row in ledger.candidates(1)}
    stale = [row for row in rows.values() if "does not apply to" in row["reason"]]

    assert ran.ret == 0, text
    assert [row["title"] for row in stale] == ["stale"]
    assert all(ledger.candidate_trials(row["id"]) == [] for row in stale)
    assert all(row["started"] is None for row in stale)
    assert [rows[name]["state"] for name in ("gain", "harm", "worse")] == [
        *("keep", "discard", "discard")
    ]
