"""Who decides: the shipped judge, and rules that others use or propose.

Every policy lives for one session. The judge is not written again here: its evidence
and its decisions come from `autoresearch_plugin.judge`, its loop is that of
`loop.Research`.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from autoresearch_plugin import judge
from autoresearch_plugin.bench.simulation import (
    Answer,
    Ask,
    Idea,
    Lane,
    Policy,
    Session,
)
from autoresearch_plugin.evidence import Noise, Question, Run, capped, spread, weigh
from autoresearch_plugin.loop import HEAD_TOP_EVERY, HEAD_TOP_MAX

UNSHARED = Noise(10.0, 4.0)  # where runs are paired: so wide that pairs are sharper
PRIOR_DF = 4.0  # weight of the prior sigma, as for a five-minute run on a GPU


# ----------------------------------------------------------------------- early stop


@dataclass
class EarlyStop:
    """Ends a candidate's first run at its interim score when it cannot win any more.

    What the interim score says is learned from completed runs: a run is stopped when
    even `factor` robust deviations below its forecast it would not reach `bar`. A
    share `AUDIT` of the losers runs on; when too many of those would have been worth
    another run, the rule becomes careful, and then stops itself.
    """

    factor: float = 1.5
    AUDIT = 0.05
    LEAST = 12  # completed runs before anything is stopped
    _residuals: deque[float] = field(default_factory=lambda: deque(maxlen=150))
    _audited: deque[bool] = field(default_factory=lambda: deque(maxlen=40))

    def learn(self, answer: Answer) -> None:
        """A completed run: how far its interim score was from its end."""
        if answer.value is not None and answer.interim is not None:
            self._residuals.append(answer.interim - answer.value)

    def audit(self, was_worth_a_run: bool) -> None:
        """A loser that ran on: whether it turned out well."""
        self._audited.append(was_worth_a_run)
        wrong = sum(self._audited)
        if len(self._audited) >= 10:
            if wrong > 0.2 * len(self._audited):
                self.factor = math.inf
            elif wrong > 0.1 * len(self._audited):
                self.factor = max(self.factor, 2.5)

    def loses(self, interim: float, bar: float, sigma: float) -> bool:
        """Whether a run with this interim score will not end below `bar`."""
        if len(self._residuals) < self.LEAST:
            return False
        middle = statistics.median(self._residuals)
        spread = statistics.median(abs(r - middle) for r in self._residuals)
        margin = self.factor * max(1.4826 * spread, 0.1 * sigma)
        return interim - middle - margin > bar


# ---------------------------------------------------------------------- shipped rule


class Judged:
    """The loop of the plugin around a `judge.Rule`.

    `prior` is what the profile takes one run's sigma to be. `paired` compares run by
    run, as on step budgets, and sigma is that of what pairs do not share. With
    `early_stop` losers end inside their first run, which the plugin does not do yet.
    With `fdr` the bound for a keep follows e-LOND at that false discovery rate
    (Xu and Ramdas, Online multiple testing with e-values).
    """

    def __init__(
        self,
        rule: judge.Rule = judge.DEFAULT,
        prior: float = 1.0,
        early_stop: bool = False,
        fdr: float | None = None,
        paired: bool = False,
    ) -> None:
        self.rule = rule
        self.prior = prior
        self.stop = EarlyStop() if early_stop else None
        self.fdr = fdr
        self.paired = paired
        self._decided = 0
        self._kept = 0
        self._heads: dict[int, list[float]] = {}
        self._inherited: dict[int, int] = {}
        self._running: dict[int, int] = {}
        self._screened: dict[int, int] = {}
        self._spread: dict[object, tuple[float, int]] = {}  # of a commit's runs

    def claimed(self) -> float:
        """Mean of the first baseline's runs less that of the latest measured one."""
        measured = [runs for _, runs in sorted(self._heads.items()) if runs]
        if not measured:
            return 0.0
        return statistics.fmean(measured[0]) - statistics.fmean(measured[-1])

    def lane(self, session: Session) -> Lane:
        """Calibrate if the head needs it, else try the next idea."""
        while not session.over:
            if self._wants_head_run(session.head):
                yield from self._head_run(session.head)
            else:
                yield from self._try(session, session.new_idea())

    # ---------------------------------------------------------------- baseline runs

    def _wants_head_run(self, head: int) -> bool:
        measured, running = len(self._runs(head)), self._running.get(head, 0)
        screened = self._screened.get(head, 0)
        if measured == 0 and running:
            wanted = judge.HEAD_MIN
        elif screened == 0:
            wanted = 1
        else:
            wanted = min(HEAD_TOP_MAX, judge.HEAD_MIN + screened // HEAD_TOP_EVERY)
        return measured + running < wanted

    def _runs(self, head: int) -> list[float]:
        return self._heads.setdefault(head, [])

    def _head_run(self, head: int) -> Lane:
        self._running[head] = self._running.get(head, 0) + 1
        answer = yield Ask(head=head)
        self._running[head] -= 1
        assert answer.value is not None, "a baseline never crashes here"
        self._runs(head).append(answer.value)
        if not self.paired:  # what it inherited counts where it was run
            own = self._runs(head)[self._inherited.get(head, 0) :]
            self._pool(head, own)
        self._learn(answer)

    def _ensure_head(self, head: int, wanted: int) -> Lane:
        while len(self._runs(head)) < wanted:
            if len(self._runs(head)) + self._running.get(head, 0) < wanted:
                yield from self._head_run(head)
            else:
                yield Ask()

    # -------------------------------------------------------------------- candidates

    def _try(self, session: Session, idea: Idea) -> Lane:
        """Judge on the present head; a winner of an old head is judged again."""
        rule = self._rule_now()
        while True:
            runs: list[float] = []
            yield from self._judge(session, idea, rule, runs)
            self._decided += 1
            if self._decision(idea.head, runs, rule) != judge.KEEP:
                session.drop(idea)
                return
            if idea.head == session.head:
                session.keep(idea)
                self._kept += 1
                if not self.paired:  # the run that chose it is left out
                    self._runs(session.head).extend(runs[1:])
                    self._inherited[session.head] = len(runs) - 1
                return
            if not session.restack(idea):
                session.drop(idea)
                return

    def _rule_now(self) -> judge.Rule:
        if self.fdr is None:
            return self.rule
        gamma = 0.4374 * (self._decided + 1) ** -1.6  # sums to one
        return replace(self.rule, keep_e=1 / (self.fdr * gamma * (self._kept + 1)))

    def _judge(
        self, session: Session, idea: Idea, rule: judge.Rule, runs: list[float]
    ) -> Lane:
        """Run an idea until it is decided; what it gave is added to `runs`."""
        head = idea.head
        yield from self._ensure_head(head, 1)
        while True:
            stops, spared = self._stopper(session, head) if not runs else (None, [])
            answer = yield Ask(idea, stops=stops)
            if answer.value is None:
                runs.clear()
                return
            runs.append(answer.value)
            self._pool_candidate(idea, head, runs)
            if len(runs) == 1:
                self._screened[head] = self._screened.get(head, 0) + 1
                self._learn(answer)
            if self._decision(head, runs, rule) == judge.REPLICATE:
                partners = len(runs) if self.paired else 0
                yield from self._ensure_head(head, max(rule.head_min, partners))
            going_on = self._decision(head, runs, rule) == judge.REPLICATE
            if spared and self.stop:
                self.stop.audit(going_on)
            if not going_on:
                return

    def _decision(self, head: int, runs: Sequence[float], rule: judge.Rule) -> str:
        if not runs:
            return judge.DISCARD
        name = str(head)
        question = Question(
            candidate=tuple(Run(x, i, name) for i, x in enumerate(runs)),
            heads={
                name: tuple(Run(x, i, name) for i, x in enumerate(self._runs(head)))
            },
            unpaired=UNSHARED if self.paired else self._noise(),
            paired=self._noise(math.sqrt(2)) if self.paired else None,
            max_runs=rule.n_max,
        )
        evidence = weigh(question)
        if evidence.d >= 0 and rule.go_e >= 1:
            return judge.DISCARD  # no gain at all: the e-value is below 1
        e = evidence.e_value(0.0, rule.mu)
        return rule.decision(question, evidence, e, rule.go_e)

    # ----------------------------------------------------------------- noise, stopping

    def _pool(self, key: object, runs: Sequence[float]) -> None:
        """Take note of the spread of one commit's runs."""
        self._spread[key] = spread(runs)

    def _pool_candidate(self, idea: Idea, head: int, runs: Sequence[float]) -> None:
        base = self._runs(head)
        if self.paired:
            runs = [x - b for x, b in zip(runs, base, strict=False)]
        if runs:
            self._pool((idea.number, head), runs)

    def _noise(self, unit: float = 1.0) -> Noise:
        """As `evidence.pooled_noise`, which would take the runs themselves."""
        squares, df = capped(self._spread.values())
        start = PRIOR_DF * (self.prior * unit) ** 2
        return Noise(math.sqrt((start + squares) / (PRIOR_DF + df)), PRIOR_DF + df)

    def _learn(self, answer: Answer) -> None:
        if self.stop:
            self.stop.learn(answer)

    def _stopper(
        self, session: Session, head: int
    ) -> tuple[Callable[[float], bool] | None, list[bool]]:
        if self.stop is None:
            return None, []
        stop, sigma = self.stop, self._noise().sigma
        bar = statistics.fmean(self._runs(head)) - sigma
        return _spare_some(session.rng, lambda x: stop.loses(x, bar, sigma))


def _spare_some(
    rng: random.Random, loses: Callable[[float], bool]
) -> tuple[Callable[[float], bool], list[bool]]:
    """A stopper that lets the audit sample run on; the list says that it did."""
    spared: list[bool] = []

    def stops(interim: float) -> bool:
        if not loses(interim):
            return False
        if rng.random() < EarlyStop.AUDIT:
            spared.append(True)
            return False
        return True

    return stops, spared


# ------------------------------------------------------------------ what others use


class Greedy:
    """autoresearch's rule: one run, lower than the lowest number so far is a keep.

    `margin` is asked on top. Winners that ran on an old head are merged unmeasured.
    With `early_stop` losers end at their interim score. With `pair_margin` the margin
    is twice the distance of two baseline runs (karpathy/autoresearch, pull request
    560).
    """

    def __init__(
        self, margin: float = 0.0, early_stop: bool = False, pair_margin: bool = False
    ) -> None:
        self.margin = margin
        self.stop = EarlyStop() if early_stop else None
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
        for _ in range(2 if self.pair_margin else 1):
            answer = yield Ask(head=0)
            assert answer.value is not None
            self._first.append(answer.value)
        if self.pair_margin:
            self.margin = 2 * abs(self._first[0] - self._first[1])
        self.best = self._first[-1]

    def _try(self, session: Session, idea: Idea) -> Lane:
        stops, spared = self._stopper(session) if self.stop else (None, [])
        answer = yield Ask(idea, stops=stops)
        if self.stop:
            self.stop.learn(answer)
        value = answer.value
        wins = value is not None and value < self.best - self.margin
        if spared and self.stop:
            self.stop.audit(wins)
        if value is None or not wins or not session.restack(idea):
            session.drop(idea)
            return
        self.best = min(self.best, value)
        session.keep(idea)

    def _stopper(
        self, session: Session
    ) -> tuple[Callable[[float], bool] | None, list[bool]]:
        assert self.stop is not None
        stop = self.stop
        return _spare_some(session.rng, lambda x: stop.loses(x, self.best, 1.0))


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
            answer = yield Ask(head=0)
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
            answer = yield Ask(idea)
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


# -------------------------------------------------------------------------- by name


ANYTIME = judge.Rule(keep_e=20.0, n_max=12, name="anytime")

POLICIES: Mapping[str, Callable[[], Policy]] = MappingProxyType(
    {
        "default": Judged,
        "default, paired": lambda: Judged(paired=True),
        "default, stops early": lambda: Judged(early_stop=True),
        "default, prior x2": lambda: Judged(prior=2.0),
        "default, prior x1/2": lambda: Judged(prior=0.5),
        "anytime": lambda: Judged(ANYTIME),
        "fdr": lambda: Judged(replace(ANYTIME, name="fdr"), fdr=0.1),
        "greedy": Greedy,
        "greedy, stops early": lambda: Greedy(early_stop=True),
        "greedy, margin 1 sigma": lambda: Greedy(margin=1.0),
        "greedy, margin 2|x1-x2|": lambda: Greedy(pair_margin=True),
        "three runs, t-test": lambda: FixedRuns(t_test, screens=False),
        "three runs, bootstrap": lambda: FixedRuns(bootstrap, screens=True),
    }
)
