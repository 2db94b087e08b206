"""The data server of a training: it owns the text, the budget, the clock and the checkpoint.

This process never loads a candidate. The candidate's (trainer.py) asks it for batches and gets nothing else: it can
open no data file, so whatever it has learnt it has learnt from what was served. The budget runs from the first batch to
the moment the checkpoint is announced, on this process' clock; the checkpoint is copied when the candidate is dead.
"""

import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nanochat_core import checkpoint, wire
from nanochat_core.data import Shuffled, hold_out, scoring_windows
from nanochat_core.errors import TOLD, Died, Failure, told_failure
from nanochat_core.isolate import Isolated, stage
from nanochat_core.profiles import PEAK_FLOPS

STALL = 1.5  # a step that takes so many times the usual has waited for something
EARLY = 0.5  # part of its share of the budget at which an interim score may be asked for: two clocks differ
FREE = 0.02  # share of a budget in seconds that an interim score may take
LATE = 0.005  # share of a budget in seconds by which a checkpoint may come late: a busy machine is no crime
MOST_TOKENS = 1 << 22  # of one request
FILE = "checkpoint.safetensors"


class PaceOver(BaseException):
    """The harness closed the control pipe: the run is over, and all is well."""


# ----------------------------------------------------------------------------------------------------------------------
# What is answered


class DataServer:
    """Answers the requests of one training, one at a time. No pipes here, and no processes."""

    def __init__(self, profile, prepared, spec, emit, control=None, clock=None):
        budget = spec["budget"]
        self._unit, self.amount = budget["unit"], float(budget["amount"])
        if self._unit not in ("steps", "seconds") or not self.amount > 0:
            raise Failure("env", f"The budget {budget} is neither a number of steps nor of seconds above 0.")
        self.T = profile.config.sequence_len
        text, held = hold_out(prepared.stream("train"), self.T, profile.interim_tokens)
        self._order = Shuffled(text, self.T, spec["seed"], prepared.meta["splits"]["train"]["sha256"])
        self._held, self._lengths = held, prepared.token_bytes()
        self._profile, self._emit, self._control = profile, emit, control
        self._clock = clock or time.perf_counter
        self.interim = spec.get("interim") if control is None and len(held) > self.T else None
        self._most_tokens = math.inf
        if self._unit == "steps" and spec.get("tokens_per_step"):
            self._most_tokens = self.amount * spec["tokens_per_step"]
        self._started = None  # the clock, at the first batch
        self._paused = None  # since when it stands still
        self._warmed = self._ended = self._saving = False
        self._steps = self._tokens = 0
        self._step_began = None
        self._durations, self._stalled = [], 0.0  # of the latest steps, and what they waited
        self._first_loss = self._loss = None
        self._last_event = -math.inf
        self.summary = None

    @property
    def elapsed(self):
        """Seconds of the budget's clock."""
        return 0.0 if self._started is None else (self._paused or self._clock()) - self._started

    @property
    def left(self):
        """Seconds until the checkpoint must be there; None for a budget in steps, and before the clock starts."""
        if self._unit == "steps" or self._started is None:
            return None
        return max(0.0, self.amount * (1 + LATE) - self.elapsed)

    def answer(self, request):
        """Return words and arrays to send back; None when there is nothing to say.

        Raises Failure for what the trainer says has failed, and for what no fixed code would say.
        """
        handlers = {"batch": self._batch, "phase": self._phase, "interim": self._give_interim, "scored": self._scored,
                    "saved": self._saved, "fail": self._fail}  # fmt: skip
        handler = handlers.get(request.get("do") if isinstance(request.get("do"), str) else None)
        last = {"fail"} | ({"scored"} if self._paused is not None else {"saved"})
        if handler is None or ((self._paused is not None or self._saving) and request["do"] not in last):
            raise broken(request)  # while the clock stands still, and after the training, nothing is served
        return handler(request)

    def _phase(self, request):
        phase = request.get("phase")
        if (phase, self._started is None) not in (("warmup", True), ("save", False)):
            raise broken(request)
        if phase == "save":
            self._saving = True
            self._end_step()
            self._emit_step()  # the last one, however soon after the one before
        elif self._warmed:
            return
        self._warmed = True
        self._emit({"event": "phase", "phase": phase})

    def _batch(self, request):
        rows, first = request.get("rows"), request.get("first")
        if not (type(rows) is int and 1 <= rows <= MOST_TOKENS // self.T and type(first) is bool):
            raise broken(request)
        self._take_loss(request)
        if self._started is None:
            self._emit({"event": "phase", "phase": "train"})
            self._started = self._clock()
        begins = first or self._step_began is None
        if begins:
            self._end_step()
        late = self._unit == "seconds" and self.elapsed > self.amount
        over = late or self._tokens + rows * self.T > self._most_tokens
        if self._ended or over or (begins and not self._may_step()):
            self._ended = True
            return {"end": True}, ()
        if begins:
            self._step_began = self.elapsed
        self._tokens += rows * self.T
        return {"rows": rows}, (self._order.take(rows).astype(np.uint16),)

    def _may_step(self):
        if self._control is not None:
            if self._control.readline().strip() != "go":
                raise PaceOver
            return True
        return self._unit == "seconds" or self._steps < int(self.amount)

    def _end_step(self):
        if self._step_began is None:
            return
        self._steps += 1
        now = self.elapsed
        seconds, self._step_began = now - self._step_began, None
        if len(self._durations) == 10:
            self._stalled += max(0.0, seconds - STALL * statistics.median(self._durations))
        self._durations = [*self._durations[-9:], seconds]
        if self._control is not None or now - self._last_event >= 0.1:
            self._emit_step()

    def _emit_step(self):
        self._last_event = self.elapsed
        self._emit({"event": "step", "step": self._steps, "tokens": self._tokens, "loss": self._loss,
                    "elapsed": round(self._last_event, 4)})  # fmt: skip

    def _take_loss(self, request):
        """The training loss is the candidate's own word; it is shown, and tells runs that began alike."""
        loss = number(request.get("loss"))
        if loss is not None:
            self._loss = loss
            self._first_loss = loss if self._first_loss is None else self._first_loss

    def _give_interim(self, request):
        """Once, when its share of the budget is used: rows for a score in mid-run. The clock stands still meanwhile."""
        if self.interim is None or self._started is None:
            return {"rows": 0}, ()
        self._end_step()
        used = self._steps if self._unit == "steps" else self.elapsed
        if used < EARLY * self.interim * self.amount:
            return {"rows": 0}, ()
        self.interim, self._paused = None, self._clock()
        windows = scoring_windows(self._held, self.T, self._profile.interim_tokens)  # (N, T + 1)
        return {"rows": len(windows)}, (windows.astype(np.uint16), self._lengths[windows[:, 1:]].astype(np.uint16))

    def _scored(self, request):
        """Goes on. Scoring takes less than training on as much text would; what took longer was paid time."""
        if self._paused is None:
            raise broken(request)
        seconds = self._clock() - self._paused
        usual = 1.5 * self._profile.interim_tokens * self.elapsed / max(1, self._tokens) + 0.005 * self.amount
        free = min(seconds, usual, FREE * self.amount) if self._unit == "seconds" else seconds
        self._paused = None
        self._started += free
        if request.get("value", 0) is not None:
            self._emit({"event": "interim", "step": self._steps, "tokens": self._tokens,
                        "value": number(request.get("value")), "seconds": round(seconds, 3)})  # fmt: skip
        return {"free": free}, ()

    def _saved(self, request):
        if not self._saving or self._control is not None:
            raise broken(request)
        seconds, depth = self.elapsed, request.get("depth")
        if self.left == 0:
            raise Failure("timeout-train", too_late(seconds, self.amount))
        self._take_loss(request)
        self.summary = {
            "training_seconds": round(seconds, 3),
            "peak_vram_mb": max(0.0, number(request.get("peak_vram_mb")) or 0.0),
            "mfu_percent": self._mfu(max(0.0, number(request.get("flops_per_token")) or 0.0), seconds),
            "total_tokens_M": round(self._tokens / 1e6, 6),
            "num_steps": self._steps,
            "depth": depth if type(depth) is int and 0 < depth < 10_000 else self._profile.config.depth,
            "tokens_per_step": self._tokens // max(1, self._steps),
            "stalled_seconds": round(self._stalled, 3),
            "first_loss": self._first_loss,
        }

    def _mfu(self, flops_per_token, seconds):
        peak = PEAK_FLOPS.get(self._profile.device_name)
        return round(100 * flops_per_token * self._tokens / seconds / peak, 2) if peak and seconds else 0.0

    def _fail(self, request):
        outcome, message = request.get("outcome"), request.get("message")
        if outcome not in TOLD or not isinstance(message, str):
            raise broken(request)
        raise told_failure(outcome, message)


def number(value):
    """A finite number, or None."""
    fits = type(value) in (int, float) and abs(value) <= 1e100  # NaN compares false
    return float(value) if fits else None


def broken(request):
    return Failure("integrity", f"the training process does not keep to its protocol: {ascii(request)[:80]}")


def too_late(seconds, amount):
    return (f"The checkpoint came after {seconds:.2f} s; the budget is {amount:g} s, from the first batch of "
            "run.batches to run.save. Leave the batches when they end, and save at once.")  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# Who is answered


def train(profile, prepared, spec, emit, control=None):
    """Train the source in a process of its own, seal its checkpoint, and return the summary."""
    server = DataServer(profile, prepared, spec, emit, control)
    start(server, profile, spec)
    found = Path(spec["scratch"]) / "out" / FILE
    server.summary["num_params_M"] = round(checkpoint.seal(found, spec["checkpoint"]) / 1e6, 6)
    found.unlink()
    return server.summary


def start(server, profile, spec):
    """Answer a trainer until its checkpoint is there and its last process is gone."""
    out = Path(spec["scratch"]) / "out"
    out.mkdir(exist_ok=True)
    source = stage(spec["scratch"], spec["source"], spec["source_sha256"])
    job = {
        "profile": asdict(profile), "source": str(source), "seed": spec["seed"], "threads": spec["threads"],
        "budget": spec["budget"], "interim": server.interim, "checkpoint": str(out / FILE),
    }  # fmt: skip
    with Isolated("trainer", job, source, spec.get("sandbox"), write=out) as trainer:
        requests = wire.Reader(trainer.stdout)
        try:
            while server.summary is None:
                answer = server.answer(requests.receive(server.left))
                if answer:
                    wire.send(trainer.stdin, answer[0], *answer[1])
        except ValueError as error:
            raise broken(error) from None
        except wire.Silent:
            raise Failure("timeout-train", too_late(server.elapsed, server.amount)) from None
        except (wire.Ended, BrokenPipeError):
            code, message, why = trainer.wait()
            raise ended(code, message, why) from None
        trainer.end()
        if not trainer.proven_dead:
            raise Failure("integrity", "processes of the training outlived it, so its checkpoint is not sealed")


def ended(code, message, why):
    """What it means that the process with the candidate is gone."""
    if why == "setup":
        return Failure("env", f"The sandbox cannot be set up: {message}. `autoresearch doctor` says what there is.")
    if why == "memory":
        return Failure("oom-train", message)
    if why not in ("exit", "signal", "parent"):
        return Failure("assert", message)
    return Died(code)
