"""The loop of the plugin around the shipped judge, as a policy of a simulated session.

The rule is not written again here: evidence, decisions and stops inside a run come from
`evidence`, `judge` and `early`; the loop is that of `loop.Research`.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from autoresearch_plugin import early, judge
from autoresearch_plugin.baselines import HEAD_TOP_EVERY, HEAD_TOP_MAX
from autoresearch_plugin.bench.bundling import NearMisses
from autoresearch_plugin.bench.simulation import Answer, Ask, Idea, Lane, Session
from autoresearch_plugin.evidence import (
    Evidence,
    Noise,
    Question,
    Run,
    capped,
    spread,
    weigh,
)

PRIOR_DF = 4.0  # weight of the prior sigma, as for a five-minute run on a GPU
HOPELESS = 0.89  # a gain of fewer standard errors has no e-value of 1.25
BANK = 1000  # more seeds than a baseline ever has

Stopper = Callable[[float], bool]


@dataclass
class Stopping:
    """What completed runs say about interim scores, ready to be asked.

    It is `early.Experience`, made anew only when something was learned.
    """

    residuals: list[float] = field(default_factory=list)
    spared: list[bool] = field(default_factory=list)
    hope: float = early.FACTOR
    _known: tuple[int, int] = (-1, -1)
    _from_zero: early.Forecast | None = None

    def stopper(
        self,
        is_out: Callable[[float], bool],
        sigma: float,
        rng: random.Random,
        base: float = 0.0,
    ) -> tuple[Stopper, list[bool]]:
        """What ends a run by its interim score less `base`.

        The list is not empty afterwards when a loser was spared.
        """
        spared: list[bool] = []

        def stops(interim: float) -> bool:
            forecast = self.forecast(interim - base, sigma)
            if forecast is None:
                return False
            stopped, lucky = early.stops(forecast, is_out, rng.random())
            if lucky:
                spared.append(True)
            return stopped

        return stops, spared

    def margin(self, sigma: float) -> float | None:
        """From what is expected to what is hoped for; None while nobody can tell."""
        forecast = self.forecast(0.0, sigma)
        return None if forecast is None else forecast.expected - forecast.hopeful

    def forecast(self, interim: float, sigma: float) -> early.Forecast | None:
        """What a score foretells; it moves with the score, so that one is made for
        all."""
        known = (len(self.residuals), len(self.spared))
        if known != self._known:
            experience = early.Experience(self.residuals, self.spared, self.hope)
            self._known, self._from_zero = known, experience.forecast(0.0, sigma)
        if self._from_zero is None:
            return None
        return early.Forecast(*(interim + x for x in self._from_zero))


@dataclass
class Pool:
    """Spread within groups of runs of one commit, as `evidence.pooled_noise` has it."""

    start: float
    df: float = PRIOR_DF
    _spread: dict[object, tuple[float, int]] = field(default_factory=dict)
    _noise: Noise | None = None

    def put(self, key: object, runs: Sequence[float]) -> None:
        """Take note of the runs of one commit, all that there are so far."""
        if len(runs) > 1:
            self._spread[key] = spread(runs)
            self._noise = None

    @property
    def noise(self) -> Noise:
        """What is known by now."""
        if self._noise is None:
            squares, df = capped(self._spread.values())
            total = self.df + df
            sigma = math.sqrt((self.df * self.start**2 + squares) / total)
            self._noise = Noise(sigma, total)
        return self._noise


class Judged:
    """The loop of the plugin around a `judge.Rule`.

    `prior` is by what factor the profile is wrong about its noise. `paired` keeps a
    bank of seeds and compares run by run where that is sharper, as on step budgets; the
    bank then has only what a candidate's next run needs. With `early_stop` losers end
    inside their first run, with `stop_repeats` in later ones as well. With `fdr` the
    bound for a keep follows e-LOND at that false discovery rate (Xu and Ramdas, Online
    multiple testing with e-values). With `bundle` near misses are tried together, so
    many at once.
    """

    def __init__(
        self,
        rule: judge.Rule = judge.DEFAULT,
        prior: float = 1.0,
        early_stop: bool = True,
        fdr: float | None = None,
        paired: bool = False,
        stop_repeats: bool = False,
        bundle: int = 0,
    ) -> None:
        self.rule = rule
        self.early_stop = early_stop
        self.stop_repeats = stop_repeats
        self.fdr = fdr
        self.paired = paired
        self.kept_e: list[float] = []
        self._near = NearMisses(bundle) if bundle else None
        self._prior = prior
        self._noise = Pool(prior)
        self._pairs: Pool | None = None
        hope = early.BUNDLED if bundle else early.FACTOR
        self._stopping = Stopping(hope=hope)
        self._stopping_pairs = Stopping(hope=hope)
        self._decided = 0
        self._heads: dict[int, list[Run]] = {}
        self._interims: dict[tuple[int, int], float] = {}  # of heads, by seed
        self._inherited: dict[int, list[int]] = {}  # seeds
        self._running: dict[int, int] = {}
        self._screened: dict[int, int] = {}
        self._middles: dict[tuple[int, int], float] = {}  # of candidates, by seed
        self._heading: dict[int, Run] = {}  # stopped first runs, as forecast
        self._guarded = rule

    def claimed(self) -> float:
        """Mean of the first baseline's runs less that of the latest measured one."""
        measured = [runs for _, runs in sorted(self._heads.items()) if runs]
        if not measured:
            return 0.0
        first, last = ([run.value for run in measured[i]] for i in (0, -1))
        return statistics.fmean(first) - statistics.fmean(last)

    @property
    def calibration(self) -> list[tuple[int, float]]:
        """Seed and score of the first baseline's runs, in order."""
        return [(run.seed, run.value) for run in self._runs(0)]

    @property
    def noises(self) -> tuple[Noise, Noise | None]:
        """Of one run and of a pair, as far as the session knows."""
        return self._noise.noise, self._pairs.noise if self._pairs else None

    def lane(self, session: Session) -> Lane:
        """Calibrate if the head needs it, else try the next idea."""
        if self.paired and self._pairs is None:
            pairs = math.sqrt(2 * (1 - session.world.seed_share))
            self._pairs = Pool(self._prior * pairs)
        while not session.over:
            if self._wants_head_run(session.head):
                yield from self._head_run(session.head)
            else:
                together = self._near.take(session) if self._near else None
                yield from self._try(session, together or session.new_idea())

    # ---------------------------------------------------------------- baseline runs

    def _wants_head_run(self, head: int) -> bool:
        measured, running = len(self._runs(head)), self._running.get(head, 0)
        screened = self._screened.get(head, 0)
        if measured == 0 and running:
            wanted = judge.HEAD_MIN
        elif screened == 0:
            wanted = 1
        elif self._pairs_are_sharper:
            wanted = judge.HEAD_MIN
        else:
            wanted = min(HEAD_TOP_MAX, judge.HEAD_MIN + screened // HEAD_TOP_EVERY)
        return measured + running < wanted

    def _runs(self, head: int) -> list[Run]:
        return self._heads.setdefault(head, [])

    @property
    def _pairs_are_sharper(self) -> bool:
        """Whether more baseline runs than pairs need would say nothing."""
        if self._pairs is None:
            return False
        return self._pairs.noise.sigma < self._noise.noise.sigma

    def _seed(self, head: int, position: int) -> int:
        """The seed at a position of a baseline's bank."""
        inherited = self._inherited.get(head, [])
        return (
            inherited[position] if position < len(inherited) else BANK * head + position
        )

    def _head_run(self, head: int) -> Lane:
        position = len(self._runs(head)) + self._running.get(head, 0)
        seed = self._seed(head, position)
        self._running[head] = self._running.get(head, 0) + 1
        answer = yield Ask(head=head, seed=seed if self.paired else None)
        self._running[head] -= 1
        assert answer.value is not None, "a baseline never crashes here"
        assert answer.interim is not None
        self._interims[head, seed] = answer.interim
        self._runs(head).append(Run(answer.value, seed, str(head)))
        own = self._runs(head)[len(self._inherited.get(head, [])) :]
        self._noise.put(head, [run.value for run in own])
        self._stopping.residuals.append(answer.interim - answer.value)

    def _ensure_head(self, head: int, wanted: int) -> Lane:
        while len(self._runs(head)) < wanted:
            if len(self._runs(head)) + self._running.get(head, 0) < wanted:
                yield from self._head_run(head)
            else:
                yield Ask()

    # -------------------------------------------------------------------- candidates

    def _try(self, session: Session, idea: Idea) -> Lane:
        """Judge on the present head; a winner of an old head is judged again."""
        while True:
            rule = self._rule_now()
            runs: list[Run] = []
            yield from self._judge(session, idea, rule, runs)
            self._decided += 1
            if self._decision(idea.head, runs, rule) != judge.KEEP:
                self._drop(session, idea, runs)
                return
            if idea.head == session.head:
                self._keep(session, idea, runs)
                return
            if not session.restack(idea):
                session.drop(idea)
                return

    def _drop(self, session: Session, idea: Idea, runs: Sequence[Run]) -> None:
        session.drop(idea)
        heading = self._heading.pop(idea.number, None)
        known = list(runs) or ([heading] if heading else [])
        if self._near and known:
            evidence = self._evidence(idea.head, known)
            self._near.offer(idea, -evidence.d / evidence.standard_error)

    def _keep(self, session: Session, idea: Idea, runs: Sequence[Run]) -> None:
        evidence = self._evidence(idea.head, runs)
        self.kept_e.append(self._e_value(evidence))
        self._guarded = self.rule.on_guard(self.kept_e)
        session.keep(idea)
        self._inherit(idea.head, session.head, runs, evidence.paired)

    def _inherit(self, old: int, new: int, runs: Sequence[Run], pairs: bool) -> None:
        """The new baseline's first runs, and the first seeds of its bank."""
        runs = runs if pairs else runs[1:]
        self._runs(new).extend(replace(run, head=str(new)) for run in runs)
        self._inherited[new] = [run.seed for run in runs]
        for run in runs:
            self._interims[new, run.seed] = self._middles.pop(
                (old, run.seed), run.value
            )

    def _rule_now(self) -> judge.Rule:
        if self.fdr is None:
            return self._guarded
        gamma = 0.4374 * (self._decided + 1) ** -1.6  # sums to one
        kept = len(self.kept_e) + 1
        return replace(self.rule, keep_e=1 / (self.fdr * gamma * kept))

    def _judge(
        self, session: Session, idea: Idea, rule: judge.Rule, runs: list[Run]
    ) -> Lane:
        """Run an idea until it is decided; what it gave is added to `runs`."""
        head = idea.head
        yield from self._ensure_head(head, 1)
        while True:
            seed = self._seed(head, len(runs))
            stops, spared, stopping = self._stopper(session, head, rule, runs, seed)
            answer = yield Ask(idea, stops=stops, seed=seed if self.paired else None)
            if answer.value is None:
                self._remember_heading(idea, head, runs, answer, seed)
                runs.clear()
                return
            runs.append(Run(answer.value, seed, str(head)))
            self._learn(idea, head, runs, answer)
            if self._decision(head, runs, rule) == judge.REPLICATE:
                partners = len(runs) + 1 if self.paired else 0
                yield from self._ensure_head(head, max(rule.head_min, partners))
            going_on = self._decision(head, runs, rule) == judge.REPLICATE
            if spared:
                stopping.spared.append(going_on)
            if not going_on:
                return

    def _remember_heading(
        self,
        idea: Idea,
        head: int,
        runs: Sequence[Run],
        answer: Answer,
        seed: int,
    ) -> None:
        """Where a first run was heading when it was stopped."""
        if answer.interim is None or runs:
            return
        stopping, sigma, base = self._sharper(head, seed)
        forecast = stopping.forecast(answer.interim - base, sigma)
        if forecast is not None:
            self._heading[idea.number] = Run(forecast.expected, seed, str(head))

    def _learn(
        self, idea: Idea, head: int, runs: Sequence[Run], answer: Answer
    ) -> None:
        """Of a completed run: its spread, and how far its interim score was off."""
        assert answer.value is not None
        assert answer.interim is not None
        self._noise.put((idea.number, head), [run.value for run in runs])
        if len(runs) == 1:
            self._screened[head] = self._screened.get(head, 0) + 1
        residual = answer.interim - answer.value
        self._stopping.residuals.append(residual)
        if self._pairs is None:
            return
        partners = {run.seed: run.value for run in self._runs(head)}
        pairs = [run.value - partners[run.seed] for run in runs if run.seed in partners]
        self._pairs.put((idea.number, head), pairs)
        seed = runs[-1].seed
        self._middles[head, seed] = answer.interim
        if seed in partners:
            shared = self._interims[head, seed] - partners[seed]
            self._stopping_pairs.residuals.append(residual - shared)

    # -------------------------------------------------------------------- the judge

    def _evidence(self, head: int, runs: Sequence[Run]) -> Evidence:
        question = self._question(head, runs)
        return weigh(question)

    def _question(self, head: int, runs: Sequence[Run]) -> Question:
        return Question(
            candidate=tuple(runs),
            heads={str(head): tuple(self._runs(head))},
            unpaired=self._noise.noise,
            paired=self._pairs.noise if self._pairs else None,
            max_runs=self.rule.n_max,
            bundled=self._near is not None,
        )

    def _e_value(self, evidence: Evidence) -> float:
        return evidence.e_value(0.0, self.rule.mu)

    def _decision(self, head: int, runs: Sequence[Run], rule: judge.Rule) -> str:
        if not runs:
            return judge.DISCARD
        if self._pairs is None and self._is_hopeless(head, runs, rule):
            return judge.DISCARD
        question = self._question(head, runs)
        evidence = weigh(question)
        if -evidence.d < _hopeless(rule) * evidence.standard_error:
            return judge.DISCARD
        return rule.decision(question, evidence, 0.0)

    def _is_hopeless(self, head: int, runs: Sequence[Run], rule: judge.Rule) -> bool:
        """Whether not even the pooled noise would let this gain be one."""
        base = self._runs(head)
        gain = sum(run.value for run in base) / len(base)
        gain -= sum(run.value for run in runs) / len(runs)
        error = self._noise.noise.sigma * math.sqrt(1 / len(runs) + 1 / len(base))
        return gain < _hopeless(rule) * error - 1e-12

    # ---------------------------------------------------------- stopping inside a run

    def _stopper(
        self,
        session: Session,
        head: int,
        rule: judge.Rule,
        runs: Sequence[Run],
        seed: int,
    ) -> tuple[Stopper | None, list[bool], Stopping]:
        """The rule is asked what it would say if the run ended as hoped for."""
        if not self.early_stop or (runs and not self.stop_repeats):
            return None, [], self._stopping
        name = str(head)

        def is_out(hopeful: float) -> bool:
            ended = Run(hopeful, seed, name)
            return self._decision(head, [*runs, ended], rule) == judge.DISCARD

        stopping, sigma, base = self._sharper(head, seed)
        return *stopping.stopper(is_out, sigma, session.rng, base), stopping

    def _sharper(self, head: int, seed: int) -> tuple[Stopping, float, float]:
        """What to forecast from: a run alone, or its difference to its partner."""
        sigma = self._noise.noise.sigma
        alone = (self._stopping, sigma, 0.0)
        partner = next((run for run in self._runs(head) if run.seed == seed), None)
        if partner is None or self._pairs is None:
            return alone
        narrow = self._pairs.noise.sigma
        pairs, single = (
            self._stopping_pairs.margin(narrow),
            self._stopping.margin(sigma),
        )
        if pairs is None or (single is not None and single <= pairs):
            return alone
        base = self._interims[head, seed] - partner.value
        return self._stopping_pairs, narrow, base


def _hopeless(rule: judge.Rule) -> float:
    """Gains of fewer standard errors are out, without the work of an e-value."""
    if rule.go_e >= 1.25:
        return HOPELESS
    return 0.0 if rule.go_e >= 1 else -math.inf
