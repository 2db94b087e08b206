"""Whether a candidate that would be kept has computed more than it was charged for.

Two ways to train for nothing: steps that are cheap while their price is measured and
dear afterwards, and a model that goes on learning while it is loaded to be scored.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row

MORE = 1.5  # times what is expected: CPU time on a busy machine varies by a third
MUCH_MORE = 2.0  # the same on the clock, which varies more
ROOM = 3.0  # seconds beside it, of start-up


def overspent(mine: Sequence[Row], base: Sequence[Row], ratio: float) -> str | None:
    """For a charged candidate, whose runs should cost as much as its baseline's.

    `ratio` is the price of its step in the baseline's.
    """
    took, before = _training(mine), _training(base)
    if before and took > MUCH_MORE * before + ROOM:
        return (
            f"its trainings took {took:.0f} s, the baseline's {before:.0f} s, and were "
            "charged to cost the same: work was done that its CPU clock does not show"
        )
    spent, usual = _median(mine, "cpu_seconds"), _median(base, "cpu_seconds")
    if spent and usual and spent > MORE * usual:
        return (
            f"its runs used {spent:.0f} s of CPU time, the baseline's {usual:.0f} s, "
            "and were charged to cost the same: steps were dearer than the first ones, "
            "by which their price was measured. Let every step do the same work"
        )
    return scored_long(mine, base, ratio)


def scored_long(
    mine: Sequence[Row], base: Sequence[Row], ratio: float, wall: bool = False
) -> str | None:
    """Whether scoring took longer than a model that is `ratio` as dear can explain.

    In CPU seconds, or on the clock where a GPU does the work.
    """
    key = "evaluate" if wall else "scoring_cpu"
    spent, usual = _median(mine, key), _median(base, key)
    if not (spent and usual) or spent <= MORE * max(1.0, ratio) * usual + ROOM:
        return None
    return (
        f"scoring it took {spent:.0f} s, the baseline {usual:.0f} s, and its steps "
        f"cost {ratio:.2g} of the baseline's: a model is trained before it is saved, "
        "not while it is loaded or scored"
    )


def slowdown(mine: Sequence[Row], base: Sequence[Row]) -> float:
    """How much slower its training reads text than the baseline's, by the server's
    count and clock; 1 if that is not known."""
    speeds = [
        statistics.median(known) if (known := _speeds(rows)) else 0.0
        for rows in (mine, base)
    ]
    return speeds[1] / speeds[0] if all(speeds) else 1.0


def _training(rows: Sequence[Row]) -> float:
    """Median seconds of training, by the server's clock; 0 if no run tells."""
    known = [row["summary"].get("training_seconds") or 0.0 for row in rows]
    return float(statistics.median(known)) if known else 0.0


def _speeds(rows: Sequence[Row]) -> list[float]:
    found = []
    for row in rows:
        tokens, seconds = (
            row["summary"].get(key) for key in ("total_tokens_M", "training_seconds")
        )
        if tokens and seconds:
            found.append(tokens / seconds)
    return found


def _median(rows: Sequence[Row], key: str) -> float:
    """Median over the runs that know it; 0 if none does."""
    values: list[Any] = [
        row["seconds"].get(key) if key == "evaluate" else row[key] for row in rows
    ]
    known = [value for value in values if value]
    return float(statistics.median(known)) if known else 0.0
