"""Ending a losing run early: what a score in mid-run foretells. Pure arithmetic.

Lower is better. A training command may score its model at a share `AT` of a run, on
text that is neither trained on nor the one that counts. How far such an *interim* score
is from the final one is learned from completed runs, so the rule limits itself: where
interim scores say little the margin is wide and nothing is stopped. A share `SPARED` of
the losers runs on all the same; when too many of those turn out well the rule becomes
careful, then stops itself.

The interim score may be the candidate's own claim. A lie makes no keep: it avoids a
stop, and many of them blunt the rule for others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

AT = 0.4  # of the budget
SPARED = 0.05
LEAST = 12  # completed runs before anything is stopped
LATEST = 150  # completed runs that are learned from
FACTOR, WIDE = 1.5, 2.5  # robust deviations between the forecast and the hopeful one
BUNDLED = 0.5  # where a near miss that was stopped is tried again in a bundle
JUDGED = 40  # spared losers that are looked at, at least ENOUGH of them
ENOUGH = 10
CAREFUL, OFF = 0.1, 0.2  # share of wrong stops among them


class Forecast(NamedTuple):
    """Where a run is heading, and the best end that is still plausible."""

    expected: float
    hopeful: float


@dataclass(frozen=True)
class Experience:
    """What is known about interim scores.

    `residuals` are interim minus final scores of completed runs, or better of their
    differences to what they are compared with; `spared` says of each loser that ran on
    whether it would have deserved another run. Both oldest first. `hope` is how many
    robust deviations better than its forecast a run may end.
    """

    residuals: Sequence[float] = field(default_factory=tuple)
    spared: Sequence[bool] = field(default_factory=tuple)
    hope: float = FACTOR

    def forecast(
        self, interim: float, sigma: float, wide: bool = False
    ) -> Forecast | None:
        """The end of a run with this interim score; None while nobody can tell.

        `wide` is for changes whose curves are known to cross others: schedule, batch
        and size of the model.
        """
        latest = self.residuals[-LATEST:]
        factor = max(self.factor, WIDE) if wide else self.factor
        if len(latest) < LEAST or not math.isfinite(factor):
            return None
        middle = statistics.median(latest)
        deviation = statistics.median([abs(r - middle) for r in latest])
        margin = factor * max(1.4826 * deviation, 0.1 * sigma)
        return Forecast(interim - middle, interim - middle - margin)

    @property
    def factor(self) -> float:
        """Robust deviations to allow for: more after wrong stops, infinite = off."""
        latest = self.spared[-JUDGED:]
        wrong = sum(latest)
        if len(latest) < ENOUGH or wrong <= CAREFUL * len(latest):
            return self.hope
        return math.inf if wrong > OFF * len(latest) else WIDE


def stops(
    forecast: Forecast | None, is_out: Callable[[float], bool], luck: float
) -> tuple[bool, bool]:
    """Whether to stop a run, and whether it is a loser that is spared.

    `is_out` asks the decision rule whether a final score would end the candidate;
    `luck` is a number in [0, 1) that the candidate does not choose.
    """
    if forecast is None or not is_out(forecast.hopeful):
        return False, False
    return luck >= SPARED, luck < SPARED
