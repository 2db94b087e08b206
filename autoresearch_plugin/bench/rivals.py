"""Rules that others use or have proposed, on a single run or a fixed number of runs."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from autoresearch_plugin.bench.judged import Stopper, Stopping
from autoresearch_plugin.bench.simulation import Ask, Idea, Lane, Session

FIXED = 42  # the seed of all runs


class Greedy:
    """autoresearch's rule: one run, lower than the lowest number so far is a keep.

    All runs have the same seed, as there. `margin` is asked on top. Winners that ran on
    an old head are merged unmeasured. With `early_stop` losers end at their interim
    score. With `pair_margin` the margin is twice the distance of two baseline runs
    (karpathy/autoresearch, pull request 560).
    """

    def __init__(
        self, margin: float = 0.0, early_stop: bool = False, pair_margin: bool = False
    ) -> None:
        self.margin = margin
        self.stop = Stopping() if early_stop else None
        self.pair_margin = pair_margin
        self._first: list[float] = []
        self._asked = False
        self.best = math.inf

    def claimed(self) -> float:
        """First number less the lowest one."""
        return self._first[0] - self.best if self._first else 0.0

    def lane(self, session: Session) -> Lane:
        """One run an idea."""
        if not self._asked:
            self._asked = True
            yield from self._calibrate()
        while not session.over:
            if not math.isfinite(self.best):
                yield Ask()  # another lane measures the baseline
                continue
            yield from self._try(session, session.new_idea())

    def _calibrate(self) -> Lane:
        for run in range(2 if self.pair_margin else 1):
            answer = yield Ask(head=0, seed=FIXED + run)
            assert answer.value is not None
            self._first.append(answer.value)
        if self.pair_margin:
            self.margin = 2 * abs(self._first[0] - self._first[1])
        self.best = self._first[-1]

    def _try(self, session: Session, idea: Idea) -> Lane:
        stops: Stopper | None = None
        spared: list[bool] = []
        if self.stop:
            stops, spared = self.stop.stopper(self._is_out, 1.0, session.rng)
        answer = yield Ask(idea, stops=stops, seed=FIXED)
        value = answer.value
        wins = value is not None and not self._is_out(value)
        if self.stop and value is not None and answer.interim is not None:
            self.stop.residuals.append(answer.interim - value)
        if self.stop and spared:
            self.stop.spared.append(wins)
        if value is None or not wins or not session.restack(idea):
            session.drop(idea)
            return
        self.best = min(self.best, value)
        session.keep(idea)

    def _is_out(self, value: float) -> bool:
        return value >= self.best - self.margin


class FixedRuns:
    """Three runs of everything, kept if `accepts` says so; the runs are the next bar.

    With `screens` a first run that is no better than the bar's mean ends it.
    """

    def __init__(
        self,
        accepts: Callable[[Sequence[float], Sequence[float]], bool],
        screens: bool,
        count: int = 3,
    ) -> None:
        self.accepts = accepts
        self.screens = screens
        self.count = count
        self._bar: list[float] = []
        self._first = math.nan
        self._asked = 0

    def claimed(self) -> float:
        """Mean of the first runs less that of the latest."""
        return self._first - statistics.fmean(self._bar) if self._bar else 0.0

    def lane(self, session: Session) -> Lane:
        """The baseline first, together with the other lanes."""
        while self._asked < self.count:
            self._asked += 1
            answer = yield Ask(head=0, seed=FIXED + self._asked)
            assert answer.value is not None
            self._bar.append(answer.value)
        while len(self._bar) < self.count:
            yield Ask()
        self._first = statistics.fmean(self._bar[: self.count])
        while not session.over:
            yield from self._try(session, session.new_idea())

    def _try(self, session: Session, idea: Idea) -> Lane:
        runs: list[float] = []
        while len(runs) < self.count:
            answer = yield Ask(idea, seed=FIXED + 1 + len(runs))
            if answer.value is None:
                break
            runs.append(answer.value)
            if self.screens and runs[0] >= statistics.fmean(self._bar):
                break
        wins = len(runs) == self.count and self.accepts(runs, self._bar)
        if not wins or not session.restack(idea):
            session.drop(idea)
            return
        self._bar = runs
        session.keep(idea)


def t_test(runs: Sequence[float], bar: Sequence[float]) -> bool:
    """Three against three, pooled variance, one-sided at 5 % (4 degrees of freedom)."""
    spread = statistics.variance(runs) + statistics.variance(bar)
    error = math.sqrt(spread / 2 * (1 / len(runs) + 1 / len(bar)))
    return statistics.fmean(bar) - statistics.fmean(runs) > 2.132 * error


def bootstrap(runs: Sequence[float], bar: Sequence[float]) -> bool:
    """Whether 95 % of all resamples favour the candidate (autoresearch-mlx)."""
    mine = [sum(x) for x in itertools.product(runs, repeat=len(runs))]
    theirs = [sum(x) for x in itertools.product(bar, repeat=len(bar))]
    better = sum(a < b for a in mine for b in theirs)
    return better >= 0.95 * len(mine) * len(theirs)
