"""Many simulated sessions of many policies, in one table."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

from autoresearch_plugin import judge
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.policies import POLICIES
from autoresearch_plugin.bench.simulation import HOURS_PER_RUN, Session
from autoresearch_plugin.bench.worlds import WORLDS
from autoresearch_plugin.errors import SettingsError

REFERENCES = ("greedy", "greedy, stops early")  # what gains are compared with
CHUNK = 10  # sessions a worker process takes at once


@dataclass(frozen=True)
class Place:
    """Where policies are compared."""

    world: str = "reference"
    gpus: int = 1
    gpu_hours: float = 27.5


@dataclass(frozen=True)
class Cell:
    """What one policy did in one place, over `sessions` sessions.

    Gains are true gains per device-hour over those of the two greedy rules in the same
    place. `false_keep_rate` is the share of keeps without an improvement, `miss_rate`
    that of ideas worth at least one sigma which were tried and not kept.
    `reported_minus_true` is in sigma.
    """

    world: str
    gpus: int
    gpu_hours: float
    rule: str
    sessions: int
    gain_vs_greedy: float | None
    gain_vs_greedy_early_stop: float | None
    false_keep_rate: float | None
    miss_rate: float | None
    decisions_per_gpu_hour: float
    reported_minus_true: float


GAINS = (-3.0, -1.0, -0.15, 0.15, 0.5, 1.0, 1.5, 2.0, 3.0)  # edges, in sigma


@dataclass
class Tally:
    """Sums over sessions, for the columns of the table and for the pages of docs.

    `counts` has, by name: candidates tried and kept by the size of their true gain
    (`tried 3` is above the third of GAINS), keeps and false keeps by grade, losers by
    three sigma and those of them that had one run or less. `spent` is device time by
    kind; `firsts` the minutes to the first discard and keep of each session; `parts`
    are the ideas that came in with a bundle, `idle_parts` those that gain nothing.
    """

    sessions: int = 0
    gain: float = 0.0
    claimed: float = 0.0
    hours: float = 0.0
    keeps: int = 0
    false_keeps: int = 0
    decided: int = 0
    large: int = 0
    large_kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    firsts: list[tuple[float, float]] = field(default_factory=list)
    parts: int = 0
    idle_parts: int = 0

    @classmethod
    def of(cls, session: Session) -> Tally:
        """The numbers of one session."""
        large = [kept for effect, kept, _ in session.decided if effect <= -1.0]
        minutes = 60 * HOURS_PER_RUN
        return cls(
            sessions=1,
            gain=session.gain,
            claimed=session.policy.claimed(),
            hours=session.used * HOURS_PER_RUN,
            keeps=len(session.standing),
            false_keeps=sum(effect >= 0 for effect in session.standing),
            decided=len(session.decided),
            large=len(large),
            large_kept=sum(large),
            counts=_counts(session),
            spent=Counter({k: v * HOURS_PER_RUN for k, v in session.spent.items()}),
            firsts=[(session.first_discard * minutes, session.first_keep * minutes)],
            parts=len(session.in_bundles),
            idle_parts=sum(effect >= 0 for effect in session.in_bundles),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in _FIELDS}
        )

    @property
    def gain_per_hour(self) -> float:
        """True gain in sigma per device-hour."""
        return self.gain / self.hours

    def cell(self, place: Place, rule: str, tallies: Mapping[str, Tally]) -> Cell:
        """The row of the table."""
        greedy, early = (tallies[name].gain_per_hour for name in REFERENCES)
        return Cell(
            **asdict(place),
            rule=rule,
            sessions=self.sessions,
            gain_vs_greedy=_quotient(self.gain_per_hour, greedy),
            gain_vs_greedy_early_stop=_quotient(self.gain_per_hour, early),
            false_keep_rate=_quotient(self.false_keeps, self.keeps),
            miss_rate=_quotient(self.large - self.large_kept, self.large),
            decisions_per_gpu_hour=self.decided / self.hours,
            reported_minus_true=(self.claimed - self.gain) / self.sessions,
        )


_FIELDS = fields(Tally)


def _counts(session: Session) -> Counter[str]:
    counts: Counter[str] = Counter()
    for effect, kept, runs in session.decided:
        if math.isinf(effect):
            continue  # crashed
        size = sum(-effect > edge for edge in GAINS)
        counts[f"tried {size}"] += 1
        counts[f"kept {size}"] += kept
        if effect >= 3:
            counts["losers"] += 1
            counts["losers of one run"] += runs <= 1
    for e, effect in zip(_e_values(session), session.keeps, strict=False):
        counts[f"graded {judge.grade(e)}"] += 1
        counts[f"false {judge.grade(e)}"] += effect >= 0
    return counts


def _e_values(session: Session) -> Sequence[float]:
    return session.policy.kept_e if isinstance(session.policy, Judged) else ()


def _quotient(a: float, b: float) -> float | None:
    """None where there is nothing to divide by, as in a world without good ideas."""
    return a / b if b > 0 and math.isfinite(a / b) else None


def simulate(place: Place, rule: str, seeds: range) -> Tally:
    """Run the sessions of these seeds, one after the other."""
    total = Tally()
    for seed in seeds:
        session = Session(
            WORLDS[place.world],
            POLICIES[rule](),
            place.gpus,
            place.gpu_hours,
            random.Random(seed),
        )
        total += Tally.of(session.run())
    return total


def _simulate(job: tuple[Place, str, range]) -> tuple[Place, str, Tally]:
    place, rule, seeds = job
    return place, rule, simulate(place, rule, seeds)


def measure(
    places: Sequence[Place], rules: Sequence[str], sessions: int, seed: int = 0
) -> Iterator[Cell]:
    """A cell for every place and rule, as soon as a place is done.

    Seeds are the same in every cell and in every call, so a table can be made again.

    Raises:
        SettingsError: an unknown world or rule, or no sessions.
    """
    _check([place.world for place in places], WORLDS, "world")
    _check(rules, POLICIES, "rule")
    if sessions < 1 or any(p.gpus < 1 or not p.gpu_hours > 0 for p in places):
        raise SettingsError("sessions, GPUs and GPU-hours must be above 0.")
    # Ctrl-C is for us alone: we end the workers, which then have nothing to say.
    deaf = (signal.signal, (signal.SIGINT, signal.SIG_IGN))
    with multiprocessing.get_context("spawn").Pool(_cores(), *deaf) as pool:
        for place in places:
            names = list(dict.fromkeys((*REFERENCES, *rules)))
            jobs = [
                (place, rule, range(first, min(first + CHUNK, seed + sessions)))
                for rule in names
                for first in range(seed, seed + sessions, CHUNK)
            ]
            tallies = {name: Tally() for name in names}
            for _, rule, tally in pool.imap_unordered(_simulate, jobs):
                tallies[rule] += tally
            for rule in rules:
                yield tallies[rule].cell(place, rule, tallies)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def _check(names: Sequence[str], known: Mapping[str, object], what: str) -> None:
    for name in names:
        if name not in known:
            raise SettingsError(f"no {what} {name!r}; there are: {'; '.join(known)}.")


HEADER = (
    "world             gpus  hours  rule                      "
    "gain: x greedy  x greedy+ES  false keeps  misses  decided/h  reported-true"
)


def line(cell: Cell) -> str:
    """A cell as a line below `HEADER`."""
    return (
        f"{cell.world:<16} {cell.gpus:5d} {cell.gpu_hours:6.1f}  {cell.rule:<25} "
        f"{_number(cell.gain_vs_greedy):>14} "
        f"{_number(cell.gain_vs_greedy_early_stop):>12} "
        f"{_percent(cell.false_keep_rate):>12} {_percent(cell.miss_rate):>7} "
        f"{cell.decisions_per_gpu_hour:10.1f} {cell.reported_minus_true:+14.2f}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
