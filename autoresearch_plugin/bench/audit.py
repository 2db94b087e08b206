"""What the audit at the end of a session would say, and whether it is true.

The first baseline's calibration runs, which nobody selected, against fresh runs of the
last baseline; in pairs, fresh runs of both with seeds that no session has seen. The
interval is that of `autoresearch_plugin.audit`.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass

from autoresearch_plugin import audit
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.simulation import Ask, Session
from autoresearch_plugin.bench.table import Place
from autoresearch_plugin.bench.worlds import WORLDS
from autoresearch_plugin.settings import BUNDLE


@dataclass(frozen=True)
class Coverage:
    """Over sessions: how often the interval held the truth, and its half width.

    `error` is the mean of the audit's gain less the true one. In sigma.
    """

    sessions: int
    covered: float
    half_width: float
    error: float


def coverage(place: Place, runs: int, seeds: range, paired: bool = False) -> Coverage:
    """Audit the sessions of these seeds with `runs` runs on either side."""
    covered, widths, errors = 0, [], []
    for seed in seeds:
        policy = Judged(paired=paired, bundle=BUNDLE)
        world, rng = WORLDS[place.world], random.Random(seed)
        session = Session(world, policy, place.gpus, place.gpu_hours, rng).run()
        found = of(session, policy, runs)
        error = -found.difference - session.gain
        covered += abs(error) <= found.half_width
        widths.append(found.half_width)
        errors.append(error)
    count = len(seeds)
    return Coverage(
        count, covered / count, statistics.fmean(widths), statistics.fmean(errors)
    )


def of(session: Session, policy: Judged, runs: int) -> audit.Audit:
    """The audit of a finished session: new runs of both ends in pairs, else the runs
    that its first baseline had and new ones of the last."""
    first = {} if policy.paired else dict(policy.calibration[:runs])
    seeds = [*first, *range(-1, len(first) - runs - 1, -1)]
    for seed in seeds[len(first) :]:
        first[seed] = _value(session, 0, seed)
    last = {seed: _value(session, session.head, seed) for seed in first}
    found = audit.compare(first, last, *policy.noises, -policy.claimed(), 1.0)
    assert found is not None, "there are enough runs"
    return found


def _value(session: Session, head: int, seed: int) -> float:
    value = session.measure(Ask(head=head, seed=seed)).value
    assert value is not None, "baselines do not crash"
    return value
