"""How many device-hours it takes to see an effect of a given size."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.simulation import OVERHEAD, Idea, Lane, Session
from autoresearch_plugin.bench.worlds import World
from autoresearch_plugin.errors import SettingsError

TRIES = 2000
QUIET = World(crashes=0.0, crossing=0.0)


@dataclass(frozen=True)
class Power:
    """For one idea with a gain of `sigmas`, against a baseline that has its runs."""

    sigmas: float
    proven: float
    runs: float

    def hours(self, seconds: float) -> float:
        """Device-hours of one try, where a run's budget is `seconds`."""
        return self.runs * seconds * (1 + OVERHEAD) / 3600


class _OneIdea(Judged):
    """Tries ideas of one size for ever, on a first baseline of three runs."""

    def __init__(self, effect: float, paired: bool) -> None:
        super().__init__(paired=paired)
        self._effect = effect

    def lane(self, session: Session) -> Lane:
        yield from self._ensure_head(0, self.rule.head_min)
        idea = Idea(self._effect, 0, crashes=False, misleading=0.0)
        yield from self._try(session, idea)


def power(sigmas: float, paired: bool = False, tries: int = TRIES) -> Power:
    """Simulate `tries` candidates that are better by `sigmas` (standard deviations).

    Raises:
        SettingsError: the gain is not above 0.
    """
    if not sigmas > 0:
        raise SettingsError(f"a gain above 0 is needed, not {sigmas:g}.")
    kept = runs = 0
    for seed in range(tries):
        policy = _OneIdea(-sigmas, paired)
        session = Session(QUIET, policy, 1, 1e9, random.Random(seed)).run()
        ((_, keep, used),) = session.decided
        kept += keep
        runs += used
    return Power(sigmas, kept / tries, runs / tries)


def lines(
    gain: float, sigma: float, seconds: float, where: str, paired: bool = False
) -> Iterator[str]:
    """The answer in words.

    `gain` and `sigma` in units of the metric; `sigma` is the standard deviation of one
    run, or of one paired difference, which has the own noise of two runs in it.
    """
    if not gain > 0:
        raise SettingsError(f"a gain above 0 is needed, not {gain:g}.")
    one = power(gain / (sigma / math.sqrt(2) if paired else sigma), paired)
    kind = "a paired difference" if paired else "a run"
    hours = one.hours(seconds)
    share = gain / sigma
    yield f"noise   sigma {sigma:.2g} {kind} ({where}); {gain:g} is {share:.2g} of it"
    yield (
        f"power   such a gain is proven in {100 * one.proven:.0f} % of tries, with "
        f"{one.runs:.1f} runs of the candidate: {hours:.2g} device-hours a try"
    )
    if one.proven > 0:
        each = hours / one.proven
        yield f"so      {each:.2g} device-hours of such ideas for each one that is kept"
    else:
        yield "so      it is not to be seen here: longer runs, or a larger effect"
