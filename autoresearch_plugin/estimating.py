"""The estimate of a session that is open and has spent nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoresearch_plugin.estimate import Estimate
from autoresearch_plugin.requesting import build_request
from autoresearch_plugin.screen import run_seconds

if TYPE_CHECKING:
    from autoresearch_plugin.state import State

FREE = ("tpe", "scripted", "none")  # proposers that cost nobody a cent


def estimate_of(state: State, hand: int = 0) -> Estimate:
    """What may still be spent; `hand` is the number of hand-written candidates."""
    research, settings = state.research, state.research.settings
    ledger, session = research.ledger, research.session
    measured = len(ledger.head_trials(research.head().id))
    wanted, unpriced, prices = settings.experiments, set(), []
    for member in state.proposing.team.members:
        worst_case = getattr(member.proposer, "worst_case", None)
        if worst_case is not None:
            prices.append(worst_case(build_request(research, member.agent)))
        elif member.proposer.name not in FREE:
            unpriced.add(member.proposer.name)
    if all(member.proposer.name == "none" for member in state.proposing.team.members):
        wanted = 0
    return Estimate(
        lanes=state.lanes,
        max_runs=research.max_runs,
        generated=None if wanted is None else wanted - ledger.decided_count(session),
        hand=hand,
        baseline=max(0, research.baseline_runs - measured),
        remeasures=not (research.recorded or research.paired),
        seconds=run_seconds(research),
        hours=settings.hours,
        gpu_hours=settings.gpu_hours,
        max_usd=settings.max_usd,
        spent_usd=sum(call["usd"] for call in ledger.calls(session)),
        call_usd=max(prices, default=None),
        unpriced=tuple(sorted(unpriced)),
    )
