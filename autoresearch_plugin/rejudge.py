"""Judge an old results.tsv again: how many of its keeps were probably noise?

The model: a run's number is its head's true level, plus the true effect of its change,
plus noise of one standard deviation sigma. Effects are a mixture of "next to nothing",
gains and harms (small and large), with one set of weights for the fresh start and one
for the rest; a keep moves the head by its effect. The keep decisions are functions of
the recorded numbers, so they need no correction: the model sees every number, also
those of the discards. Sampled by Metropolis within Gibbs, standard library only.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autoresearch_plugin.errors import SettingsError

COLUMNS = ("commit", "value", "memory_gb", "status", "description")
FRESH_ROWS = 14  # runs of the fresh start, when gains are large and frequent
LIMIT = 1e15  # numbers this large lose their decimals, and their squares overflow
RESOLUTION = 1e-15  # of the largest number; what floats tell apart is hardly finer
BROKEN = 50.0  # a number so many units above its head is a broken run
SWEEPS, BURN_IN = 1600, 400

# Priors. The unit is the median distance of a discard from the recorded head.
LABELS = NOTHING, GAIN, HARM, RUIN = range(4)
NOTHING_SD = 0.13  # true effects of changes that do next to nothing
WALL = 0.01  # rounding of a kept effect, which the head's move shows exactly
WEIGHTS = ((1.5, 2.0, 1.6, 0.4), (3.0, 1.0, 3.2, 0.8))  # Dirichlet: fresh, later
SCALES = {  # log-normal: median, sd of the logarithm
    "sigma": (0.65, 0.8),
    "fresh gain": (2.6, 0.8),
    "gain": (0.65, 0.6),
    "harm": (0.9, 0.6),
    "ruin": (5.0, 0.6),
}
NAMES = (("", "gain", "harm", "ruin"), ("", "fresh gain", "harm", "ruin"))
ROOT_TWO = math.sqrt(2)
LOG_ROOT_TWO_PI = math.log(math.sqrt(2 * math.pi))


# ---------------------------------------------------------------------- the log


@dataclass(frozen=True)
class Row:
    """One line of the log; `value` is None for a crash, `problem` if unreadable."""

    line: int
    commit: str
    value: float | None
    memory_gb: float | None
    status: str
    description: str
    problem: str = ""


def read_log(text: str) -> list[Row]:
    """Rows of a results.tsv, in order; unreadable ones carry their `problem`.

    A header is optional; extra columns are ignored.
    """
    rows: list[Row] = []
    places = {name: i for i, name in enumerate(COLUMNS)}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if cells[0].lower() == "commit" and "status" in map(str.lower, cells):
            places |= {cell.lower(): i for i, cell in enumerate(cells)}
        elif line.strip():
            rows.append(_row(number, cells, places))
    return rows


def _row(number: int, cells: Sequence[str], places: dict[str, int]) -> Row:
    found = {
        name: cells[places[name]] if places[name] < len(cells) else ""
        for name in COLUMNS
    }
    status = found["status"].lower()
    value = _number(found["value"])
    problem = ""
    if len(cells) < 4:
        problem = f"{len(cells)} columns instead of {len(COLUMNS)}"
    elif status not in ("keep", "discard", "crash"):
        problem = f"the status {found['status']!r} is not keep, discard or crash"
    elif value is None and found["value"]:
        problem = f"{found['value']!r} is not a number within ±{LIMIT:.0e}"
    elif status == "keep" and not value:
        problem = "a keep without a number"
    if status == "crash" or not value:
        value = None
    memory = _number(found["memory_gb"])
    description = found["description"]
    return Row(number, found["commit"], value, memory, status, description, problem)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < LIMIT else None


# ------------------------------------------------------------------- the answer


class Interval(NamedTuple):
    """Posterior mean and the ends of the central 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Keep:
    """An accepted change: what the log says it gained, and what it probably did."""

    row: Row
    recorded: float
    effect: Interval
    p_no_gain: float


@dataclass(frozen=True)
class Rejudgement:
    """What a log's keeps are worth; all numbers in the metric's own unit.

    `noise_keeps` counts keeps without a gain; `bias` is the final recorded number minus
    the true level behind it (negative: it looks better than it is).
    """

    keeps: tuple[Keep, ...]
    noise_keeps: Interval
    sigma: Interval
    bias: Interval
    effect: Interval
    recorded: float
    final: float
    discards: int
    crashes: int
    prior_sigma: float
    problems: tuple[str, ...] = ()


def rejudge(rows: Sequence[Row], seed: int = 0, sweeps: int = SWEEPS) -> Rejudgement:
    """Fit the model to a log; the same seed and `sweeps` give the same answer.

    Raises:
        SettingsError: the log has no accepted change, or fewer than five numbers.
    """
    problems = tuple(f"line {row.line}: {row.problem}" for row in rows if row.problem)
    good = [row for row in rows if not row.problem and row.value is not None]
    keeps = sum(row.status == "keep" for row in good[1:])
    if keeps < 1 or len(good) < 5:
        raise SettingsError(
            f"the log has {len(good)} numbers and {keeps} accepted changes after its "
            "baseline; judging it again takes at least 5 and 1."
            + (f" {len(problems)} lines unreadable; {problems[0]}." if problems else "")
        )
    log = _Log.of(good)
    samples = list(_Chain(log, random.Random(seed)).run(sweeps))
    crashes = sum(row.value is None and not row.problem for row in rows)
    return _summary(log, samples, crashes, problems)


# -------------------------------------------------------------------- the model


class _Other(NamedTuple):
    """A run that was not kept: the head it was measured against, and its number."""

    head: int
    number: float
    fresh: bool


@dataclass(frozen=True)
class _Log:
    """The log in units of `unit` above its baseline."""

    kept: tuple[Row, ...]
    levels: tuple[float, ...]
    fresh: tuple[bool, ...]
    others: tuple[_Other, ...]
    unit: float
    broken: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Log:
        kept, levels, fresh, others = [], [], [], []
        for i, row in enumerate(rows):
            number = (row.value or 0.0) - (rows[0].value or 0.0)
            if i == 0 or row.status == "keep":
                kept.append(row)
                levels.append(number)
                fresh.append(i < FRESH_ROWS)
            else:
                others.append(_Other(len(levels) - 1, number, i < FRESH_ROWS))
        gaps = [abs(o.number - levels[o.head]) for o in others]
        moves = [abs(b - a) for a, b in itertools.pairwise(levels)]
        unit = statistics.median([x for x in gaps + moves if x] or [1.0])
        unit = max(unit, RESOLUTION * max(map(abs, levels)))
        return cls(
            tuple(kept),
            tuple(x / unit for x in levels),
            tuple(fresh),
            tuple(
                _Other(o.head, o.number / unit, o.fresh)
                for o, gap in zip(others, gaps, strict=True)
                if gap <= BROKEN * unit
            ),
            unit,
            sum(gap > BROKEN * unit for gap in gaps),
        )


@dataclass(slots=True)
class _Term:
    """One effect: of a kept change (`number` is None) or of another run."""

    head: int
    number: float | None
    fresh: bool
    label: int = NOTHING


class _Chain:
    """The sampler's state: levels of the heads, scales, weights, a label per effect."""

    def __init__(self, log: _Log, rng: random.Random) -> None:
        self.log = log
        self.rng = rng
        self.levels = list(log.levels)
        self.scales = {name: median for name, (median, _) in SCALES.items()}
        self.weights = [[0.25] * 4, [0.25] * 4]
        self.moves = [
            _Term(head, None, log.fresh[head]) for head in range(1, len(self.levels))
        ]
        self.others = [_Term(*other) for other in log.others]
        self.steps: dict[object, float] = {}

    def run(self, sweeps: int) -> Iterator[tuple[float, list[float]]]:
        """Samples of sigma and of the heads' true levels."""
        for sweep in range(BURN_IN + sweeps):
            adapt = sweep < BURN_IN
            self._relabel()
            self._reweigh()
            for name in SCALES:
                self._try(name, self._scale_density(name), self._scaler(name), adapt)
            heads = len(self.levels)
            for head in range(heads):
                self._shift(head, head + 1, adapt)
            for _ in range(2):
                self._shift(self.rng.randrange(heads), heads, adapt)
            if not adapt:
                yield self.scales["sigma"], list(self.levels)

    def _relabel(self) -> None:
        for term in self.moves + self.others:
            weights = self.weights[not term.fresh]
            logs = [self._density(term, label) for label in LABELS]
            top = max(logs)
            chances = [
                w * math.exp(x - top) for w, x in zip(weights, logs, strict=True)
            ]
            term.label = self.rng.choices(LABELS, chances)[0]

    def _reweigh(self) -> None:
        for phase, prior in enumerate(WEIGHTS):
            counts = list(prior)
            for term in self.moves + self.others:
                counts[term.label] += term.fresh is (phase == 0)
            draws = [self.rng.gammavariate(count, 1) + 1e-12 for count in counts]
            self.weights[phase] = [draw / sum(draws) for draw in draws]

    def _scaler(self, name: str) -> Callable[[float], None]:
        def change(by: float) -> None:
            self.scales[name] *= math.exp(by)

        return change

    def _scale_density(self, name: str) -> Callable[[], float]:
        median, sd = SCALES[name]
        if name == "sigma":
            terms, heads = self.others, range(len(self.levels))
        else:
            every = self.moves + self.others
            terms = [t for t in every if NAMES[t.fresh][t.label] == name]
            heads = range(0)

        def density() -> float:
            z = math.log(self.scales[name] / median) / sd
            return -z * z / 2 + self._joint(terms, heads)

        return density

    def _shift(self, first: int, last: int, adapt: bool) -> None:
        """Move the levels of heads `first` to `last` - 1 together."""
        terms = [t for t in self.others if first <= t.head < last]
        terms += [t for t in self.moves if t.head in (first, last)]
        heads = range(first, last)

        def change(by: float) -> None:
            for head in heads:
                self.levels[head] += by

        self._try((first, last), lambda: self._joint(terms, heads), change, adapt)

    def _try(
        self,
        key: object,
        density: Callable[[], float],
        change: Callable[[float], None],
        adapt: bool,
    ) -> None:
        """One Metropolis step; while adapting, its size aims at 40 % acceptance."""
        size = self.steps.setdefault(key, 0.4)
        step = size * self.rng.gauss(0, 1)
        before = density()
        change(step)
        accepted = math.log(1 - self.rng.random()) < density() - before
        if not accepted:
            change(-step)
        if adapt:
            self.steps[key] = size * (1.1 if accepted else 0.94)

    def _joint(self, terms: Sequence[_Term], heads: Sequence[int]) -> float:
        """Log density of these effects, and of the recorded numbers of these heads."""
        recorded, levels, sigma = self.log.levels, self.levels, self.scales["sigma"]
        own = sum([_normal(recorded[head] - levels[head], sigma) for head in heads])
        return own + sum([self._density(term, term.label) for term in terms])

    def _density(self, term: _Term, label: int) -> float:
        level = self.levels[term.head]
        if term.number is None:
            gap, sd = level - self.levels[term.head - 1], WALL
        else:
            gap, sd = term.number - level, self.scales["sigma"]
        if label == NOTHING:
            return _normal(gap, math.hypot(NOTHING_SD, sd))
        scale = self.scales[NAMES[term.fresh][label]]
        return _exponential(-gap if label == GAIN else gap, scale, sd)


def _normal(x: float, sd: float) -> float:
    return -0.5 * (x / sd) ** 2 - math.log(sd) - LOG_ROOT_TWO_PI


def _exponential(x: float, mean: float, sd: float) -> float:
    """Log density of an exponential number plus normal noise."""
    ratio = sd / mean
    z = x / sd - ratio
    if z > -5:
        tail = math.erfc(-z / ROOT_TWO) / (2 * mean)
        return math.log(tail) - x / mean + ratio * ratio / 2
    # Far on the wrong side erfc is 0: the first steps of its continued fraction.
    fraction = z + 1 / (z + 2 / (z + 3 / z))
    return -0.5 * (x / sd) ** 2 - math.log(-fraction * mean) - LOG_ROOT_TWO_PI


# ---------------------------------------------------------------------- summary


def _summary(
    log: _Log,
    samples: Sequence[tuple[float, list[float]]],
    crashes: int,
    problems: tuple[str, ...],
) -> Rejudgement:
    unit = log.unit
    effects = [
        [(levels[v] - levels[v - 1]) * unit for _, levels in samples]
        for v in range(1, len(log.kept))
    ]
    return Rejudgement(
        keeps=tuple(
            Keep(
                row=log.kept[v],
                recorded=(log.levels[v] - log.levels[v - 1]) * unit,
                effect=_interval(effect),
                p_no_gain=sum(x >= 0 for x in effect) / len(effect),
            )
            for v, effect in enumerate(effects, 1)
        ),
        noise_keeps=_interval(
            [float(sum(x >= 0 for x in draw)) for draw in zip(*effects, strict=True)]
        ),
        sigma=_interval([sigma * unit for sigma, _ in samples]),
        bias=_interval([(log.levels[-1] - levels[-1]) * unit for _, levels in samples]),
        effect=_interval([(levels[-1] - levels[0]) * unit for _, levels in samples]),
        recorded=(log.levels[-1] - log.levels[0]) * unit,
        final=log.kept[-1].value or 0.0,
        discards=len(log.others),
        crashes=crashes + log.broken,
        prior_sigma=SCALES["sigma"][0] * unit,
        problems=problems,
    )


def _interval(values: Sequence[float]) -> Interval:
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[round(0.025 * last)], ordered[round(0.975 * last)]
    return Interval(math.fsum(ordered) / len(ordered), low, high)


def lines(answer: Rejudgement) -> Iterator[str]:
    """The answer for a terminal: figures, least credible keeps, assumptions, advice."""
    doubtful = sorted(answer.keeps, key=lambda keep: -keep.p_no_gain)[:8]
    yield from _headline(answer)
    yield ""
    yield "P(no gain)   recorded   probably   commit    least credible first"
    for keep in doubtful:
        recorded, probably = _shown(answer, keep.recorded, keep.effect.mean)
        yield (
            f"{keep.p_no_gain:10.2f}   {recorded:>8}   {probably:>8}   "
            f"{_plain(keep.row.commit)[:7]:<7}   {_plain(keep.row.description)}"
        )
    yield ""
    yield from _figures(answer)
    yield from (f"left out   {problem}" for problem in answer.problems)
    yield ""
    yield from _assumptions(answer)
    names = ", ".join(_plain(keep.row.commit)[:7] or "?" for keep in doubtful[:3])
    yield "do         run the least credible keeps again, each against its parent and"
    yield f"           with new seeds: {names}"


def _headline(answer: Rejudgement) -> Iterator[str]:
    noise, total = answer.noise_keeps, len(answer.keeps)
    yield (
        f"{total} accepted changes, {answer.discards} discards, {answer.crashes} "
        "crashes or broken runs."
    )
    yield (
        f"About {noise.mean:.0f} of the {total} keeps are probably noise, no gain or a "
        f"loss (95 %: {noise.low:.0f} to {noise.high:.0f})."
    )


def _figures(answer: Rejudgement) -> Iterator[str]:
    mean, low, high = _shown(answer, *answer.sigma, sign="")
    yield f"noise      one run has sd {mean} (95 %: {low} to {high})"
    luck = (-answer.bias.mean, -answer.bias.high, -answer.bias.low)
    mean, low, high = _shown(answer, *luck, sign="")
    yield (
        f"bias       the final {answer.final:.6g} is too good by {mean} "
        f"(95 %: {low} to {high})"
    )
    recorded, mean, low, high = _shown(answer, answer.recorded, *answer.effect)
    yield f"change     {mean} in all (95 %: {low} to {high}); recorded {recorded}"


def _assumptions(answer: Rejudgement) -> Iterator[str]:
    (prior,) = _shown(answer, answer.prior_sigma, sign="")
    factor = math.exp(SCALES["sigma"][1])
    yield "assumed    lower is better; one machine; independent normal noise;"
    yield f"           its sd is around {prior}, give or take a factor {factor:.1f};"
    yield f"           the first {FRESH_ROWS} runs are a fresh start with larger gains"


def _shown(answer: Rejudgement, *values: float, sign: str = "+") -> tuple[str, ...]:
    """Differences with one digit more than the noise needs."""
    places = max(0, min(12, 1 - math.floor(math.log10(answer.sigma.mean))))
    return tuple(f"{value:{sign}.{places}f}" for value in values)


def _plain(text: str) -> str:
    """Text from a file: nothing that moves a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)[:60]
