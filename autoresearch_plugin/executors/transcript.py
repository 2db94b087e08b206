"""What a training command said while it ran, and what that makes of the trial.

Pure: bytes and clock readings go in, a `TrialResult` comes out. Everything here was
written by code under test, so nothing is believed beyond its type. A line on the event
pipe that docs/contract.md does not allow makes the trial `integrity`, "forged or broken
event": fixed code writes the events, so a bad one is either an attack or a bug, and in
both cases there is no number. Events with an unknown name are ignored, which lets
commands add their own.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autoresearch_plugin.executors.words import clean_log, last_error, one_line
from autoresearch_plugin.trial import Outcome, TrialResult, TrialSpec

PHASES = ("start", "prepare", "warmup", "train", "save", "evaluate", "verify")
SCORING = ("evaluate", "verify")  # phases of a spec whose processes see scored text
DEFAULT_LIMIT = 600.0  # seconds for a phase the spec sets no limit for
MAX_LINE = 64 * 1024  # bytes of one event
MAX_CURVE = 2000  # points; beyond it every second one is dropped
MAX_LOG = 64 * 1024  # bytes of output that are remembered
MAX_DEPTH = 32  # of objects and lists in an event: enough, and safe to walk
MAX_COUNT = 2**63 - 1  # what SQLite and everybody else's integers hold
MAX_NUMBER = 1e100  # beyond it a square is no longer finite, nor is a variance

SUMMARY_NUMBERS = (  # keys of a summary that reports and rules calculate with
    "training_seconds",
    "total_seconds",
    "peak_vram_mb",
    "mfu_percent",
    "total_tokens_M",
    "num_steps",
    "num_params_M",
    "depth",
    "tokens_per_step",
    "stalled_seconds",
    "first_loss",
)

_REPORTED = {  # what a command may say of itself
    Outcome.SYNTAX,
    Outcome.IMPORT,
    Outcome.ASSERT,
    Outcome.ERROR,
    Outcome.NAN,
    Outcome.DIVERGED,
    Outcome.OOM_TRAIN,
    Outcome.OOM_EVAL,
    Outcome.TIMEOUT_TRAIN,
    Outcome.INTEGRITY,
    Outcome.ENV,
}


@dataclass(frozen=True)
class Ending:
    """How the process tree ended, as the runner reports it.

    `exit_code` is negative for a signal, None when the runner itself was killed;
    `failed` says why the command could not even be started; `peak_mb` is the memory of
    the largest process and `memory_mb` what the machine grants (0: unknown); `left` are
    pids that even SIGKILL did not end (stuck in a driver).
    """

    exit_code: int | None = None
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    failed: str = ""
    memory_mb: float = 0.0
    left: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stop:
    """Why the harness ended a run before its time."""

    outcome: Outcome
    message: str
    politely: bool = False


class Transcript:
    """Collects the output and the events of one phase of one trial."""

    def __init__(self, spec: TrialSpec, *, evaluates: bool = True, now: float) -> None:
        self.phase = "start"
        self.broken = ""
        self.steps = 0
        self.tokens_per_step: float | None = None
        self._spec = spec
        self._evaluates = evaluates
        self._since = now
        self._seconds = {"start": 0.0}
        self._log = bytearray()
        self._pending = b""
        self._curve: list[tuple[int, float]] = []
        self._stride = 1
        self._once: dict[str, dict[str, Any]] = {}

    # ------------------------------------------------------------------- what comes in

    def hear_log(self, data: bytes) -> None:
        """Remember the end of the output."""
        self._log += data
        if len(self._log) > 2 * MAX_LOG:
            del self._log[:-MAX_LOG]

    def hear_events(self, data: bytes, now: float) -> Iterator[dict[str, Any]]:
        """Yield the good events in `data`; stop for ever at the first bad one."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            if self.broken:
                return
            if event := self._event(line, now):
                yield event
        if len(self._pending) > MAX_LINE:
            self._break("a line of more than 64 KiB")

    def _event(self, line: bytes, now: float) -> dict[str, Any] | None:
        if len(line) > MAX_LINE:
            self._break("a line of more than 64 KiB")
            return None
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            self._break(repr(line[:60].decode(errors="replace")))
            return None
        if not isinstance(event, dict) or _is_deep(event):
            self._break(repr(line[:60].decode(errors="replace")))
            return None
        handler = self._HANDLERS.get(str(event.get("event")))
        why = handler(self, event, now) if handler else None
        if why:
            self._break(why)
            return None
        return event

    def _break(self, why: str) -> None:
        self.broken = self.broken or f"forged or broken event: {why}"

    def _on_phase(self, event: dict[str, Any], now: float) -> str | None:
        phase = event.get("phase")
        if not isinstance(phase, str) or phase not in PHASES:
            return f"phase {_brief(phase)}"
        if PHASES.index(phase) < PHASES.index(self.phase):
            return f"phase {phase} after {self.phase}"
        self._clock(now)
        self.phase = phase
        self._seconds.setdefault(phase, 0.0)  # naming a phase again wins no time
        return None

    def _on_step(self, event: dict[str, Any], now: float) -> str | None:
        step, loss = event.get("step"), event.get("loss")
        numbers = [event.get(key) for key in ("loss", "tokens", "elapsed")]
        if not _is_count(step) or any(
            n is not None and not _is_number(n) for n in numbers
        ):
            return f"step {_brief(event)}"
        self.steps += 1
        if step and _is_count(event.get("tokens")):
            self.tokens_per_step = event["tokens"] / step
        if _is_finite(loss) and self.steps % self._stride == 0:
            self._curve.append((int(event["step"]), float(event["loss"])))
        if len(self._curve) > MAX_CURVE:
            self._curve, self._stride = self._curve[1::2], self._stride * 2
        return None

    def _on_summary(self, event: dict[str, Any], now: float) -> str | None:
        values = [value for key, value in event.items() if key != "event"]
        if len(values) > 64 or not all(
            value is None or isinstance(value, str | int | float) for value in values
        ):
            return "a summary of other things than numbers and words"
        for key in SUMMARY_NUMBERS:
            if event.get(key) is not None and not _is_finite(event[key]):
                return f"a summary with {key} {_brief(event[key])}"
        return self._take_once("summary", event, self._spec.phase == "train")

    def _on_result(self, event: dict[str, Any], now: float) -> str | None:
        if not isinstance(event.get("metrics"), dict):
            return f"a result with metrics {_brief(event.get('metrics'))}"
        due = self._spec.phase in ("describe", *SCORING) or (
            self._spec.phase == "train" and not self._evaluates
        )
        return self._take_once("result", event, due)

    def _on_interim(self, event: dict[str, Any], now: float) -> str | None:
        value, seconds = event.get("value"), event.get("seconds")
        counts = _is_count(event.get("step")) and _is_count(event.get("tokens"))
        numbers = value is None or _is_finite(value)
        timed = _is_finite(seconds) and seconds >= 0  # type: ignore[operator]
        if not (counts and numbers and timed):
            return f"interim {_brief(event)}"
        due = self._spec.phase == "train" and self._spec.interim is not None
        return self._take_once("interim", event, due)

    def _on_error(self, event: dict[str, Any], now: float) -> str | None:
        outcome = event.get("outcome")
        if not isinstance(outcome, str) or outcome not in _REPORTED:
            return f"an error with outcome {_brief(outcome)}"
        self._once.setdefault("error", event)
        return None

    def _take_once(self, name: str, event: dict[str, Any], due: bool) -> str | None:
        if not due:
            return f"a {name} in the phase {self._spec.phase}"
        if name in self._once:
            return f"a second {name}"
        self._once[name] = event
        return None

    _HANDLERS: ClassVar = {
        "phase": _on_phase,
        "step": _on_step,
        "interim": _on_interim,
        "summary": _on_summary,
        "result": _on_result,
        "error": _on_error,
    }

    # ----------------------------------------------------------------------- deadlines

    def overdue(self, now: float) -> Stop | None:
        """The time-out of the current phase, once its limit is over."""
        limit = self._limit()
        if self._seconds[self.phase] + now - self._since <= limit:
            return None
        return self.timeout(f"{self.phase} took more than {limit:g} s")

    def timeout(self, message: str) -> Stop:
        """Stop for using too much in the current phase."""
        return Stop(Outcome(f"timeout-{self.phase}"), message, politely=True)

    def pause(self, seconds: float) -> None:
        """Do not count the last `seconds`: the harness let the child wait."""
        self._since += seconds

    def _limit(self) -> float:
        return float(self._spec.limits.get(self.phase, DEFAULT_LIMIT))

    def _clock(self, now: float) -> None:
        self._seconds[self.phase] += now - self._since
        self._since = now

    # ---------------------------------------------------------------------- the result

    def result(self, ending: Ending, stop: Stop | None, now: float) -> TrialResult:
        """What the harness has seen, with metrics only if everything is in order."""
        self._clock(now)
        log = clean_log(bytes(self._log))
        outcome, message = self._outcome(ending, stop, log)
        if ending.left:
            message += f" (processes that do not die: {ending.left})"
        if outcome is Outcome.OK and (bad := self._bad_metric()):
            outcome, message = Outcome.NAN, bad
        metrics = self._metrics() if outcome is Outcome.OK else {}
        return TrialResult(
            outcome=outcome,
            message=one_line(message),
            metrics=metrics,
            summary=_finite(self._once.get("summary", {})),
            seconds=dict(self._seconds),
            cpu_seconds=ending.cpu_seconds,
            curve=tuple(self._curve),
            log_tail=log,
            interim=self._once.get("interim"),
            description=self._description() if outcome is Outcome.OK else {},
        )

    def _outcome(
        self, ending: Ending, stop: Stop | None, log: str
    ) -> tuple[Outcome, str]:
        """The one place where an outcome is decided, most certain cause first."""
        if stop:
            return stop.outcome, stop.message
        if self.broken:
            return Outcome.INTEGRITY, self.broken
        if ending.failed:
            return Outcome.ENV, (
                f"the training command could not be started: {ending.failed}. "
                "Set autoresearch_command to a program that runs here."
            )
        if error := self._once.get("error"):
            return Outcome(error["outcome"]), str(error.get("message", ""))
        if ending.exit_code is None:
            return Outcome.KILLED, "the process that watches the run was killed"
        if ending.exit_code < 0:
            return _by_signal(-ending.exit_code, ending)
        if ending.exit_code > 0:
            return self._by_traceback(ending.exit_code, log)
        if self._pending:
            return Outcome.INTEGRITY, "forged or broken event: the last one has no end"
        return self._complete()

    def _complete(self) -> tuple[Outcome, str]:
        """Whether a run that exited with 0 left what its phase must leave."""
        phase, needed = self._spec.phase, "result"
        if phase == "pace":
            return Outcome.OK, ""
        if phase == "train" and self._evaluates:
            needed = "summary"
            checkpoint = Path(self._spec.checkpoint)
            if not checkpoint.exists() or checkpoint.is_symlink():
                return Outcome.ERROR, "ended without a result: it saved no checkpoint"
        if needed not in self._once:
            return Outcome.ERROR, f"ended without a result: no `{needed}` event"
        if needed == "result" and phase != "describe" and not self._metric_items():
            return Outcome.ERROR, "ended without a result: no metric in it"
        return Outcome.OK, ""

    def _by_traceback(self, code: int, log: str) -> tuple[Outcome, str]:
        if not self._heard_anything and (found := _NO_MODULE.search(log)):
            return Outcome.ENV, (
                f"the training command could not be started: no module {found[1]}. "
                "Install it for this interpreter or set autoresearch_command."
            )
        name, words = last_error(log)
        if not name and code == 128 + signal.SIGKILL:  # as a sandbox or shell says it
            return Outcome.KILLED, f"killed by SIGKILL (exit code {code})"
        if not name:
            return Outcome.ERROR, f"exit code {code}"
        message = f"{name}: {words}" if words else name
        short = name.rsplit(".", 1)[-1]
        if short.startswith("OutOfMemory") or "out of memory" in words.lower():
            short = "MemoryError"
        if short == "MemoryError":
            evaluating = self._spec.phase in SCORING
            return (Outcome.OOM_EVAL if evaluating else Outcome.OOM_TRAIN), message
        return _BY_ERROR.get(short, Outcome.ERROR), message

    @property
    def _heard_anything(self) -> bool:
        return bool(self._once) or self.steps > 0 or self.phase != "start"

    def _metric_items(self) -> dict[str, Any]:
        return dict(self._once.get("result", {}).get("metrics", {}))

    def _metrics(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._metric_items().items()}

    def _bad_metric(self) -> str:
        bad = {k: v for k, v in self._metric_items().items() if not _is_finite(v)}
        return "; ".join(f"{name} is {_brief(value)}" for name, value in bad.items())

    def _description(self) -> dict[str, Any]:
        if self._spec.phase != "describe":
            return {}
        return {k: v for k, v in self._once["result"].items() if k != "event"}


# --------------------------------------------------------------------------- endings

_BY_ERROR = {
    "SyntaxError": Outcome.SYNTAX,
    "IndentationError": Outcome.SYNTAX,
    "TabError": Outcome.SYNTAX,
    "ImportError": Outcome.IMPORT,
    "ModuleNotFoundError": Outcome.IMPORT,
    "AssertionError": Outcome.ASSERT,
}

_NO_MODULE = re.compile(r"^\S+: No module named (\S+)\s*\Z", re.MULTILINE)


def _by_signal(number: int, ending: Ending) -> tuple[Outcome, str]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number != signal.SIGKILL:
        return Outcome.ERROR, f"ended by {name}"
    message = "killed by SIGKILL from outside"
    if ending.memory_mb and ending.peak_mb > 0.5 * ending.memory_mb:
        message += (
            f"; it used {ending.peak_mb:.0f} of {ending.memory_mb:.0f} MB, so most "
            "likely by the kernel for want of memory (dmesg would say so)"
        )
    return Outcome.KILLED, message


# --------------------------------------------------------------------------- numbers


def _brief(value: object) -> str:
    return repr(value)[:80]


def _is_deep(value: object, left: int = MAX_DEPTH) -> bool:
    """Whether lists and objects nest so deep that `repr` or `asdict` could give up."""
    if not isinstance(value, dict | list):
        return False
    below = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(one, left - 1) for one in below)


def _is_number(value: object) -> bool:
    """A float, NaN and infinities too, or an int that arithmetic with floats takes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= MAX_NUMBER
    return isinstance(value, float)


def _is_count(value: object) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 0 <= value <= MAX_COUNT
    )


def _is_finite(value: object) -> bool:
    """Whether it is a number that can be squared and summed; NaN is not."""
    return _is_number(value) and abs(value) <= MAX_NUMBER  # type: ignore[arg-type]


def _finite(data: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without NaN and infinities, which JSON readers refuse."""
    return {
        key: value if isinstance(value, str | bool) or _is_finite(value) else None
        for key, value in data.items()
        if key != "event"
    }
