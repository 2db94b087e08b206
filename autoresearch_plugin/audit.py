"""The audit: what a session has really gained, on text that no decision has seen.

Pure arithmetic; lower is better inside. The runs are new, with seeds that nothing was
chosen by (or, of the first baseline, were made before anything was): neither end is a
winner of anything, so their difference is what the keeps are worth together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from autoresearch_plugin.evidence import Noise, spread
from autoresearch_plugin.trial import Estimate

RUNS_MIN, RUNS_MAX = 3, 6  # of either baseline
SHARE = 0.08  # of a session's device time
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Audit:
    """The difference of the last baseline to the first, as people read the metric.

    `half_width` is that of the 95 % interval, `claimed` the sum of the keeps' effects.
    """

    difference: float
    half_width: float
    claimed: float
    first: Estimate
    last: Estimate
    paired: bool
    sign: float = 1.0

    @property
    def confirmed(self) -> bool:
        """Whether the interval holds improvements only."""
        return self.sign * self.difference + self.half_width < 0

    @property
    def contradicts(self) -> bool:
        """Whether the keeps are revoked.

        They are when no gain is shown and what they claim is outside the interval:
        nobody can tell then which of them are false.
        """
        short = self.sign * (self.difference - self.claimed) > self.half_width
        return short and not self.confirmed


def compare(
    first: Mapping[int, float],
    last: Mapping[int, float],
    unpaired: Noise,
    paired: Noise | None,
    claimed: float,
    sign: float,
) -> Audit | None:
    """The audit of scores by seed; None while fewer than `RUNS_MIN` are there.

    `unpaired` and `paired` are what the session knows of the noise of one run and of a
    difference of two with one seed; the audit's own spread counts with them. `claimed`
    and the scores are as people read the metric.
    """
    both = sorted(first.keys() & last.keys())
    if min(len(first), len(last)) < RUNS_MIN:
        return None
    groups = [list(first.values()), list(last.values())]
    noise = _with(unpaired, *groups)
    error, df, pairs = noise.sigma * _root(*map(len, groups)), noise.df, False
    difference = statistics.fmean(groups[1]) - statistics.fmean(groups[0])
    if paired is not None and math.isfinite(paired.sigma) and len(both) >= RUNS_MIN:
        gaps = [last[seed] - first[seed] for seed in both]
        narrow = _with(paired, gaps)
        if narrow.sigma * _root(len(gaps)) < error:
            error, df, pairs = narrow.sigma * _root(len(gaps)), narrow.df, True
            difference = statistics.fmean(gaps)
    return Audit(
        difference=difference,
        half_width=t_quantile((1 + CONFIDENCE) / 2, df) * error,
        claimed=claimed,
        first=Estimate.of(groups[0], noise.sigma),
        last=Estimate.of(groups[1], noise.sigma),
        paired=pairs,
        sign=sign,
    )


def _with(noise: Noise, *groups: list[float]) -> Noise:
    """The session's noise together with the spread of these runs."""
    squares, df = noise.df * noise.sigma**2, noise.df
    for group in groups:
        own, count = spread(group)
        squares, df = squares + own, df + count
    return Noise(math.sqrt(squares / df), df)


def _root(*counts: int) -> float:
    """Standard error of a difference of means, in units of one run's."""
    return math.sqrt(sum(1 / count for count in counts))


def t_quantile(p: float, df: float) -> float:
    """The p-quantile of Student's t, for p above one half: to six digits.

    With t = sqrt(df) * tan(x) the distribution function is an integral over
    cos(x) ** (df - 1), which Simpson's rule takes easily.
    """
    df = min(df, 1e4)  # beyond, nothing changes and the rule would miss the peak
    whole = _cosine(math.pi / 2, df)
    low, high = 0.0, math.pi / 2
    while high - low > 1e-10:
        middle = (low + high) / 2
        below = 0.5 + 0.5 * _cosine(middle, df) / whole
        low, high = (middle, high) if below < p else (low, middle)
    return math.sqrt(df) * math.tan(low)


def _cosine(end: float, df: float, steps: int = 400) -> float:
    """Integral of cos(x) ** (df - 1) from 0 to `end`; df of at least 1."""
    width = end / steps
    total = 0.0
    for i in range(steps + 1):
        weight = 1 if i in (0, steps) else 4 if i % 2 else 2
        total += weight * max(0.0, math.cos(i * width)) ** (df - 1)
    return total * width / 3
