"""The price of a candidate's step: two children step in turn, we read their CPU clocks.

Measured from outside, because the target could set any clock inside. Turns are taken as
parent, candidate, candidate, parent, so that a machine that slowly gets warmer or
busier favours neither, and both on one CPU, because another one has other neighbours.
A neighbour still makes steps 30 % dearer now and then; so the standard error of the
ratio is computed too, and they go on stepping until it is small. One round is enough
to see that a step costs about what it did before, as most do; two rounds make it exact.
On systems without /proc the wall time of the steps stands in for their CPU time, which
is only fair on an idle machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoresearch_plugin.executors.child import Child
from autoresearch_plugin.executors.transcript import Stop
from autoresearch_plugin.trial import Outcome, TrialResult

DEAD_ZONE = 0.02  # five times the spread of a change that does nothing
WIDEST = 0.05  # of the dead zone, on a machine too busy to measure better
GOOD_ERROR = 0.01  # relative, of one round; half the dead zone
PATIENCE = 3  # times the wanted steps, if the error stays large
CLOSE = 0.03  # a quotient so near to 1 after one round may be taken for 1 at first,
CLOSE_ERROR = 0.02  # with this standard error
NAMES = ("parent", "candidate")
ORDERS = ((0, 1), (1, 0))  # who starts first in each round: the second steps cheaper
UNTIMED = 3  # first steps of each child, not counted
_SETTLED = 20e-6  # seconds of CPU between two looks at a child that waits


@dataclass(frozen=True)
class Pace:
    """What a candidate's step costs in its parent's steps.

    `ratio` is what the budget is divided by: 1.0 inside the dead zone. `raw` is the
    quotient as measured, from `parent_seconds` and `candidate_seconds` over `steps`
    steps each, and `error` its standard error. If a child failed, `failed` is its
    result, `culprit` names it ("parent" or "candidate") and the ratio is 1.
    `tokens_per_step` are the candidate's, as far as it told; `costs` are the seconds of
    both, step by step, from so many `rounds`.
    """

    ratio: float = 1.0
    raw: float = 1.0
    error: float = 0.0
    parent_seconds: float = 0.0
    candidate_seconds: float = 0.0
    steps: int = 0
    failed: TrialResult | None = None
    culprit: str = ""
    tokens_per_step: float | None = None
    rounds: int = 0
    costs: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def is_good(self) -> bool:
        """Whether the standard error is small enough to stop stepping."""
        return self.error <= GOOD_ERROR * self.raw

    @property
    def is_close(self) -> bool:
        """Whether it can be taken for 1 until something rests on it."""
        return self.error <= CLOSE_ERROR and abs(self.raw - 1) <= CLOSE

    @property
    def is_exact(self) -> bool:
        """Whether all rounds were made."""
        return self.rounds == len(ORDERS)


EXACT = Pace(rounds=len(ORDERS))  # where nothing is charged


def measure(
    start_parent: Callable[[], Child],
    start_candidate: Callable[[], Child],
    check: Callable[[Child], Stop | None],
    *,
    steps: int,
    clock: Callable[[], float],
    known: Pace | None = None,
    rough: bool = False,
) -> Pace:
    """Start both, let each take `steps` timed steps in two rounds, compare.

    The process that starts second steps 1 to 2 % cheaper (seen with equal sources, in
    either role), so that each round has another first. Where `rough` will do the second
    round is left out if the quotient is close to 1, which then is the ratio: what looks
    dearer or cheaper than that, or has `known` rounds behind it, gets all of them.
    `check` is asked again and again while a child works and says why to stop it.
    """
    pace = known or Pace()
    starts = (start_parent, start_candidate)
    for order in ORDERS[pace.rounds :]:
        will_do = rough and pace.rounds == 0
        pace = _round(pace, starts, order, check, steps // len(ORDERS), clock, will_do)
        if pace.failed is not None:
            break
        if will_do and pace.is_close:
            return replace(pace, ratio=1.0)
    return pace


def _round(
    known: Pace,
    starts: tuple[Callable[[], Child], Callable[[], Child]],
    order: tuple[int, int],
    check: Callable[[Child], Stop | None],
    steps: int,
    clock: Callable[[], float],
    rough: bool,
) -> Pace:
    """`known` and one more start of both, in `order`; or what failed."""
    first, second = order
    with _Pacer(NAMES[first], starts[first], check, clock) as one:
        if not one.steps(UNTIMED):
            return one.failure()
        with _Pacer(NAMES[second], starts[second], check, clock) as other:
            if not other.steps(UNTIMED):
                return other.failure()
            pair = (one, other) if first == 0 else (other, one)
            return _alternate(known, pair, steps, rough)


def _alternate(
    known: Pace, pair: tuple[_Pacer, _Pacer], steps: int, rough: bool
) -> Pace:
    for child in pair:
        child.used()  # start-up and warm-up do not count
    ours: tuple[list[float], list[float]] = [], []
    for turn in range(PATIENCE * steps):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            if not pair[which].steps(1):
                return pair[which].failure()
            ours[which].append(pair[which].used())
        if turn + 1 >= steps:
            pace = from_costs(*ours)
            if pace.is_good or (rough and pace.is_close):
                break
    parent, candidate = (
        (*before, *new) for before, new in zip(known.costs, ours, strict=True)
    )
    return replace(
        from_costs(parent, candidate),
        tokens_per_step=pair[1].child.transcript.tokens_per_step,
        rounds=known.rounds + 1,
        costs=(parent, candidate),
    )


def from_costs(parent: Sequence[float], candidate: Sequence[float]) -> Pace:
    """The pace of two lists of step costs, as many in each."""
    raw, error = sum(candidate) / max(sum(parent), 1e-9), ratio_error(parent, candidate)
    zone = min(max(DEAD_ZONE, 3 * error), WIDEST) + 1e-12
    ratio = 1.0 if abs(raw - 1) <= zone else raw
    return Pace(ratio, raw, error, sum(parent), sum(candidate), len(parent))


def ratio_error(parent: Sequence[float], candidate: Sequence[float]) -> float:
    """Standard error of sum(candidate) / sum(parent) over pairs of steps.

    The usual linearised form for a ratio of means: the spread of what the ratio leaves
    unexplained in each pair (W. G. Cochran, Sampling Techniques, 1977, section 2.11).
    """
    n, total = len(parent), max(sum(parent), 1e-9)
    if n < 2:
        return math.inf
    ratio = sum(candidate) / total
    left = sum((c - ratio * p) ** 2 for p, c in zip(parent, candidate, strict=True))
    return math.sqrt(left / (n - 1) * n) / total


class _Pacer:
    """One child that steps when told."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Child],
        check: Callable[[Child], Stop | None],
        clock: Callable[[], float],
    ) -> None:
        self.child = start()
        self._name = name
        self._check = check
        self._clock = clock
        self._wall = 0.0
        self._rests_since: float | None = None
        self._seen = 0.0

    def __enter__(self) -> _Pacer:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close()

    def steps(self, count: int) -> bool:
        """Take steps; False if the child failed. Its deadline runs only meanwhile."""
        begin = self._clock()
        if self._rests_since is not None:
            self.child.transcript.pause(begin - self._rests_since)
        done = all(self._step() for _ in range(count))
        self._rests_since = self._clock()
        self._wall += self._rests_since - begin
        return done

    def _step(self) -> bool:
        child = self.child
        child.go()
        while child.transcript.steps < child.goes:
            for _ in child.pump():
                pass
            if stop := self._check(child) or self._too_many():
                child.stop(stop)
            if child.ended:
                return False
        return True

    def _too_many(self) -> Stop | None:
        if self.child.transcript.steps <= self.child.goes:
            return None
        return Stop(Outcome.INTEGRITY, "forged or broken event: a step before its go")

    def used(self) -> float:
        """CPU seconds since the last call; waits up to 0.1 s for the child to rest."""
        seen = self._total()
        for _ in range(50):
            time.sleep(0.002)
            last, seen = seen, self._total()
            if seen - last < _SETTLED:
                break
        used, self._seen = seen - self._seen, seen
        return used

    def _total(self) -> float:
        seconds = self.child.cpu_seconds()
        return self._wall if seconds is None else seconds

    def failure(self) -> Pace:
        """The pace that could not be measured, because this child failed."""
        result = self.child.result()
        if result.ok:
            result = TrialResult(
                Outcome.ERROR,
                f"the {self._name}'s pace run ended after "
                f"{self.child.transcript.steps} steps",
                log_tail=result.log_tail,
            )
        return Pace(failed=result, culprit=self._name)
