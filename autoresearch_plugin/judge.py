"""The judge: has a candidate been proven better than its parent? Pure arithmetic.

Inside, lower is better: callers multiply a metric by its sign first, and
`Question.sign` turns what people read back. The default rule keeps a candidate when an
e-value against "it is no improvement" reaches `keep_e` over at least `n_min` runs, or
`quick_e` over two, and drops it as soon as that e-value falls below `go_e`. This is a
designed operating characteristic, not a 5 % guarantee per keep: that would take
`keep_e=20`. In simulated sessions with ideas as in a published log one keep in three
hundred is false, more where noise is larger than the effects
(docs/benchmarks/judge.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.evidence import (
    Evidence,
    Noise,
    Prior,
    Question,
    Run,
    e_value,
    is_number,
    log_mills,
    paired_noise,
    pooled_noise,
    threshold,
    weigh,
)
from autoresearch_plugin.trial import Estimate

__all__ = [
    "DEFAULT",
    "HEAD_MIN",
    "RULES",
    "AnyRule",
    "Evidence",
    "Greedy",
    "Noise",
    "Opinion",
    "Prior",
    "Question",
    "Rule",
    "Run",
    "Verdict",
    "decide",
    "expected_false",
    "grade",
    "paired_noise",
    "pooled_noise",
    "weigh",
]

KEEP, DISCARD, REPLICATE = "keep", "discard", "replicate"
BETTER, WORSE, UNCLEAR = "better", "worse", "not distinguishable"

HEAD_MIN = 3  # nothing is kept before its parent has so many runs
FEWEST = 2  # nor before it has so many itself, by the default rule
GRADES = (  # least e-value of a keep, its name, false ones to allow for (see below)
    (10.0, "strong", 0.005),
    (5.0, "firm", 0.015),
    (3.0, "probable", 0.05),
    (0.0, "tentative", 0.10),
)
POWER_80 = 0.8416  # normal quantile: an effect seen four times in five


# ---------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Opinion:
    """What a rule answers: `decision` is keep, discard or replicate.

    `better` and `not_worse` are what a candidate's own assert asks for. `visible` is
    the smallest gain that these runs would have shown four times in five; `capped`
    says that the user's limit on runs leaves a proof to strong gains, if any.
    """

    decision: str
    better: bool
    not_worse: bool
    e_value: float = math.nan
    keep_e: float = math.nan
    go_e: float = math.nan
    hurdle: float = 0.0
    visible: float = math.nan
    capped: bool = False


AnyRule = Callable[[Question], Opinion]


@dataclass(frozen=True)
class Rule:
    """The default rule: a sequential test that drops losers early.

    Bounds and runs: `keep_e go_e n_min n_max head_min`; `first_go_e` stands in for
    `go_e` after the first run where near misses are bundled, which is cheaper than to
    repeat each, and `new_go_e` while the head has fewer than `head_min` runs. At
    `quick_e` one run fewer than `n_min` is enough, but two at least, and they have to
    agree. `mu` is the mean gain, in sigma, that the e-value looks for. While more than
    a share `alarm` of the session's keeps is expected to be false, `guarded_e` stands
    in for `keep_e`.

    Prices: a net line costs `line_sigma` sigma, at most `line_level` of the metric;
    deleted lines earn credit up to `credit` sigma in a session, tested with the
    futility bound `simpler_go_e`; peak memory above 1 + `vram_free` times the parent's
    costs `vram_price` sigma per tenth.
    """

    keep_e: float = 2.0
    go_e: float = 1.25
    first_go_e: float = 3.5
    new_go_e: float = 2.5
    quick_e: float = 10.0
    n_min: int = 3
    n_max: int = 8
    mu: float = 0.7
    head_min: int = HEAD_MIN
    alarm: float = 0.05
    guarded_e: float = 3.0
    line_sigma: float = 1 / 8
    line_level: float = 5e-5
    credit: float = 1.0
    simpler_go_e: float = 0.8
    vram_free: float = 0.05
    vram_price: float = 2.5
    name: str = "default"
    version: int = 4

    def __call__(self, question: Question) -> Opinion:
        """Judge a question (see `decide` for the verdict in words)."""
        return self.on_guard(question.kept)._opinion(question)

    def on_guard(self, kept: Sequence[float]) -> Rule:
        """This rule after a session's keeps with these e-values."""
        if expected_false(kept) <= self.alarm:
            return self
        return replace(self, keep_e=max(self.keep_e, self.guarded_e))

    def _opinion(self, question: Question) -> Opinion:
        evidence = weigh(question)
        hurdle = self.hurdle(question, evidence)
        e = evidence.e_value(hurdle, self.mu)
        go_e = self.low_bound(question, evidence, hurdle)
        settled = evidence.head_n >= self.head_min and not evidence.missing
        last = min(self.n_max, question.max_runs)
        return Opinion(
            decision=self.decision(question, evidence, hurdle),
            better=settled and self._proves(evidence, max(hurdle, 0.0)),
            not_worse=settled and self._proves(evidence, hurdle),
            e_value=e,
            keep_e=self._bound(evidence.n),
            go_e=go_e,
            hurdle=hurdle,
            visible=self._visible(evidence, hurdle, go_e),
            capped=last < self.n_min and e >= go_e,
        )

    def low_bound(self, question: Question, evidence: Evidence, hurdle: float) -> float:
        """The e-value below which a candidate is out."""
        if hurdle < 0:
            return self.simpler_go_e
        if not question.bundled or evidence.n != 1:
            return self.go_e
        is_new = evidence.head_n < self.head_min
        return max(self.go_e, self.new_go_e if is_new else self.first_go_e)

    def hurdle(self, question: Question, evidence: Evidence) -> float:
        """What the gain must exceed; negative for a candidate that deletes code."""
        sigma = evidence.pool.sigma
        level = abs(evidence.baseline.mean)
        price = min(self.line_sigma * sigma, self.line_level * level)
        left = max(0.0, self.credit * sigma - question.conceded)
        lines = max(price * question.added_lines, -left)
        if question.vram_ratio is None:
            return lines
        over = max(0.0, question.vram_ratio - 1 - self.vram_free) / 0.10
        return lines + self.vram_price * sigma * over

    def decision(self, question: Question, evidence: Evidence, hurdle: float) -> str:
        """Keep, discard or replicate a gain that must exceed `hurdle`."""
        runs = len(question.candidate)
        go_e = self.low_bound(question, evidence, hurdle)
        if evidence.e_value(hurdle, self.mu) < go_e:
            return DISCARD
        if evidence.missing:
            return REPLICATE  # the head owes a run, which the caller makes
        if self._proves(evidence, hurdle):
            return KEEP if evidence.head_n >= self.head_min else REPLICATE
        return DISCARD if runs >= min(self.n_max, question.max_runs) else REPLICATE

    def _proves(self, evidence: Evidence, hurdle: float) -> bool:
        """Whether these runs are enough, and say that the gain exceeds `hurdle`.

        Two runs have to agree as well: their own spread counts, as that of three does
        in every verdict.
        """
        if evidence.n < max(FEWEST, self.n_min - 1):
            return False
        if evidence.n < self.n_min:
            evidence = replace(evidence, sigma=max(evidence.sigma, evidence.own))
        return evidence.e_value(hurdle, self.mu) >= self._bound(evidence.n)

    def _bound(self, runs: int) -> float:
        """The e-value of a keep after so many runs."""
        is_quick = runs == self.n_min - 1
        return max(self.keep_e, self.quick_e) if is_quick else self.keep_e

    def _visible(self, evidence: Evidence, hurdle: float, go_e: float) -> float:
        bound = self.keep_e if evidence.n >= self.n_min else go_e
        edge = threshold(bound, self.mu / math.sqrt(evidence.q), evidence.pool.df)
        return (edge + POWER_80) * evidence.standard_error + hurdle


@dataclass(frozen=True)
class Greedy:
    """autoresearch's own rule: one run, lower than the best number so far is a keep.

    `recorded` says that a kept candidate's run is the new baseline's number, as it was
    recorded: it is never measured again.
    """

    name: str = "greedy"
    version: int = 2
    recorded: bool = True

    def __call__(self, question: Question) -> Opinion:
        """Keep or discard after the first run."""
        runs = [run.value for runs in question.heads.values() for run in runs]
        best = min(filter(math.isfinite, runs))
        value = question.candidate[0].value
        better = value < best
        not_worse = better or (question.added_lines < 0 and value == best)
        return Opinion(KEEP if not_worse else DISCARD, better, not_worse)


def grade(e: float) -> str:
    """What a keep with this e-value is called."""
    return next((name for least, name, _ in GRADES if e >= least), "ungraded")


def expected_false(kept: Sequence[float]) -> float:
    """Share of keeps with these e-values that is expected to be false.

    The shares of `GRADES` lie between those of all simulated worlds together and those
    of the very noisy one (docs/verdicts.md), for `strong` above both. Keeps of a rule
    that has no e-values are not counted.
    """
    shares = [
        next(share for least, _, share in GRADES if e >= least)
        for e in kept
        if not math.isnan(e)
    ]
    return math.fsum(shares) / len(shares) if shares else 0.0


DEFAULT = Rule()
RULES: Mapping[str, AnyRule] = {"default": DEFAULT, "greedy": Greedy()}


# -------------------------------------------------------------------------- verdict


@dataclass(frozen=True)
class Verdict:
    """A decision with all it rests on; JSON-able for the ledger.

    In inside units (lower is better): `d q sigma hurdle`. As people read the metric:
    `candidate baseline effect`; `effect` is shrunken towards the rule's expectation
    when the candidate is proven better, the plain difference otherwise. `stopped_at` is
    the share of its first run after which a loser was stopped. Numbers that do not
    exist are NaN.
    """

    decision: str
    relation: str
    proven_lower: bool
    proven_not_worse: bool
    d: float
    q: float
    sigma: float
    df: float
    paired: bool
    e_value: float
    keep_e: float
    go_e: float
    n: int
    head_n: int
    baseline: Estimate
    candidate: Estimate
    effect: float
    effect_sd: float
    hurdle: float
    smallest_visible: float
    rule: str
    rule_version: int
    sentence: str = field(compare=False)
    stopped_at: float = field(default=math.nan, compare=False)

    @property
    def grade(self) -> str:
        """How firm a keep is, in a word."""
        return grade(self.e_value)

    def to_data(self) -> dict[str, Any]:
        """Strict JSON data; a number that is not finite becomes None."""
        data = asdict(self)
        for part in (data, data["baseline"], data["candidate"]):
            for key, value in part.items():
                if isinstance(value, float) and not math.isfinite(value):
                    part[key] = None
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Verdict:
        """What `to_data` gave."""
        fields = _with_nan(data)
        for key in ("baseline", "candidate"):
            fields[key] = Estimate(**_with_nan(data[key]))
        return cls(**fields)


def _with_nan(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in data.items()}


def decide(question: Question, rule: AnyRule = DEFAULT) -> Verdict:
    """Ask a rule and put its opinion into numbers and words.

    A candidate without a number, or whose repeat run failed, is out whatever the rule.

    Raises:
        ValueError: the candidate or one of its heads has no run.
    """
    evidence = weigh(question)
    measured = all(is_number(run.value) for run in question.candidate)
    out = question.failed_replicate or not measured
    opinion = Opinion(DISCARD, False, False) if out else _ask(rule, question)
    effect, effect_sd = _effect(evidence, opinion.better)
    return Verdict(
        decision=opinion.decision,
        relation=_relation(evidence, opinion, measured),
        proven_lower=opinion.better,
        proven_not_worse=opinion.not_worse,
        d=evidence.d,
        q=evidence.q,
        sigma=evidence.sigma,
        df=evidence.pool.df,
        paired=evidence.paired,
        e_value=opinion.e_value,
        keep_e=opinion.keep_e,
        go_e=opinion.go_e,
        n=evidence.n,
        head_n=evidence.head_n,
        baseline=evidence.baseline,
        candidate=evidence.candidate,
        effect=question.sign * effect,
        effect_sd=effect_sd,
        hurdle=opinion.hurdle,
        smallest_visible=opinion.visible,
        rule=name_of(rule)[0],
        rule_version=name_of(rule)[1],
        sentence=_sentence(question, evidence, opinion, measured),
    )


def stopped(question: Question, rule: AnyRule, at: float) -> Verdict:
    """The verdict on a loser whose only run was ended after the share `at` of it.

    `question.candidate` is the run as it was forecast: it counts for the sentence, the
    relation and the effect, not as a measurement. A loser is not worse for certain: it
    may have been heading for the same, and nothing that could be proven.
    """
    evidence = weigh(question)
    places = _places(evidence.sigma)
    heading, baseline = evidence.candidate.mean, evidence.baseline.mean
    verdict = decide(question, rule)
    worse = verdict.relation == WORSE
    headline = DISCARD if worse else _not_proven(question)
    return replace(
        verdict,
        decision=DISCARD,
        relation=WORSE if worse else UNCLEAR,
        proven_lower=False,
        proven_not_worse=False,
        e_value=math.nan,
        n=0,
        candidate=Estimate(math.nan, evidence.sigma, 0),
        effect=question.sign * evidence.d,
        effect_sd=evidence.standard_error,
        sentence=f"{headline}: heading for {heading:.{places}f} vs "
        f"{baseline:.{places}f} ± {evidence.sigma:.{places}f}; "
        f"stopped at {100 * at:.0f} % of its first run",
        stopped_at=at,
    )


def name_of(rule: AnyRule) -> tuple[str, int]:
    """Name and version of a rule, as verdicts carry them."""
    name = getattr(rule, "name", getattr(rule, "__name__", "custom"))
    return str(name), int(getattr(rule, "version", 1))


def _ask(rule: AnyRule, question: Question) -> Opinion:
    """The rule's opinion; no rule may ask for more runs than the user allows.

    Raises:
        InfrastructureError: a rule of the user's own raised, or answered nonsense.
    """
    try:
        opinion = rule(question)
    except Exception as error:
        raise InfrastructureError(
            f"the rule {name_of(rule)[0]!r} raised {type(error).__name__}: {error}. "
            "Mend it, or use --autoresearch-rule default."
        ) from error
    known = (KEEP, DISCARD, REPLICATE)
    if not isinstance(opinion, Opinion) or opinion.decision not in known:
        raise InfrastructureError(
            f"the rule {name_of(rule)[0]!r} answered {opinion!r}; it must return a "
            f"judge.Opinion whose decision is {', '.join(known)}."
        )
    enough = len(question.candidate) >= question.max_runs
    if opinion.decision == REPLICATE and enough and not _owes(rule):
        return replace(opinion, decision=DISCARD)
    return opinion


def _owes(rule: AnyRule) -> bool:
    """The default rule says `replicate` at its last run when the *head* owes one."""
    return isinstance(rule, Rule)


def _relation(evidence: Evidence, opinion: Opinion, measured: bool) -> str:
    if opinion.better:
        return BETTER
    if not measured:
        return WORSE
    kappa = DEFAULT.mu / math.sqrt(evidence.q)
    against = e_value(evidence.d / evidence.standard_error, kappa, evidence.pool.df)
    return WORSE if against >= DEFAULT.keep_e else UNCLEAR


def _effect(evidence: Evidence, better: bool) -> tuple[float, float]:
    """Effect and its sd: for a keep the mean of N(d, s**2) times Exp(mean 2 sigma).

    A winner was picked for its luck as well; the exponential prior takes that back.
    """
    s = evidence.standard_error
    if not better:
        return evidence.d, s
    mean = -evidence.d - s**2 / (2 * evidence.sigma)
    z = mean / s
    ratio = math.exp(-log_mills(z))
    return -(mean + s * ratio), s * math.sqrt(max(0.0, 1 - z * ratio - ratio**2))


def _sentence(
    question: Question, evidence: Evidence, opinion: Opinion, measured: bool
) -> str:
    """`not proven lower: 0.9971 vs 0.9972 ± 0.0003 after 1 run`."""
    sigma = evidence.sigma if math.isfinite(evidence.sigma) else evidence.pool.sigma
    places = _places(sigma)
    value = f"{evidence.candidate.mean:.{places}f}" if measured else "no number"
    runs = f"{evidence.n} {'paired ' if evidence.paired else ''}run"
    words = (
        f"{_headline(question, evidence, opinion, measured)}: {value} vs "
        f"{evidence.baseline.mean:.{places}f} ± {sigma:.{places}f} "
        f"after {runs}{'' if evidence.n == 1 else 's'}"
    )
    if opinion.e_value >= opinion.keep_e and not opinion.not_worse and _apart(evidence):
        words += " that do not agree"
    if question.failed_replicate:
        return f"{words}, and a repeat run failed"
    if opinion.not_worse and not opinion.better:
        fewer = -question.added_lines
        return f"{words}, {fewer} line{'' if fewer == 1 else 's'} fewer"
    return words


def _apart(evidence: Evidence) -> bool:
    """Whether two runs are too far apart to be taken for strong evidence."""
    return evidence.n == FEWEST and evidence.own > evidence.sigma


def _headline(
    question: Question, evidence: Evidence, opinion: Opinion, measured: bool
) -> str:
    out = question.failed_replicate or not measured
    if opinion.decision == KEEP or out:
        return opinion.decision
    if opinion.decision == REPLICATE:
        return "undecided"
    if opinion.capped:
        return "unproven"
    if _relation(evidence, opinion, measured) == WORSE:
        return DISCARD
    words = _not_proven(question)
    places = _places(evidence.sigma)
    price = f"{opinion.hurdle:.{places}f}"
    return f"{words} by {price}" if opinion.hurdle > 0 and float(price) > 0 else words


def _not_proven(question: Question) -> str:
    return f"not proven {'lower' if question.sign > 0 else 'higher'}"


def _places(sigma: float) -> int:
    """Decimals that show sigma with one digit, two if the first is a 1."""
    if not 0 < sigma < math.inf:
        return 4
    return max(0, min(12, -math.floor(math.log10(sigma / 2))))
