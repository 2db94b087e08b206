"""Worlds to try decision rules in.

The reference world is a mixture fitted to the 126 published runs of
karpathy/autoresearch (branch exp/H100/mar8, rows 15 and later), where sigma is about
0.34e-3 bits per byte. The others change one thing each, so that a rule is not tuned to
the reference alone. "shared seeds" is as sharp in pairs as this project's CPU profile:
one run there has a standard deviation of 0.0115 bits per byte, a paired difference
0.0037.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class World:
    """Effects of ideas and errors of runs, in units of one run's sigma.

    An idea is good with probability `good` (gain exponential with mean `good_mean`),
    next to nothing with probability `null` (normal, sd `null_sd`), else harmful (harm
    exponential: mean `harm_mean`, or `ruin_mean` for a share `ruin`). `early` first
    ideas come from the richer mixture of a fresh start. The gain of good ideas shrinks
    as 1 / (1 + gain so far / `depletes_at`).

    `crashes` of the candidates give no number. `interim_correlation` is that of the
    score at `interim_at` of a run with the final one, for ideas without an effect;
    `crossing` is the share of ideas whose interim score misleads (an own error of 3).
    `t_df` gives Student noise of unit variance, `drift` a random walk of the machine
    per run, `jumps` the share of runs at which its level jumps (sd 1.5),
    `device_sd` a level of each device. `seed_share` is the share of one run's variance,
    and of its interim score's error, that comes from the seed and is common to all
    commits that run with it.

    When the baseline moves, an idea written for the old one has lost its effect with
    probability `redundant` per move, does not apply with probability `conflict`, and
    its effect changes by a share `interaction` of its size (at most of 3).
    """

    good: float = 0.15
    null: float = 0.32
    good_mean: float = 1.2
    null_sd: float = 0.3
    harm_mean: float = 2.9
    ruin_mean: float = 11.0
    ruin: float = 0.27
    early: int = 0
    depletes_at: float | None = None
    crashes: float = 0.04
    interim_at: float = 0.4
    interim_correlation: float = 0.8
    crossing: float = 0.1
    t_df: int | None = None
    drift: float = 0.0
    jumps: float = 0.0
    device_sd: float = 0.0
    seed_share: float = 0.0
    redundant: float = 0.07
    conflict: float = 0.03
    interaction: float = 0.2

    def effect(self, rng: random.Random, index: int, gain: float) -> float:
        """What the `index`-th idea of a session does to a baseline with that gain."""
        u = rng.random()
        good, null, mean = self.good, self.null, self.good_mean
        if index < self.early:
            good, null, mean = 0.60, 0.20, 8.3
        if u < good:
            if self.depletes_at is not None:
                mean /= 1 + max(gain, 0.0) / self.depletes_at
            return -rng.expovariate(1 / mean)
        if u < good + null:
            return rng.gauss(0.0, self.null_sd)
        ruin = rng.random() < self.ruin
        return rng.expovariate(1 / (self.ruin_mean if ruin else self.harm_mean))

    def scaled(self, factor: float) -> World:
        """The same ideas where a run is `1 / factor` times as noisy."""
        return replace(
            self,
            good_mean=self.good_mean * factor,
            null_sd=self.null_sd * factor,
            harm_mean=self.harm_mean * factor,
            ruin_mean=self.ruin_mean * factor,
        )


REFERENCE = World()

WORLDS = MappingProxyType(
    {
        "reference": REFERENCE,
        "less noise": REFERENCE.scaled(1.5),
        "more noise": REFERENCE.scaled(0.68),
        "very noisy": REFERENCE.scaled(0.35),
        "few good ideas": replace(REFERENCE, good=0.05),
        "mostly null": replace(REFERENCE, good=0.10, null=0.70),
        "fresh start": replace(REFERENCE, early=14),
        "heavy tails": replace(REFERENCE, t_df=5),
        "drift": replace(REFERENCE, drift=0.1),
        "level jumps": replace(REFERENCE, jumps=0.01),
        "crossing curves": replace(REFERENCE, crossing=0.3),
        "weak interim": replace(REFERENCE, interim_correlation=0.5),
        "sharp interim": replace(REFERENCE, interim_correlation=0.9),
        "ideas run out": replace(REFERENCE, depletes_at=15.0),
        "shared seeds": replace(REFERENCE, seed_share=0.95),
        "half-shared seeds": replace(REFERENCE, seed_share=0.5),
        "no-ops only": World(good=0.0, null=1.0, null_sd=0.0, crashes=0.0),
    }
)
