"""Whole sessions with a model as proposer, over a real HTTP connection."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from messages_server import MessagesServer, Script, proposal, status, text

from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.proposers import Call
from autoresearch_plugin.team import LedgerPurse

KEY = "sk-ant-of-nobody-7f3c"


def change(title: str, **knobs: object) -> dict[str, Any]:
    """A proposal that sets knobs."""
    edits = [{"op": "set", "knob": name, "value": knobs[name]} for name in knobs]
    return {
        "title": title,
        "hypothesis": f"{title}: because the model says so.",
        "category": "learning-rate",
        "edits": edits,
    }


@contextlib.contextmanager
def served(script: Sequence[Script], repeat: bool = False) -> Iterator[MessagesServer]:
    """A server, and the environment that leads the client to it."""
    with (
        MessagesServer(script, repeat) as server,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


def session(project: Any, *words: str) -> Any:
    """A session whose proposer is chosen by the key alone."""
    ran = project.run("--autoresearch", "-pno:xdist", *words)
    ran.text = ran.stdout.str() + ran.stderr.str()
    return ran


# ------------------------------------------------------------------ ideas of a model


@pytest.fixture(scope="module")
def model(new_project: Any) -> Any:
    """Two usable answers with one of prose between them, which gets a second chance."""
    project = new_project("model")
    (project.path / "experiments" / "program.md").write_text("Only learning rates.\n")
    project.commit()
    script = [
        proposal(change("burn", LR=0.9)),
        text("I would rather talk about it."),
        proposal(change("cool", LR=0.02)),
    ]
    with served(script) as server:
        project.ran = session(project, "--autoresearch-experiments=2")
        project.requests = list(server.requests)
    return project


def test_proposals_of_a_model_become_tests(model: Any) -> None:
    """The harm is discarded, the gain is kept and committed with its hypothesis."""
    root = ET.parse(model.path / "autoresearch-report" / "junit.xml").getroot()
    names = [case.attrib["name"] for case in root.iter("testcase")]

    assert model.ran.ret == 0, model.ran.text
    assert names == ["test_burn", "test_cool"]
    assert model.states() == {"burn": "discard", "cool": "keep"}
    body = model.git("log", "-1", "--format=%B", "autoresearch/main")
    assert body.startswith("cool\n\n")
    assert "because the model says so." in body


def test_a_model_is_told_what_was_tried(model: Any) -> None:
    """The request holds target and program; later ones hold the earlier ideas."""
    first, second, mended = (str(request.body) for request in model.requests)

    assert "LR = 0.1 " in first
    assert "Only learning rates." in first
    assert "Nothing was tried yet." in first
    assert "#1 " in second
    assert "LR 0.1→0.9" in second
    assert "no call of the tool" in mended


def test_calls_and_their_price_are_in_the_ledger(model: Any) -> None:
    """Each call with tokens and dollars; the closing screen says the sum."""
    calls = model.ledger().calls(1)

    assert [call["status"] for call in calls] == ["ok", "end_turn", "ok"]
    assert all(call["input_tokens"] == 100 for call in calls)
    assert all(call["usd"] > 0 for call in calls)
    assert "LLM $0.00 of at most $10.00 in 3 calls" in model.ran.text
    assert "proposer anthropic (ANTHROPIC_API_KEY)" in model.ran.text


def test_a_key_is_never_shown(model: Any) -> None:
    """Neither on the screen nor in a report nor in the ledger."""
    folder = model.path / ".autoresearch"
    files = [path for path in folder.rglob("*") if path.is_file()]
    files += list((model.path / "autoresearch-report").iterdir())

    assert KEY not in model.ran.text
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


# ------------------------------------------------------------------------- failures


def test_a_refused_key_leaves_the_work_to_the_search(new_project: Any) -> None:
    """401: no second try, tpe fills in, the summary says so, exit code 0."""
    project = new_project("refused-key")
    project.commit()
    with served([status(401, f"invalid x-api-key {KEY}")], repeat=True) as server:
        ran = session(project, "--autoresearch-experiments=1")
        asked = len(server.requests)

    assert ran.ret == 0, ran.text
    assert asked == 1
    assert [row["proposer"] for row in project.ledger().candidates()] == ["tpe"]
    assert "anthropic stopped answering, tpe fills in" in ran.text
    assert "HTTP 401" in ran.text
    assert "Check ANTHROPIC_API_KEY." in ran.text
    assert KEY not in ran.text


def test_a_model_with_one_idea_is_not_asked_for_ever(new_project: Any) -> None:
    """Five useless answers, each asked once more with the earlier result; in between it
    is asked for another kind of change; then the search fills in."""
    project = new_project("stuck")
    project.commit()
    with served([proposal(change("burn", LR=0.9))], repeat=True) as server:
        ran = session(project, "--autoresearch-experiments=2")
        asked = [str(request.body["messages"]) for request in server.requests]

    assert ran.ret == 0, ran.text
    assert [row["proposer"] for row in project.ledger().candidates()] == [
        "anthropic",
        "tpe",
    ]
    assert len(asked) == 1 + 5 * 2
    assert all("already tried as #1" in text for text in asked[2:])
    turned = ["Propose something of the category" in text for text in asked]
    assert turned == [False] * 5 + [True] * 6


def test_the_cap_in_dollars_holds(new_project: Any) -> None:
    """Calls of 20 cents under a cap of 60: two, then a sentence that says why."""
    project = new_project("cap")
    project.commit()
    usage = {"input_tokens": 0, "output_tokens": 20_000}
    script = [
        proposal(change(f"burn {n}", LR=0.9 - n / 50), usage=usage) for n in range(9)
    ]
    with served(script) as server:
        ran = session(project, "--autoresearch-max-usd=0.6")
        asked = len(server.requests)
    spent = sum(call["usd"] for call in project.ledger().calls(1))

    assert ran.ret == 0, ran.text
    assert asked == 2
    assert spent == pytest.approx(0.4)
    assert "more than is left under the spending cap" in ran.text
    assert "LLM $0.40 of at most $0.60 in 2 calls" in ran.text
    assert project.states() == {"burn 0": "discard", "burn 1": "discard"}


def test_a_call_that_nobody_waits_for_is_paid_in_full(new_project: Any) -> None:
    """Ctrl-C while the model thinks: it may have been charged, so it is booked."""
    project = new_project("lost")
    project.commit()
    asked, enough = threading.Event(), threading.Event()

    def think(body: dict[str, Any]) -> Any:
        asked.set()
        enough.wait(30)
        return replace(text("too late"), body=b"")

    with served([think]):
        process = project.start("--autoresearch", "-pno:xdist")
        try:
            assert asked.wait(30)
            os.kill(process.pid, signal.SIGINT)
            seconds = project.until(lambda: process.poll() is not None)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            enough.set()
    calls = project.ledger().calls(1)

    assert process.returncode == 2, output
    assert seconds < 5
    assert [call["status"] for call in calls] == ["lost"]
    assert calls[0]["usd"] > 0.2
    assert project.ledger()._query("SELECT * FROM reservations") == []


def test_idle_lanes_are_asked_for_at_once(new_project: Any) -> None:
    """Two lanes, two requests under way together; what both say alike runs once."""
    project = new_project("at-once")
    project.commit()
    together, rest = threading.Barrier(2), itertools.count(1)
    first = iter("ab")

    def answer(body: dict[str, Any]) -> Any:
        if next(first, ""):
            together.wait(60)  # for one who comes while the other one waits
            return proposal(change("twin", LR=0.9))
        return proposal(change("later", LR=0.9 - next(rest) / 50))

    with served([answer], repeat=True):
        words = ("-n2", "--autoresearch-experiments=3")
        ran = project.run("--autoresearch", *words)
    text = ran.stdout.str() + ran.stderr.str()
    ledger = project.ledger()
    titles = [row["title"] for row in ledger.candidates()]

    assert ran.ret == 0, text
    assert not together.broken
    assert sorted(titles) == ["later", "later", "twin"]
    assert "proposed meanwhile as #" in text
    assert ledger._query("SELECT * FROM reservations") == []
    assert all(call["status"] == "ok" for call in ledger.calls(1))


def test_each_call_settles_its_own_reservation(tmp_path: Path) -> None:
    """Calls end in another order than they began; what is still held stays held."""
    ledger = Ledger(tmp_path / "ledger.db")
    session = ledger.start_session("research", "main", "{}")["id"]
    purse = LedgerPurse(ledger, session, 10.0)
    call = Call("anthropic", "m", 1, 0, 0, 1, 0.5, 1.0, "ok")

    def other() -> None:
        assert purse.reserve(7.0)
        ledger.close()

    assert purse.reserve(2.0)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert ledger.reserve(session, 2.0, 10.0) is None  # 9 are held
    purse.settle(call, 2.0)
    held = [row["usd"] for row in ledger._query("SELECT usd FROM reservations")]
    ledger.close()

    assert held == [7.0]


def test_a_model_without_a_price_is_a_usage_error(new_project: Any) -> None:
    """The cap could not be kept: exit 4 before anything runs, with the way out."""
    project = new_project("price")
    project.commit()
    with served([]):
        ran = session(project, "--autoresearch-model=oracle-9")

    assert ran.ret == 4, ran.text
    assert "no price is known for model 'oracle-9'" in ran.text
    assert "--autoresearch-price" in ran.text
