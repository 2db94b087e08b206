"""What the audit at the end of a session would say, and whether it is true.

The first baseline's calibration runs, which nobody selected, against fresh runs of the
last baseline: an interval by Student's t for the gain of the whole session.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autoresearch_plugin.audit import t_quantile
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.simulation import Ask, Session
from autoresearch_plugin.bench.table import Place
from autoresearch_plugin.bench.worlds import WORLDS


@dataclass(frozen=True)
class Coverage:
    """Over sessions: how often the interval held the truth, and its half width.

    `error` is the mean of the audit's gain less the true one. In sigma.
    """

    sessions: int
    covered: float
    half_width: float
    error: float


def coverage(place: Place, runs: int, seeds: range, pooled: bool = False) -> Coverage:
    """Audit the sessions of these seeds with `runs` runs on either side.

    The noise is that of these runs, or that of the whole session when `pooled`.
    """
    covered, widths, errors = 0, [], []
    for seed in seeds:
        policy = Judged()
        world, rng = WORLDS[place.world], random.Random(seed)
        session = Session(world, policy, place.gpus, place.gpu_hours, rng).run()
        first = [run.value for run in policy.first_head[:runs]]
        answers = [session.measure(Ask(head=session.head)) for _ in range(runs)]
        last = [answer.value for answer in answers if answer.value is not None]
        error = statistics.fmean(first) - statistics.fmean(last) - session.gain
        noise = policy.noise if pooled else None
        width = _half_width(first, last, noise)
        covered += abs(error) <= width
        widths.append(width)
        errors.append(error)
    count = len(seeds)
    return Coverage(
        count, covered / count, statistics.fmean(widths), statistics.fmean(errors)
    )


def _half_width(
    first: Sequence[float], last: Sequence[float], sigma: float | None
) -> float:
    """Of the interval; with a given sigma, which rests on a session's worth of runs."""
    share = math.sqrt(1 / len(first) + 1 / len(last))
    if sigma is not None:
        return t_quantile(0.975, 100.0) * sigma * share
    df = len(first) + len(last) - 2
    squares = sum((len(x) - 1) * statistics.variance(x) for x in (first, last))
    return t_quantile(0.975, df) * math.sqrt(squares / df) * share
