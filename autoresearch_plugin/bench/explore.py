"""Greedy, audited: winners of one run are built upon at once, and proven together.

A block of provisional keeps is proven by runs that each leave a balanced half of them
out (a Plackett-Burman design): twelve runs tell the effects of up to eleven changes
apart, each as sharply as if all twelve had been spent on it alone.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from autoresearch_plugin.bench.judged import Pool, Stopper, Stopping
from autoresearch_plugin.bench.simulation import Ask, Idea, Lane, Session
from autoresearch_plugin.evidence import e_value, log_mills

# First rows of the designs: the others are its rotations, and one row of all signs off.
ROWS = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}


@dataclass
class Unit:
    """Provisional keeps that only go together, and what speaks for them."""

    keeps: list[int]
    sums: float = 0.0  # of the estimates, each times its runs
    runs: int = 0

    @property
    def effect(self) -> float:
        """Of all of them together, so far."""
        return self.sums / self.runs


class Explore:
    """Keep provisionally after one run; prove `block` keeps at a time, or at the end.

    A winner is better than the head's level, as far as it is known, by `margin` sigma.
    The level is the mean of `head_runs` runs, and after a provisional keep what that
    one run says of it, shrunken. Units are kept at an e-value of `keep_e`, taken back
    below `go_e`, and judged by one more design in between, at most `rounds`.
    """

    def __init__(
        self,
        block: int = 11,
        margin: float = 0.5,
        keep_e: float = 2.0,
        go_e: float = 1.0,
        rounds: int = 2,
        head_runs: int = 3,
        mu: float = 0.7,
        shrink: float = 1.0,
        greedy_bar: bool = False,
    ) -> None:
        self.block, self.margin, self.rounds = block, margin, rounds
        self.keep_e, self.go_e, self.mu = keep_e, go_e, mu
        self.head_runs, self.shrink, self.greedy_bar = head_runs, shrink, greedy_bar
        self.stop = Stopping()
        self._noise = Pool(1.0)
        self._level: list[float] = []  # the head's own runs
        self._moved = 0.0  # what provisional keeps since then promise
        self._best = math.inf
        self._first = math.nan
        self._wanted = head_runs
        self._block: list[Unit] = []
        self._proven: list[int] = []
        self._rows: deque[frozenset[int]] = deque()
        self._open = 0
        self._answers: list[tuple[frozenset[int], float]] = []
        self._auditing: list[Unit] | None = None
        self._round = 0

    def claimed(self) -> float:
        """First level less the last one."""
        return self._first - self._mean if self._level else 0.0

    @property
    def _mean(self) -> float:
        return statistics.fmean(self._level) + self._moved

    # --------------------------------------------------------------------- the loop

    def lane(self, session: Session) -> Lane:
        """Audits go before baseline runs, and those before new ideas."""
        while True:
            if self._rows:
                yield from self._row(session)
            elif self._auditing is not None:
                yield Ask()
            elif self._wanted:
                yield from self._head_run(session)
            elif not self._level:
                yield Ask()
            elif self._block and self._is_due(session):
                self._start(session, self._block)
            elif session.over or self._is_late(session):
                return
            else:
                yield from self._try(session, session.new_idea())

    def _is_due(self, session: Session) -> bool:
        return len(self._block) >= self.block or self._is_late(session)

    def _is_late(self, session: Session) -> bool:
        """Whether what is left is needed for the last audit."""
        rows = max(12, len(_design(max(1, len(self._block)), session.rng)))
        return session.left < 1.1 * rows * (1.3 if self.rounds > 1 else 1)

    def _head_run(self, session: Session) -> Lane:
        self._wanted -= 1
        answer = yield Ask(head=session.head)
        assert answer.value is not None
        assert answer.interim is not None
        self._level.append(answer.value)
        self._best = min(self._best, answer.value)
        self.stop.residuals.append(answer.interim - answer.value)
        self._noise.put(session.head, self._level)
        if len(self._level) == self.head_runs and math.isnan(self._first):
            self._first = statistics.fmean(self._level)

    # ---------------------------------------------------------------------- screening

    def _try(self, session: Session, idea: Idea) -> Lane:
        stops: Stopper | None
        stops, spared = self.stop.stopper(self._is_out, 1.0, session.rng)
        answer = yield Ask(idea, stops=stops)
        value = answer.value
        wins = value is not None and not self._is_out(value)
        if value is not None and answer.interim is not None:
            self.stop.residuals.append(answer.interim - value)
        if spared:
            self.stop.spared.append(wins)
        if value is None or not wins:
            session.drop(idea)
            return
        while self._auditing is not None:
            if self._rows:
                yield from self._row(session)
            else:
                yield Ask()
        if not session.restack(idea):
            session.drop(idea)
            return
        self._keep(session, idea, value)

    def _is_out(self, value: float) -> bool:
        if self.greedy_bar:
            return value >= self._best
        return value > self._mean - self.margin * self._noise.noise.sigma

    def _keep(self, session: Session, idea: Idea, value: float) -> None:
        self._best = min(self._best, value)
        sigma = self._noise.noise.sigma
        s = sigma * math.sqrt(1 + 1 / len(self._level))
        mean = self._mean - value - s**2 / (self.shrink * sigma)
        self._moved -= mean + s * math.exp(-log_mills(mean / s))
        number = len(session.keeps)
        session.keep(idea)
        tied = [
            unit
            for unit in self._block
            if session.rng.random() < session.world.conflict
        ]
        keeps = [number, *(keep for unit in tied for keep in unit.keeps)]
        self._block = [unit for unit in self._block if unit not in tied]
        self._block.append(Unit(keeps))

    # ----------------------------------------------------------------------- auditing

    def _start(self, session: Session, units: list[Unit]) -> None:
        self._auditing, self._round = units, 0
        self._deal(session)

    def _deal(self, session: Session) -> None:
        assert self._auditing is not None
        self._answers = []
        self._rows.extend(
            frozenset(
                keep
                for unit, on in zip(self._auditing, row, strict=False)
                if not on
                for keep in unit.keeps
            )
            for row in _design(len(self._auditing), session.rng)
        )

    def _row(self, session: Session) -> Lane:
        row = self._rows.popleft()
        self._open += 1
        answer = yield Ask(head=session.head, without=row)
        self._open -= 1
        assert answer.value is not None
        self._answers.append((row, answer.value))
        if not self._rows and not self._open:
            self._weigh(session)

    def _weigh(self, session: Session) -> None:
        """Sum up a design: units are proven, taken back or asked about again."""
        assert self._auditing is not None
        self._round += 1
        count = len(self._answers)
        for unit in self._auditing:
            signs = [1 if unit.keeps[0] not in row else -1 for row, _ in self._answers]
            contrast = sum(
                sign * value
                for sign, (_, value) in zip(signs, self._answers, strict=True)
            )
            unit.sums += 2 * contrast
            unit.runs += count
        left = []
        for unit in self._auditing:
            e = self._e_value(unit)
            if e >= self.keep_e:
                self._proven.extend(unit.keeps)
            elif e < self.go_e or self._round >= self.rounds:
                for keep in sorted(unit.keeps, reverse=True):
                    session.revert(keep)
            else:
                left.append(unit)
        self._auditing = left or None
        if left:
            self._deal(session)
            return
        self._block = []
        self._level, self._moved = [], 0.0
        self._best = math.inf
        self._wanted = self.head_runs

    def _e_value(self, unit: Unit) -> float:
        noise = self._noise.noise
        q = 4 / unit.runs
        t = -unit.effect / (noise.sigma * math.sqrt(q))
        return e_value(t, self.mu / math.sqrt(q), noise.df)


def _design(units: int, rng: random.Random) -> list[Sequence[bool]]:
    """Rows of on and off for so many units, every pair of them balanced."""
    runs = next((runs for runs in ROWS if runs > units), 0)
    if not runs:
        runs = 4 * math.ceil((units + 1) / 4)
        half = runs // 2
        columns = [[True] * half + [False] * half for _ in range(units)]
        for column in columns:
            rng.shuffle(column)
        return [list(row) for row in zip(*columns, strict=True)]
    first = [sign == "+" for sign in ROWS[runs]]
    rows = [first[-i:] + first[:-i] for i in range(len(first))]
    return [row[:units] for row in [*rows, [False] * len(first)]]
