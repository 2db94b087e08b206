"""Which devices are equally fast, so that their runs can be compared.

Under a budget in seconds the faster of two GPUs trains longer, and whatever runs on it
looks better: eight GPUs of one name differ by some per cent where power or heat limits
them. So a candidate meets the baseline runs of its own device, and those of devices
that make as many steps with the same commit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

TOLERANCE = 0.003  # of the number of steps: less is no difference
SPREAD, SPREAD_DF = 0.002, 2.0  # of the steps of one device's runs, until it is known
ERRORS = 3.0  # standard errors that a difference has to exceed as well


class Count(NamedTuple):
    """Steps that a baseline's run made in its seconds, and where."""

    head: str
    device: str
    steps: float


class Difference(NamedTuple):
    """How many more steps a device makes than another one: log of the quotient."""

    log: float
    standard_error: float

    @property
    def share(self) -> float:
        """More steps than the other's, as a share of them."""
        return math.expm1(self.log)

    @property
    def is_none(self) -> bool:
        """Whether the two are equally fast, as far as can be told."""
        return abs(self.log) <= max(TOLERANCE, ERRORS * self.standard_error)


def differences(counts: Iterable[Count], device: str) -> dict[str, Difference]:
    """How `device` differs from each one that ran a commit that it ran, too."""
    groups = _groups(counts)
    spread = _spread(groups.values())
    others = {name for _, name in groups} - {device}
    found = {}
    for other in sorted(others):
        pairs = [
            (mine, groups[head, other])
            for (head, name), mine in groups.items()
            if name == device and (head, other) in groups
        ]
        if pairs:
            found[other] = _difference(pairs, spread)
    return found


def equals(counts: Iterable[Count], device: str) -> frozenset[str]:
    """`device` and those that are known to be as fast: an unknown one is not."""
    found = differences(counts, device)
    return frozenset({device, *(name for name in found if found[name].is_none)})


def words(counts: Iterable[Count], device: str) -> str | None:
    """That `device` is compared with its own runs, and why; None if it is not."""
    unequal = {
        name: found
        for name, found in differences(counts, device).items()
        if not found.is_none
    }
    if not unequal:
        return None
    parts = [f"{found.share:+.1%} against {name}" for name, found in unequal.items()]
    return (
        f"{device} makes another number of steps in the same time "
        f"({', '.join(parts)}): what runs on it is compared with baseline runs of its "
        "own"
    )


def _groups(counts: Iterable[Count]) -> Mapping[tuple[str, str], list[float]]:
    groups: dict[tuple[str, str], list[float]] = {}
    for count in counts:
        if count.steps > 0:
            key = (count.head, count.device)
            groups.setdefault(key, []).append(math.log(count.steps))
    return groups


def _spread(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation of one run's log steps on one device, pooled."""
    squares, df = SPREAD_DF * SPREAD**2, SPREAD_DF
    for group in groups:
        mean = statistics.fmean(group)
        squares += math.fsum((x - mean) ** 2 for x in group)
        df += len(group) - 1
    return math.sqrt(squares / df)


def _difference(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], spread: float
) -> Difference:
    """Over the commits that both ran, each weighed by how well it is known."""
    weights = [1 / (1 / len(mine) + 1 / len(other)) for mine, other in pairs]
    gaps = [statistics.fmean(mine) - statistics.fmean(other) for mine, other in pairs]
    total = math.fsum(weights)
    log = math.fsum(w * gap for w, gap in zip(weights, gaps, strict=True)) / total
    return Difference(log, spread / math.sqrt(total))
