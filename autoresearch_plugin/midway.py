"""Whether a run that is under way can still win: its interim score, put to the judge.

Only the first run of a candidate is looked at, and only by candidates that nobody has
measured yet: whoever won on an older baseline is measured in full.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import comparable, comparing, early, judge

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.measuring import Measuring

CROSSING = ("architecture", "batch", "schedule")  # categories whose curves often cross
CROSSING_WORDS = re.compile(
    r"batch|decay|depth|final|progress|schedule|warm|width", re.I
)
PAYS_AFTER = 40  # first runs after which it must have saved more than it cost


@dataclass
class Midway:
    """Hears the events of a candidate's first run and says when to end it."""

    measuring: Measuring
    number: int
    head: Head
    row: Row
    verdict: judge.Verdict | None = None
    spared: bool = False

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event of the run; an interim score may end it."""
        value = event.get("value")
        if event.get("event") == "interim" and isinstance(value, int | float):
            tokens = event["tokens"] / max(1, event["step"])
            rows = self.measuring.ledger.head_trials(self.head.id)
            known = any(_tokens(row) is not None for row in rows)
            self._weigh(self.measuring.profile.sign * value, tokens if known else None)

    @property
    def reason(self) -> str | None:
        """Why the run is to end, if it is."""
        return self.verdict.sentence if self.verdict else None

    @property
    def mark(self) -> str | None:
        """What the ledger notes about it."""
        if self.verdict:
            return "stopped"
        return "spared" if self.spared else None

    def _weigh(self, interim: float, tokens: float | None) -> None:
        measuring, head = self.measuring, self.head
        asked = comparing.question(measuring, self.number, head)
        forecast = self._forecast(asked, interim, tokens)
        ledger = measuring.ledger
        luck = ledger.seed(f"spare {head.id}", self.number) / 2**31

        def run(value: float) -> judge.Run:
            return judge.Run(value, self.row["seed"], head.id, tokens)

        def is_out(value: float) -> bool:
            # A limit on runs that rules a proof out is no reason to know nothing.
            runs = max(asked.max_runs, judge.DEFAULT.n_max)
            ended = replace(asked, candidate=(run(value),), max_runs=runs)
            return judge.decide(ended, measuring.rule).decision == judge.DISCARD

        stop, self.spared = early.stops(forecast, is_out, luck)
        if stop and forecast is not None:
            ended = replace(asked, candidate=(run(forecast.expected),))
            self.verdict = judge.stopped(ended, measuring.rule, early.AT)

    def _forecast(
        self, asked: judge.Question, interim: float, tokens: float | None
    ) -> early.Forecast | None:
        """From the difference to the baseline's mean or to the partner: the sharper."""
        wide = self._may_cross(tokens)
        hope = early.BUNDLED if asked.bundled else early.FACTOR
        means, pairs = experience(self.measuring, hope)
        found: list[early.Forecast | None] = []
        devices = comparable.Devices(self.measuring)
        base = _middle(
            comparable.met_by(self.measuring, self.head, devices, devices.own)
        )
        if base is not None:
            sign = self.measuring.profile.sign
            gap = interim - sign * base[0]
            difference = means.forecast(gap, asked.unpaired.sigma, wide)
            if difference is not None:
                found.append(early.Forecast(*(sign * base[1] + x for x in difference)))
        partner = self._partner(tokens)
        if partner and asked.paired and math.isfinite(asked.paired.sigma):
            gap = interim - partner[0]
            difference = pairs.forecast(gap, asked.paired.sigma, wide)
            if difference is not None:
                found.append(early.Forecast(*(partner[1] + x for x in difference)))
        known = [forecast for forecast in found if forecast is not None]
        return min(known, key=lambda f: f.expected - f.hopeful, default=None)

    def _partner(self, tokens: float | None) -> tuple[float, float] | None:
        """Interim and final score of the baseline's run with the same batches."""
        sign = self.measuring.profile.sign
        for row in self.measuring.ledger.head_trials(self.head.id):
            same = row["seed"] == self.row["seed"] and _tokens(row) == tokens
            if same and _interim(row) is not None:
                return sign * _interim(row), sign * row["value"]
        return None

    def _may_cross(self, tokens: float | None) -> bool:
        row = self.measuring.ledger.candidate(self.number)
        usual = {_tokens(x) for x in self.measuring.ledger.head_trials(self.head.id)}
        return (
            row["category"] in CROSSING
            or (row["ratio"] or 1.0) != 1.0
            or tokens not in usual
            or bool(CROSSING_WORDS.search(changed_code(row["diff"] or "")))
        )


def changed_code(diff: str) -> str:
    """Lines that a unified diff adds or removes, without their comments."""
    lines = [
        line[1:].partition("#")[0]
        for line in diff.splitlines()
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    ]
    return "\n".join(lines)


def experience(
    measuring: Measuring, hope: float
) -> tuple[early.Experience, early.Experience]:
    """What completed runs say of scores: against their baseline's mean, and in pairs.

    Not of scores alone: a keep may change the shape of all curves after it.
    """
    ledger, sign = measuring.ledger, measuring.profile.sign
    known = ledger.fingerprint_trials(measuring.fingerprint)
    rows = [row for row in known if _interim(row) is not None]
    runs = {
        head: [row for row in found if _interim(row) is not None]
        for (head, number), found in comparing.grouped(measuring, known).items()
        if number is None
    }
    base = {
        (head, row["seed"], _tokens(row)): row
        for head, found in runs.items()
        for row in found
    }
    middles = {row["head"]: _middle(runs.get(row["head"], [])) for row in rows}
    means = []
    for row in rows:
        middle = middles[row["head"]]
        if row["candidate"] is not None and middle is not None:
            gap = _interim(row) - middle[0]
            means.append(sign * (gap - (row["value"] - middle[1])))
    pairs = []
    for row in rows:
        partner = base.get((row["head"], row["seed"], _tokens(row)))
        if row["candidate"] is not None and partner is not None:
            gap = _interim(row) - _interim(partner)
            pairs.append(sign * (gap - (row["value"] - partner["value"])))
    spared = tuple(_spared(measuring))
    return early.Experience(means, spared, hope), early.Experience(pairs, spared, hope)


def _middle(rows: list[Row]) -> tuple[float, float] | None:
    """Mean interim and final score of a baseline's runs that have both."""
    known = [(_interim(row), row["value"]) for row in rows if _interim(row) is not None]
    if not known:
        return None
    interims, values = zip(*known, strict=True)
    return statistics.fmean(interims), statistics.fmean(values)


def _spared(measuring: Measuring) -> Iterator[bool]:
    """Of each loser that ran on: whether it would have deserved another run."""
    ledger = measuring.ledger
    for row in ledger.midway_trials(measuring.fingerprint):
        if row["early"] == "spared":
            yield len(ledger.good_trials(row["candidate"], row["head"])) > 1


def wanted(measuring: Measuring) -> bool:
    """Whether runs should be scored in mid-run: the command can, and it pays."""
    if measuring.settings.stop_early == "never" or not measuring.profile.interim:
        return False
    return account(measuring).pays


@dataclass(frozen=True)
class Account:
    """What stopping early has brought and cost, in seconds of a device."""

    looked_at: int
    saved: float
    spent: float

    @property
    def pays(self) -> bool:
        """Whether it goes on: it has to earn its keep after `PAYS_AFTER` first runs."""
        return self.looked_at < PAYS_AFTER or self.saved > self.spent


def account(measuring: Measuring) -> Account:
    """Seconds of devices that stopped runs saved, and that interim scores cost."""
    rows = measuring.ledger.midway_trials(measuring.fingerprint)
    eligible = rows[early.LEAST :]  # before that nothing can be stopped
    return Account(
        looked_at=len(eligible),
        saved=saved_seconds(rows),
        spent=sum(min(_wall(row), row["interim"]["seconds"]) for row in eligible),
    )


def saved_seconds(rows: list[Row]) -> float:
    """What the stopped runs among these would have taken on, at the usual length."""
    full = [_wall(row) for row in rows if row["outcome"] == "ok"]
    usual = statistics.median(full) if full else 0.0
    stopped = [row for row in rows if row["early"] == "stopped"]
    return sum(max(0.0, usual - _wall(row)) for row in stopped)


def _wall(row: Row) -> float:
    return float(row["finished"] - row["started"])


def _interim(row: Row) -> Any:
    return row["interim"]["value"] if row["interim"] else None


def _tokens(row: Row) -> float | None:
    tokens: float | None = row["summary"].get("tokens_per_step")
    return tokens
