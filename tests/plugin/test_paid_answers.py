"""An answer that was paid for is not lost with the process that asked."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers lie beside the tests
from messages_server import proposal, status
from test_outages import change, made, served, session

from autoresearch_plugin.candidate import Proposal, edits_json, render_test
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.proposers import Call


def booked(ledger: Ledger, row: Any, *changes: dict[str, Any]) -> None:
    """Book a call with these proposals in its answer, as `settle` does."""
    call = Call("anthropic", "m", 1, 0, 0, 1, 0.25, 1.0, "ok", json.dumps(changes))
    handle = ledger.reserve(row["id"], 0.5, 10.0)
    ledger.settle(row["id"], handle, asdict(call))


@pytest.fixture
def broken_off(new_project: Any) -> Any:
    """A session that can be resumed, with one candidate decided."""
    project = made(new_project, "paid", knobs=False)
    with served(proposal(change(0)), status(401)):
        ran = session(project, "--autoresearch-experiments=3")
    assert ran.ret == 6
    project.row = ran.row
    return project


def test_what_was_answered_before_a_kill_is_tried_after_it(broken_off: Any) -> None:
    """The same command begins with it, asks the model for the rest only, and once."""
    broken = {"title": "no edits", "edits": []}
    booked(broken_off.ledger(), broken_off.row, change(5), broken, change(0))
    with served(proposal(change(7))) as server:
        ran = session(broken_off, "--autoresearch-experiments=3")
        asked = len(server.requests)

    assert ran.ret == 0, ran.text
    assert ran.row["id"] == broken_off.row["id"]
    assert [row["title"] for row in ran.rows] == ["burn 0", "burn 5", "burn 7"]
    assert asked == 1
    assert broken_off.ledger().unused_answers(ran.row["id"]) == []
    spent = sum(call["usd"] for call in broken_off.ledger().calls(ran.row["id"]))
    assert spent > 0.25


def test_what_was_recorded_before_a_kill_is_queued_after_it(broken_off: Any) -> None:
    """A candidate whose file and unit were not written yet is run under its number."""
    ledger, row = broken_off.ledger(), broken_off.row
    done = ledger.candidates(row["id"])[0]
    keys = ("hypothesis", "category", "proposer", "test")
    kept = {key: done[key] for key in keys}
    idea = Proposal.from_data(change(9))
    test = render_test(idea, "score", "min")
    edits = {"edits": edits_json(idea.edits), "signature": idea.signature}
    fields = {**kept, **edits, "title": idea.title, "test": test}
    number = ledger.add_candidate(row["id"], "generated", fields)
    with served(proposal(change(7))):
        ran = session(broken_off, "--autoresearch-experiments=3")

    assert ran.ret == 0, ran.text
    decided = {row["id"]: (row["title"], row["state"]) for row in ran.rows}
    assert decided[number] == ("burn 9", "discard")
    assert len(ran.rows) == 3


def test_an_answer_is_forgotten_when_it_is_in_the_queue(new_project: Any) -> None:
    """Whatever became of its proposals: nothing is left to be taken twice."""
    project = made(new_project, "forgotten")
    unusable = {**change(1), "edits": [{"op": "set", "knob": "NO", "value": 1}]}
    with served(proposal(change(0)), proposal(unusable), proposal(change(2))):
        ran = session(project, "--autoresearch-experiments=2")

    assert ran.ret == 0, ran.text
    calls = project.ledger().calls(ran.row["id"])
    assert len(calls) >= 3
    assert {call["answer"] for call in calls} == {None}
