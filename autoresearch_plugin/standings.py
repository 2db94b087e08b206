"""How agents do: from the ledger's rows to the bandit's turns and a report's lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autoresearch_plugin import bandit
from autoresearch_plugin.bandit import Choice, Turn
from autoresearch_plugin.reports.agents import AgentFacts

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Ledger

# What failed or was stopped is nobody's fault, and counts as never proposed.
OUTCOMES: Mapping[str, str] = {
    "keep": bandit.KEEP,
    "discard": bandit.LOSS,
    "crash": bandit.LOSS,
    "refused": bandit.LOSS,
    "before": bandit.LOSS,
    "queued": bandit.PENDING,
    "running": bandit.PENDING,
}


def turns_of(ledger: Ledger, fingerprint: str) -> list[Turn]:
    """Every proposal of an agent under a fingerprint, in the order of their making.

    An answer that could not be used is a loss as well: its turn is gone.
    """
    rows = [
        (row["created"], Turn(row["agent"], OUTCOMES[row["state"]]))
        for row in ledger.agent_candidates(fingerprint)
        if row["state"] in OUTCOMES
    ]
    rows += [
        (row["created"], Turn(row["agent"], bandit.LOSS))
        for row in ledger.agent_refusals(fingerprint)
    ]
    return [turn for _, turn in sorted(rows, key=lambda pair: pair[0])]


def whose_turn(
    ledger: Ledger,
    fingerprint: str,
    floors: Mapping[str, float],
    asked: Iterable[str] = (),
) -> Choice:
    """Who of these agents is to propose next, and why; `asked` are at it now."""
    seed = ledger.seed(fingerprint, 0)
    turns = turns_of(ledger, fingerprint)
    turns += [Turn(name, bandit.PENDING) for name in asked]
    return bandit.next_agent(turns, floors, seed)


def facts_of(
    ledger: Ledger,
    fingerprint: str,
    floors: Mapping[str, float],
    session: int | None = None,
    lost: Mapping[str, str] | None = None,
) -> list[AgentFacts]:
    """Each agent's numbers, of one session or all, with its present share and why.

    `floors` holds those who may be asked; those who are asked no more follow, and the
    others that the ledger knows.
    """
    lost = lost or {}
    turns = turns_of(ledger, fingerprint)
    present = bandit.stand(turns, floors)
    seed = ledger.seed(fingerprint, 0)
    chances = bandit.chances(present, seed) if present else {}
    counts = _counts(ledger, fingerprint, session)
    seconds = ledger.agent_seconds(fingerprint, session)
    calls = ledger.agent_calls(fingerprint, session)
    return [
        AgentFacts(
            name=one.agent,
            counts=counts.get(one.agent, {}),
            hours=seconds.get(one.agent, 0.0) / 3600,
            calls=calls.get(one.agent, (0.0, 0)),
            standing=one.words,
            floor=floors.get(one.agent, 0.0),
            chance=chances.get(one.agent),
            out=lost.get(one.agent, ""),
        )
        for one in (*present, *bandit.stand(turns, {*counts, *lost} - {*floors}))
    ]


def _counts(
    ledger: Ledger, fingerprint: str, session: int | None
) -> dict[str, Counter[str]]:
    """How often each agent's proposals ended in each state."""
    counts: dict[str, Counter[str]] = {}
    for row in ledger.agent_candidates(fingerprint, session):
        if row["state"] in OUTCOMES:
            counts.setdefault(row["agent"], Counter())[row["state"]] += 1
    for row in ledger.agent_refusals(fingerprint, session):
        counts.setdefault(row["agent"], Counter())["refused"] += 1
    return counts
