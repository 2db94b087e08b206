"""From the ledger's rows to turns, sums and a report's lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoresearch_plugin import gears, requesting, standings
from autoresearch_plugin.agents import Agent
from autoresearch_plugin.bandit import KEEP, LOSS, PENDING, Turn
from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.reports.agents import AgentFacts, lines
from autoresearch_plugin.trial import Outcome, TrialResult

STATES = {
    "keep": KEEP,
    "discard": LOSS,
    "crash": LOSS,
    "refused": LOSS,
    "before": LOSS,
    "running": PENDING,
    "queued": PENDING,
    "failed": None,
    "stopped": None,
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one session under fingerprint `f`."""
    ledger = Ledger(tmp_path / "ledger.db")
    session = ledger.start_session("research", "main", "{}")["id"]
    ledger.add_head("h", "f", "sha", "source", None)
    ledger.set_head(session, "h", None, "f")
    yield ledger
    ledger.close()


def add(ledger: Ledger, agent: str | None, state: str, session: int = 1) -> int:
    """One generated candidate."""
    fields = {"title": "t", "edits": "[]", "signature": "s", "agent": agent}
    return ledger.add_candidate(session, "generated", {**fields, "state": state})


def test_what_counts_as_a_proposal(ledger: Ledger) -> None:
    """Keeps, losses and what waits; broken machinery and nobody's ideas do not."""
    for state in STATES:
        add(ledger, "ann", state)
    add(ledger, None, "keep")
    ledger.add_event(1, "refused", "no JSON", "bob")
    ledger.add_event(1, "refused", "of nobody")
    ledger.add_event(1, "fallback", "of bob", "bob")
    wanted = [Turn("ann", outcome) for outcome in STATES.values() if outcome]

    assert standings.turns_of(ledger, "f") == [*wanted, Turn("bob", LOSS)]
    assert standings.turns_of(ledger, "other") == []


def test_sums_are_of_one_session_or_of_all(ledger: Ledger) -> None:
    """Counts, device time and dollars; the standing is that of all."""
    number = add(ledger, "ann", "keep")
    trial = ledger.start_trial(1, "h", number, 0)
    ledger.finish_trial(trial["id"], TrialResult(Outcome.OK), 1.0, "cpu", "10 steps")
    call = {"proposer": "p", "model": "m", "usd": 0.25, "agent": "ann"}
    ledger.settle(1, None, call)
    ledger.finish_session(1, "finished", "over")
    second = ledger.start_session("research", "main", "{}")["id"]
    ledger.set_head(second, "h", None, "f")
    add(ledger, "ann", "discard", second)
    floors, lost = {"ann": 0.0}, {"cy": "no key."}
    everything = standings.facts_of(ledger, "f", floors)
    here = standings.facts_of(ledger, "f", floors, second, lost)

    assert dict(everything[0].counts) == {"keep": 1, "discard": 1}
    assert everything[0].calls == (0.25, 1)
    assert everything[0].hours > 0
    assert (here[0].counts, here[0].calls, here[0].hours) == ({"discard": 1}, (0, 0), 0)
    assert here[0].standing == everything[0].standing == "1 keep of 2, share 100 %"
    assert [(one.name, one.chance, one.out) for one in here] == [
        ("ann", 1.0, ""),
        ("cy", None, "no key."),
    ]


def test_a_reservation_that_is_lost_is_its_agents(ledger: Ledger) -> None:
    """Booked in full when the session closes, under whoever was asked."""
    ledger.reserve(1, 0.5, 10.0, "ann")
    ledger.finish_session(1, "interrupted", "Ctrl-C")

    assert ledger.agent_calls("f") == {"ann": (0.5, 1)}


def test_answers_are_held_against_their_agent_alone(ledger: Ledger) -> None:
    """What ann gave in vain is told to ann, until she proposes something."""
    ledger.add_event(1, "refused", "ann: no JSON", "ann")
    ledger.add_event(1, "proposed", "bob: #001", "bob")

    assert ledger.refused_since(1, "ann") == ["ann: no JSON"]
    assert ledger.refused_since(1, "bob") == ledger.refused_since(1) == []
    ledger.add_event(1, "proposed", "ann: #002", "ann")
    assert ledger.refused_since(1, "ann") == []


def test_a_pause_leaves_an_agent_something_to_propose() -> None:
    """Of its categories the paused ones go, but never all of them."""
    two = Agent(categories=("batch", "other"))
    one = Agent(categories=("batch",))

    assert requesting._closed(two, ("batch", "schedule"))[0] == ("batch",)
    banned, others = requesting._closed(one, ("batch",))
    assert banned == ()
    assert set(others) == set(CATEGORIES) - {"batch"}
    assert gears.wanted([], (*banned, *others), refused=9) == "batch"
    assert gears.wanted([], CATEGORIES, refused=9) == ""


def test_each_agent_has_two_lines() -> None:
    """What it did and cost; its share and why, in words."""
    team = [
        AgentFacts(
            "ann",
            {"keep": 7, "discard": 49, "crash": 5},
            *(3.5, (3.1, 66), "7 keeps of 61, share 75 %", 0.0, 0.93),
        ),
        AgentFacts(
            "bob", {"discard": 1}, 0.5, (0, 0), "0 keeps of 1, share 5 %", 0.0, 0.07
        ),
        AgentFacts("cy", {}, 0.0, (0.2, 1), "0 keeps of 0, share 0 %", 0.2, 0.0),
        AgentFacts("di", {}, 0.0, (0, 0), "0 keeps of 0, share 0 %", out="no key."),
    ]

    assert list(lines(team)) == [
        "agent   ann: 61 proposals: 7 kept, 49 discarded, 5 crashed; 2 keeps a "
        "device-hour; $3.10 in 66 calls",
        "        exploit: 7 keeps of 61, share 75 %; best with a chance of 93 %",
        "agent   bob: 1 proposal: 1 discarded; 0 keeps a device-hour",
        "        explore: 0 keeps of 1, share 5 %; best with a chance of 7 %",
        "agent   cy: 0 proposals; no device time; $0.20 in 1 call",
        "        floor of 20 %: 0 keeps of 0, share 0 %; best with a chance of 0 %",
        "agent   di: 0 proposals; no device time",
        "        out: 0 keeps of 0, share 0 %; asked no more: no key.",
    ]
