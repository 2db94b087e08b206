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


class Outcome(StrEnum):
    """How a trial ended. Only `ok` has numbers."""

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
    KILLED = "killed"
    INTEGRITY = "integrity"
    ENV = "env"
    STOPPED = "stopped"

    @property
    def blames_candidate(self) -> bool:
        """Whether the idea is to blame, and not the machine or the user's Ctrl-C."""
        return self not in (Outcome.OK, Outcome.ENV, Outcome.STOPPED)

    @property
    def is_accident(self) -> bool:
        """Whether the same run may well succeed: killed from outside, or too slow."""
        return self is Outcome.KILLED or self.value.startswith("timeout")


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
            InfrastructureError: a key is missing or of the wrong kind.
        """
        try:
            noise = data.get("noise") or {}
            budget = Budget(str(data["budget"]["unit"]), data["budget"]["amount"])
            if data["direction"] not in ("min", "max"):
                raise ValueError(f"direction {data['direction']!r}")
            return cls(
                name=str(data.get("profile") or name),
                metric=str(data["metric"]),
                direction=data["direction"],
                budget=budget,
                evaluates=bool(data.get("evaluates", True)),
                charged=bool(data.get("charged", False)),
                limits=dict(data.get("limits") or {}),
                noise_unpaired=noise.get("unpaired"),
                noise_paired=noise.get("paired"),
                noise_df=float(noise.get("df", 1.0)),
                fingerprint=dict(data.get("fingerprint") or {}),
                lines=tuple(map(str, data.get("lines") or ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InfrastructureError(
                f"the training command's `describe` result is incomplete: {error!r}. "
                "docs/contract.md says what it must hold."
            ) from error

    @property
    def sign(self) -> float:
        """Multiply a metric by this and lower is better."""
        return 1.0 if self.direction == "min" else -1.0


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

    def to_json(self, events_fd: int, control_fd: int | None = None) -> str:
        """The spec file's text."""
        data = {"schema": SCHEMA, **asdict(self), "events_fd": events_fd}
        if control_fd is not None:
            data["control_fd"] = control_fd
        return json.dumps(data, indent=1)


@dataclass(frozen=True)
class TrialResult:
    """What the harness saw of one trial.

    `metrics` is empty unless `outcome` is ok. `summary` holds the command's own account
    (steps, tokens, ...); `curve` pairs of (step, loss); `seconds` wall time per phase;
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
