"""What a verdict rests on: runs, their noise, and the evidence in a comparison.

Pure arithmetic; lower is better. The rules that act on it are in `judge.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from autoresearch_plugin.trial import Estimate

UNKNOWN_RELATIVE = 3.5e-4  # of the metric: a 5-minute run of a language model
UNKNOWN_DF = 1.0
PAIRED_DF_MIN = 4.0  # an unknown spread of pairs is believed from here on
CAP, CAP_DF = 30.0, 6.0  # see `capped`; normal noise hardly ever meets it
TINY = 1e-12
LARGEST = 1e100  # of a metric; squares of larger ones overflow


# ------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Run:
    """One run: its metric times the sign, its seed and the head it was run against."""

    value: float
    seed: int
    head: str
    tokens_per_step: float | None = None


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one run (or one paired difference) and what it rests on."""

    sigma: float
    df: float


@dataclass(frozen=True)
class Prior:
    """A profile's noise: sd over metric, weighing `df` degrees of freedom."""

    relative: float | None
    df: float = UNKNOWN_DF


@dataclass(frozen=True)
class Question:
    """A candidate's runs, the runs of the heads they were made against, and the noise.

    `added_lines` counts logical lines, net; `vram_ratio` is peak memory over the
    parent's; `failed_replicate` says that a later run of the candidate gave no number.
    Of the session so far: `kept` holds the e-values of its keeps, `conceded` the harm,
    in the metric, that its simplifications were granted. `bundled` says that a near
    miss will be tried again together with others.
    """

    candidate: tuple[Run, ...]
    heads: Mapping[str, tuple[Run, ...]]
    unpaired: Noise
    paired: Noise | None = None
    added_lines: int = 0
    vram_ratio: float | None = None
    max_runs: int = 8
    sign: float = 1.0
    failed_replicate: bool = False
    kept: tuple[float, ...] = ()
    conceded: float = 0.0
    bundled: bool = False


# --------------------------------------------------------------------------- noise


def pooled_noise(
    groups: Iterable[Sequence[float]], level: float, prior: Prior
) -> Noise:
    """Spread within groups of runs of one commit, pooled, with the prior as ballast.

    `level` is the metric's size, the unit of the prior. Without a known prior one
    degree of freedom of a language model's spread stands in.
    """
    squares, df = capped([spread(group) for group in groups])
    relative, weight = prior.relative, prior.df
    if relative is None:
        relative, weight = UNKNOWN_RELATIVE, UNKNOWN_DF
    start = relative * abs(level)
    sigma = math.sqrt((weight * start**2 + squares) / (weight + df))
    return Noise(max(sigma, TINY * abs(level), 1e-300), weight + df)


def paired_noise(
    groups: Iterable[Sequence[float]], level: float, prior: Prior
) -> Noise:
    """Spread of paired differences (one group a candidate), as `pooled_noise`.

    Infinite, so that pairs are not used, while neither a prior nor the data know it.
    """
    groups = list(groups)
    df = sum(spread(group)[1] for group in groups)
    if prior.relative is None and df < PAIRED_DF_MIN:
        return Noise(math.inf, UNKNOWN_DF)
    return pooled_noise(groups, level, prior)


def is_number(value: float) -> bool:
    """Whether a metric can be computed with: not infinite, not NaN, not absurd."""
    return abs(value) < LARGEST


def spread(group: Sequence[float]) -> tuple[float, int]:
    """Sum of squares around a group's mean, and its degrees of freedom."""
    values = [x for x in group if is_number(x)]
    if len(values) < 2:
        return 0.0, 0
    return _variance(values) * (len(values) - 1), len(values) - 1


def capped(spreads: Iterable[tuple[float, int]]) -> tuple[float, float]:
    """Sums over groups, the largest variances held to `CAP` times that of the rest.

    One candidate that is unstable, with a run far off, says nothing of the others'
    noise; uncapped it would make this and every later session blind. From the smallest
    variance on, each is compared with what was added before it, once that is worth
    `CAP_DF` degrees of freedom; runs that agree to the last bit are no measure.
    """
    squares, df, silent = 0.0, 0.0, 0.0
    known = [(own, count) for own, count in spreads if count]
    for own, count in sorted(known, key=lambda group: group[0] / group[1]):
        if df >= CAP_DF:
            own = min(own, CAP * squares / df * count)
        squares += own
        if own > 0:
            df += count
        else:
            silent += count
    return squares, df + silent


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)


# ------------------------------------------------------------------------- evidence


@dataclass(frozen=True)
class Evidence:
    """The comparison that a question comes down to.

    `d` is the mean difference to the head (negative is better) and `q` its variance in
    units of one run's; `pool` is the noise before the candidate's own spread, `own`,
    counted; `missing` counts runs whose seed the head still has to run.
    """

    d: float
    q: float
    sigma: float
    pool: Noise
    own: float
    paired: bool
    n: int
    head_n: int
    missing: int
    candidate: Estimate
    baseline: Estimate

    @property
    def standard_error(self) -> float:
        """Of `d`."""
        return self.sigma * math.sqrt(self.q)

    def e_value(self, hurdle: float = 0.0, mu: float = 0.7) -> float:
        """Evidence that the gain exceeds `hurdle`; 1 says nothing, 20 is a proof."""
        t = -(self.d + hurdle) / self.standard_error
        return e_value(t, mu / math.sqrt(self.q), self.pool.df)


class _Sample(NamedTuple):
    """Differences to the head, and the runs on both sides that they come from."""

    differences: list[float]
    values: list[float]
    base: list[float]
    q: float
    noise: Noise
    paired: bool
    head_n: int
    missing: int = 0

    @property
    def standard_error(self) -> float:
        return self.noise.sigma * math.sqrt(self.q)


def weigh(question: Question) -> Evidence:
    """Compare seed with seed, or mean with mean: whichever is sharper.

    Which one is decided by the pooled noise, not by the outcome. The spread then is
    never taken smaller than the candidate's own (from three runs on).

    Raises:
        ValueError: the candidate or one of its heads has no run.
    """
    heads = {
        name: [run for run in runs if is_number(run.value)]
        for name, runs in question.heads.items()
    }
    if not question.candidate or not all(heads.get(r.head) for r in question.candidate):
        raise ValueError("a verdict needs a run of the candidate and of each head.")
    runs = tuple(
        run if is_number(run.value) else replace(run, value=math.nan)
        for run in question.candidate
    )
    question = replace(question, candidate=runs)
    samples = [_unpaired(question, heads), _paired(question, heads)]
    sample = min(filter(None, samples), key=lambda s: s.standard_error)
    sigma, n = sample.noise.sigma, len(sample.differences)
    own = math.sqrt(_variance(sample.differences)) if n > 1 else 0.0
    if n >= 3:
        sigma = max(sigma, own)
    return Evidence(
        d=_mean(sample.differences),
        q=sample.q,
        sigma=sigma,
        pool=sample.noise,
        own=own,
        paired=sample.paired,
        n=n,
        head_n=sample.head_n,
        missing=sample.missing,
        candidate=_shown(sample.values, sigma, question.sign),
        baseline=_shown(sample.base, sigma, question.sign),
    )


def _unpaired(question: Question, heads: Mapping[str, list[Run]]) -> _Sample:
    """Mean against mean: q = 1/n + sum over heads of (share of runs)**2 / head runs."""
    runs = question.candidate
    means = {run.head: _mean([x.value for x in heads[run.head]]) for run in runs}
    shares = {head: sum(r.head == head for r in runs) / len(runs) for head in means}
    q = 1 / len(runs) + sum(s**2 / len(heads[head]) for head, s in shares.items())
    return _Sample(
        differences=[run.value - means[run.head] for run in runs],
        values=[run.value for run in runs],
        base=[x.value for head in means for x in heads[head]],
        q=q,
        noise=question.unpaired,
        paired=False,
        head_n=min(len(heads[head]) for head in means),
    )


def _paired(question: Question, heads: Mapping[str, list[Run]]) -> _Sample | None:
    """Seed against seed; None if no run has a partner that saw the same batches."""
    if question.paired is None:
        return None
    pairs = [
        (run.value, partner.value)
        for run in question.candidate
        for partner in {x.seed: x for x in heads[run.head]}.values()
        if partner.seed == run.seed and partner.tokens_per_step == run.tokens_per_step
    ]
    if not pairs:
        return None
    return _Sample(
        differences=[x - b for x, b in pairs],
        values=[x for x, _ in pairs],
        base=[b for _, b in pairs],
        q=1 / len(pairs),
        noise=question.paired,
        paired=True,
        head_n=min(len(heads[run.head]) for run in question.candidate),
        missing=sum(
            all(x.seed != run.seed for x in heads[run.head])
            for run in question.candidate
        ),
    )


def _shown(values: Sequence[float], sigma: float, sign: float) -> Estimate:
    return Estimate.of([sign * value for value in values], sigma)


# -------------------------------------------------------------------------- e-value


@functools.lru_cache(maxsize=8192)
def e_value(t: float, kappa: float, df: float) -> float:
    """Likelihood ratio of "better by an unknown amount" to "no better", given `t`.

    `t` is the gain in standard errors; under the alternative the true gain is
    exponential with mean `kappa` standard errors. Both sides are averaged over the
    unknown sigma: with r ~ chi(df + 1) and y = t / sqrt(df + t**2) this is the mean of
    the known-sigma ratio `mills(y * r - 1 / kappa) / kappa`. So it is a ratio of
    noncentral to central Student t densities: its mean is 1 without an effect, and it
    never falls as `t` grows. (A *shifted* Student t, the usual shortcut, does fall:
    with 8 degrees of freedom a gain of 30 sigma would count as none.)
    """
    t = max(-30.0, min(t, 30.0))  # this way round NaN is the worst loss
    y = t / math.sqrt(df + t * t)

    def height(u: float) -> float:
        r = math.exp(u)
        return (df + 1) * u - r * r / 2 + log_mills(y * r - 1 / kappa)

    middle, step = _grid(y, kappa, df)
    top = height(middle)
    total = 1.0
    for stride in (-step, step):
        u, term = middle, 1.0
        while term > 1e-12:
            u += stride
            term = math.exp(height(u) - top)
            total += term
    whole = math.lgamma((df + 1) / 2) + (df - 1) / 2 * math.log(2)
    return math.exp(min(top - whole + math.log(total * step / kappa), 690.0))


def _grid(y: float, kappa: float, df: float) -> tuple[float, float]:
    """Where the sum of `e_value` over log r begins, near the peak, and its steps.

    There is one peak, and no corner or end: so equal steps of less than half its width
    give the integral to a relative 1e-7 and better.
    """
    r = math.sqrt(df + 1)
    if y <= 0:
        return math.log(r), min(0.15, 0.4 / math.sqrt(2 * r * r + 1))
    rest, slope = 1 - y * y, y / kappa
    r = max(r, 2 * (df + 1) / (slope + math.sqrt(slope**2 + 4 * rest * (df + 1))))
    return math.log(r), min(0.15, 0.4 / math.sqrt(2 * rest * r * r + slope * r))


def log_mills(z: float) -> float:
    """log(Phi(z) / phi(z)) of the standard normal, safe far out on either side."""
    if z > -5:
        tail = 0.5 * math.erfc(-z / math.sqrt(2))
        return z * z / 2 + math.log(math.sqrt(2 * math.pi) * tail)
    fraction = -z
    for k in range(20, 0, -1):  # Laplace's continued fraction
        fraction = -z + k / fraction
    return -math.log(fraction)


@functools.lru_cache(maxsize=1024)
def threshold(bound: float, kappa: float, df: float) -> float:
    """The smallest gain (in standard errors) whose e-value is `bound`, or infinity."""
    low, high = -30.0, 30.0
    if e_value(high, kappa, df) < bound:
        return math.inf
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if e_value(middle, kappa, df) >= bound else (middle, high)
        )
    return high
