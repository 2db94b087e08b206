"""Whether the machine was steady while a baseline ran under a budget in seconds.

A baseline that had to wait makes every candidate look better, so such a run is repeated
once and does not count. Candidates are not asked: what they say of their own waiting
could be a way to throw a bad draw away, and a run that waited only hurts them. Budgets
in steps do not care. A candidate's run that made another number of steps than its
earlier ones is marked, for whoever reads: a device that gets hot or is shared drifts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 0.01  # of the budget, or of the number of steps
PATIENCE = 2  # runs of one baseline that are repeated


def disturbance(
    summary: Mapping[str, Any], others: Sequence[Mapping[str, Any]], seconds: float
) -> str | None:
    """What was unusual about a run of `seconds`, in words; None if nothing was.

    `summary` is its own account, `others` those of the same commit's counted runs.
    """
    stalled = summary.get("stalled_seconds") or 0.0
    if stalled > TOLERANCE * seconds:
        return f"its steps waited for {stalled:.1f} s"
    if is_off(summary, others):
        return f"{summary['num_steps']} steps where others made {_usual(others):.0f}"
    return None


def drift(
    summary: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> str | None:
    """How a candidate's run differs from its earlier ones, in words; None if not."""
    if not is_off(summary, others):
        return None
    steps, usual = summary["num_steps"], _usual(others)
    return (
        f"{100 * (steps / usual - 1):+.0f} % steps against its earlier runs "
        f"({steps:.0f}, not {usual:.0f}): its device is not as it was"
    )


def is_off(summary: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run made more or fewer steps than the same commit's other runs."""
    steps, usual = summary.get("num_steps"), _usual(others)
    return bool(steps and usual and abs(steps / usual - 1) > TOLERANCE)


def _usual(others: Sequence[Mapping[str, Any]]) -> float:
    counts = [x["num_steps"] for x in others if x.get("num_steps")]
    return float(statistics.median(counts)) if counts else 0.0
