"""A trial: one run of one source with one seed under one budget, and its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from autoresearch_plugin.errors import InfrastructureError

SCHEMA = 1
UNITS = ("steps", "seconds")
DIRECTIONS = ("min", "max")
SMALLEST, LARGEST = 1e-6, 1e12  # of a number in a description: its square is finite


class Outcome(StrEnum):
    """How a trial ended. Only `ok` has numbers.

    `stopped-early` is a loser whose interim score decided. `waited`, which the machine
    disturbed, and `suspended` do not count and are repeated.
    """

    OK = "ok"
    SYNTAX = "syntax"
    IMPORT = "import"
    ASSERT = "assert"
    ERROR = "error"
    OOM_TRAIN = "oom-train"
    OOM_EVAL = "oom-eval"
    NAN = "nan"
    DIVERGED = "diverged"
    TIMEOUT_START = "timeout-start"
    TIMEOUT_PREPARE = "timeout-prepare"
    TIMEOUT_WARMUP = "timeout-warmup"
    TIMEOUT_TRAIN = "timeout-train"
    TIMEOUT_SAVE = "timeout-save"
    TIMEOUT_EVALUATE = "timeout-evaluate"
    TIMEOUT_VERIFY = "timeout-verify"
    KILLED = "killed"
    INTEGRITY = "integrity"
    ENV = "env"
    EARLY = "stopped-early"
    WAITED = "waited"
    SUSPENDED = "suspended"
    STOPPED = "stopped"

    @property
    def blames_candidate(self) -> bool:
        """Whether the idea is to blame, and not the machine or the user's Ctrl-C."""
        return self not in (
            Outcome.OK,
            Outcome.ENV,
            Outcome.STOPPED,
            Outcome.EARLY,
            Outcome.WAITED,
            Outcome.SUSPENDED,
        )

    @property
    def is_accident(self) -> bool:
        """Whether the same run may well succeed: killed or stopped from outside, or too
        slow."""
        return self.is_interruption or self.value.startswith("timeout")

    @property
    def is_interruption(self) -> bool:
        """Whether something outside broke in, so that the run says nothing."""
        return self in (Outcome.KILLED, Outcome.SUSPENDED)


@dataclass(frozen=True)
class Budget:
    """What a training may use: optimizer `steps` or `seconds`."""

    unit: str
    amount: float

    def __str__(self) -> str:
        if self.unit == "steps":
            return f"{self.amount:g} steps"
        if self.amount >= 120 and self.amount % 60 == 0:
            return f"{self.amount / 60:g} min"
        return f"{self.amount:g} s"


@dataclass(frozen=True)
class Profile:
    """What a training command says of itself in `describe` (docs/contract.md)."""

    name: str
    metric: str
    direction: str
    budget: Budget
    evaluates: bool = True
    isolates: bool = False
    interim: bool = False
    hidden: bool = False
    charged: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    noise_unpaired: float | None = None
    noise_paired: float | None = None
    noise_df: float = 1.0
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @classmethod
    def from_data(cls, name: str, data: Mapping[str, Any]) -> Profile:
        """Read the `result` of a `describe` phase.

        Raises:
            InfrastructureError: a key is missing or its value cannot be used.
        """
        try:
            return cls._read(name, data)
        except ValueError as misfit:
            raise InfrastructureError(
                f"the training command's `describe` result cannot be used: {misfit}. "
                "docs/contract.md says what it must hold."
            ) from None

    @classmethod
    def _read(cls, name: str, data: Mapping[str, Any]) -> Profile:
        _choice({"schema": SCHEMA, **data}, "schema", (SCHEMA,))
        budget, noise = _object(data, "budget"), _object(data, "noise")
        limits = _object(data, "limits")
        return cls(
            name=_printable(data.get("profile") or name),
            metric=_text(data, "metric"),
            direction=_choice(data, "direction", DIRECTIONS),
            budget=Budget(
                _choice(budget, "unit", UNITS, "budget."),
                _number(budget, "amount", "budget."),
            ),
            evaluates=bool(data.get("evaluates", True)),
            isolates=bool(data.get("isolates", False)),
            interim=bool(data.get("interim", False)),
            hidden=bool(data.get("hidden", False)),
            charged=bool(data.get("charged", False)),
            limits={phase: _number(limits, phase, "limits.") for phase in limits},
            noise_unpaired=_spread(noise, "unpaired"),
            noise_paired=_spread(noise, "paired"),
            noise_df=float(_number({"df": 1.0, **noise}, "df", "noise.")),
            fingerprint=dict(_object(data, "fingerprint")),
            lines=tuple(map(_printable, _list(data, "lines"))),
        )

    @property
    def sign(self) -> float:
        """Multiply a metric by this and lower is better."""
        return 1.0 if self.direction == "min" else -1.0


# What a description holds, key by key; a ValueError says which value does not fit.


def _misfit(data: Mapping[str, Any], key: str, where: str, wanted: str) -> ValueError:
    seen = f"is {json.dumps(data[key])[:60]}" if key in data else "is missing"
    return ValueError(f"`{_printable(where + key)[:60]}` {seen}; it must be {wanted}")


def _printable(value: object) -> str:
    """Words from outside without what a terminal would obey or cannot show."""
    return "".join(letter for letter in str(value) if letter.isprintable())


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at `key`; an empty one when it is null or left out."""
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise _misfit(data, key, "", "an object")
    return value or {}


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise _misfit(data, key, "", "a list")
    return list(value or ())


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _misfit(data, key, "", "a printable name")
    return value


def _choice(
    data: Mapping[str, Any], key: str, choices: tuple[Any, ...], where: str = ""
) -> Any:
    if data.get(key) not in choices:
        raise _misfit(data, key, where, " or ".join(map(str, choices)))
    return data[key]


def _spread(noise: Mapping[str, Any], key: str) -> float | None:
    """A prior's standard deviation: 0 if runs repeat exactly, None if unknown."""
    if noise.get(key) is None:
        return None
    return _number(noise, key, "noise.", least=0.0)


def _number(
    data: Mapping[str, Any], key: str, where: str, least: float = SMALLEST
) -> float:
    value = data.get(key)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if known and least <= value <= LARGEST:  # type: ignore[operator]
        return value  # type: ignore[return-value]
    wanted = f"a number from {least:g} to {LARGEST:g}"
    raise _misfit(data, key, where, wanted)


@dataclass(frozen=True)
class TrialSpec:
    """Everything a training command is told: the JSON of docs/contract.md."""

    trial_id: str
    phase: str
    source: str
    source_sha256: str
    profile: str
    seed: int
    budget: Budget
    limits: Mapping[str, float]
    threads: int
    device: str
    data_dir: str
    scratch: str
    checkpoint: str
    split: str = "val"
    interim: float | None = None
    sandbox: tuple[str, ...] = ()
    claims: str = ""
    reference: str = ""
    positions: int | None = None
    tokens_per_step: float | None = None

    def to_json(self, events_fd: int, control_fd: int | None = None) -> str:
        """The spec file's text."""
        data = {"schema": SCHEMA, **asdict(self), "events_fd": events_fd}
        if control_fd is not None:
            data["control_fd"] = control_fd
        return json.dumps(data, indent=1)


@dataclass(frozen=True)
class TrialResult:
    """What the harness saw of one trial.

    `interim` is the score in mid-run that the command told, or None; `verified` what a
    check of the score's claims found, if there was one; `scoring_cpu` the part of
    `cpu_seconds` that the evaluation took; `metrics` is empty unless
    `outcome` is ok. `summary` holds the command's own account (steps, tokens, ...);
    `curve` pairs of (step, loss); `seconds` wall time per phase;
    `log_tail` the end of what was printed: input from outside, for humans.
    """

    outcome: Outcome
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    log_tail: str = ""
    interim: Mapping[str, Any] | None = None
    verified: Mapping[str, float] | None = None
    scoring_cpu: float = 0.0
    description: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the trial yielded its numbers."""
        return self.outcome is Outcome.OK

    @property
    def wall_seconds(self) -> float:
        """All phases together."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Estimate:
    """A metric over `n` trials: mean and standard deviation of one trial."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: list[float], sd: float = math.nan) -> Estimate:
        """Estimate from values; `sd` stands in while fewer than two are there."""
        n = len(values)
        if n == 0:
            return cls(math.nan, sd, 0)
        mean = sum(values) / n
        if n > 1:
            sd = math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1))
        return cls(mean, sd, n)

    def __str__(self) -> str:
        if self.n == 0:
            return "not measured"
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.4f}"
        return f"{self.mean:.4f}{spread} (n={self.n})"
