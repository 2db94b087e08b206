"""What a candidate trains with: `train(run)` gets a `Run` and nothing else.

It shares a process with the candidate, so nothing depends on it but the candidate's own convenience: the batches come
from server.py, which owns the text, the budget and the clock.
"""

import copy
import ctypes
import gc
import math
import random
import time
from pathlib import Path

import numpy as np
import torch

from nanochat_core import attention, interim
from nanochat_core.errors import Failure
from nanochat_core.interim import RandomState

WARM_UP_LIMIT = 20  # batches
DIVERGED = 100.0  # autoresearch's own bound on the training loss


def set_up(profile, threads, seed):
    """Make torch behave the same in the training and in the scoring process."""
    keep_memory()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # subnormal numbers are a hundred times slower on a CPU, and noise
    if profile.device == "cuda":
        torch.set_float32_matmul_precision("high")
    attention.use(profile.backend)
    random.seed(seed)
    torch.manual_seed(seed)


def keep_memory():
    """Have glibc keep freed memory for the next step: a seventh of a small CPU step would be page faults."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # another C library: slower, nothing else


class Run:
    """What `train(run)` works with. Batches, and whether there are more, come from the data server through `link`."""

    def __init__(self, profile, budget, seed, checkpoint, link, interim=None):
        self.config, self.seed = profile.config, seed
        self.device, self.dtype = torch.device(profile.device), getattr(torch, profile.dtype)
        self._profile, self._link, self._checkpoint = profile, link, Path(checkpoint)
        self._unit, self._amount = budget["unit"], float(budget["amount"])
        self._interim = interim  # share of the budget
        self._model = None  # known from warm_up on
        self._started = None  # our own clock, at the first budgeted batch; the server's decides
        self._reserve = min(5.0, 0.02 * self._amount)  # seconds kept for save; warm_up measures it
        self._steps = 0
        self._durations = []  # of the latest steps
        self._pending = None  # (step, loss) on the device, not looked at yet
        self._loss = self._first_loss = self._smooth_loss = None
        self._cuda_event = None
        self._failure = None
        self._saved = False

    # -- budget --------------------------------------------------------------------------------------------------------

    @property
    def progress(self):
        """Share of the budget used so far, 0..1."""
        if self._started is None:
            return 0.0
        if self._unit == "steps":
            return min(1.0, self._steps / self._amount)
        return min(1.0, self._elapsed() / max(1e-9, self._amount - self._reserve))

    def batches(self, batch_size, accumulate=1):
        """Yield (idx, targets), both (B, T), `accumulate` of them to an optimizer step, until the budget ends."""
        assert batch_size >= 1 and accumulate >= 1, (batch_size, accumulate)
        if self._started is None:
            self._start_clock()
        while self._may_step():
            started = self._elapsed()
            for i in range(accumulate):
                answer = self._link.ask(do="batch", rows=batch_size, first=i == 0, loss=self._loss)
                if "rows" not in answer:
                    return
                yield self._on_device(self._link.array(np.uint16, batch_size, self.config.sequence_len + 1))
            self._end_step(started)
            if self._interim and self._model is not None and self.progress >= self._interim:
                self._score_midway()

    def report(self, loss):
        """Take note of the loss after an optimizer step; ends the run if it is not a number or far too large."""
        if torch.is_tensor(loss):
            loss = loss.detach()
        if self.device.type != "cuda":
            self._look_at(self._steps, float(loss))
            return
        # Reading a number from the GPU waits for it. One step late, the number is already there.
        pending, self._pending = self._pending, (self._steps, loss)
        if pending:
            self._look_at(pending[0], float(pending[1]))

    def _start_clock(self):
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection stalls a step by up to half a second
        self._synchronize()
        self._started = time.perf_counter()

    def _elapsed(self):
        return time.perf_counter() - self._started

    def _may_step(self):
        """Whether another step and the save fit into the budget. The server ends a budget in steps."""
        self._check()
        if self._unit == "steps" or self._steps == 0:
            return True
        # Two of the longest recent steps: one to make, one that a GPU may still be busy with.
        queued = 2 if self.device.type == "cuda" else 1
        return self._elapsed() + queued * max(self._durations) + self._reserve <= self._amount

    def _end_step(self, started):
        self._steps += 1
        if self.device.type == "cuda":
            # Never run more than one step ahead of the device, or the clock would measure how fast Python queues work.
            previous, self._cuda_event = self._cuda_event, torch.cuda.Event()
            self._cuda_event.record()
            if previous:
                previous.synchronize()
        self._durations = [*self._durations[-9:], self._elapsed() - started]

    def _score_midway(self):
        """Once: an interim score. The clock stands still meanwhile, and the model is left as it was."""
        self._interim = None
        self._synchronize()
        rows = self._link.ask(do="interim", loss=self._loss)["rows"]
        if rows:
            T = self.config.sequence_len
            windows, lengths = self._link.array(np.uint16, rows, T + 1), self._link.array(np.uint16, rows, T)
            value = interim.score(self._profile, self._model, windows, lengths)
            self._started += self._link.ask(do="scored", value=value)["free"]

    def _look_at(self, step, loss):
        self._loss = loss if math.isfinite(loss) else None
        if self._first_loss is None:
            self._first_loss = self._smooth_loss = loss
        self._smooth_loss = 0.9 * self._smooth_loss + 0.1 * loss
        if not math.isfinite(loss):
            self._failure = Failure("nan", f"The training loss is {loss} at step {step}.")
        elif loss > DIVERGED or (self.progress > 0.1 and self._smooth_loss > 1.5 * self._first_loss + 1):
            self._failure = Failure("diverged", f"The training loss is {loss:.4g} at step {step}, having begun at "
                                                f"{self._first_loss:.4g}.")  # fmt: skip
        self._check()

    def _check(self):
        if self._failure:
            raise self._failure  # again, should the candidate have caught it

    def _on_device(self, rows):
        rows = torch.from_numpy(rows.astype(np.int64))  # (B, T + 1)
        if self.device.type == "cuda":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def _synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    # -- warm-up -------------------------------------------------------------------------------------------------------

    def warm_up(self, step, model, optimizers, batch_size):
        """Call `step(idx, targets)` on a few batches of random tokens, then put everything back: compilers and
        allocators get warm, the model learns nothing. Before the clock starts this costs no budget."""
        if self._started is None:
            self._link.tell(do="phase", phase="warmup")
            self._model = model
        optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        before = _Snapshot(model, optimizers)
        noise = np.random.Generator(np.random.PCG64(0))  # the same for every seed, and nobody else's generator
        for _ in range(min(WARM_UP_LIMIT, self._profile.warm_up_steps)):
            shape = (batch_size, self.config.sequence_len + 1)
            step(*self._on_device(noise.integers(0, self.config.vocab_size, shape)))
        self._synchronize()
        before.restore()
        if self._unit == "seconds":
            rehearsal = self._checkpoint.with_name("rehearsal.safetensors")
            began = time.perf_counter()
            self._write(model, rehearsal)
            self._reserve = 2 * (time.perf_counter() - began) + 0.005 * self._amount
            rehearsal.unlink()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    # -- checkpoint ----------------------------------------------------------------------------------------------------

    def save(self, model):
        """Write the checkpoint and announce it. Once: this process ends here, and nothing after it is run."""
        self._check()
        assert self._started is not None, "run.save before the first batch of run.batches: nothing was trained"
        assert not self._saved, "run.save was called twice: the first checkpoint is sealed"
        self._synchronize()
        if self._pending:
            self._look_at(self._pending[0], float(self._pending[1]))
        self._link.tell(do="phase", phase="save")
        partial = self._checkpoint.with_name(self._checkpoint.name + ".partial")
        try:
            self._write(model, partial)
            partial.replace(self._checkpoint)
        except OSError as error:
            raise Failure("env", f"The checkpoint cannot be written: {error.strerror or error}.") from None
        self._saved = True
        self._link.tell(do="saved", loss=self._loss, **self._facts(model))
        self._link.finish()

    def check_saved(self):
        """Called when train(run) has returned."""
        self._check()
        assert self._saved, "train(run) returned without run.save(model)"

    def _write(self, model, path):
        from safetensors.torch import save_file

        state = {name.removeprefix("_orig_mod."): x for name, x in model.state_dict().items()}
        # Copies: safetensors refuses tensors that share memory, and tied weights are a fair idea.
        save_file({name: x.detach().to("cpu", copy=True).contiguous() for name, x in state.items()}, path)

    def _facts(self, model):
        """The candidate's own words about itself; only for show."""
        estimate, depth = getattr(model, "estimate_flops", None), getattr(model, "depth", None)
        flops = float(estimate()) if callable(estimate) and self.device.type == "cuda" else 0.0
        return {
            "depth": depth if isinstance(depth, int) else self.config.depth,
            "peak_vram_mb": torch.cuda.max_memory_allocated() / 2**20 if self.device.type == "cuda" else 0.0,
            "flops_per_token": flops if math.isfinite(flops) else 0.0,
        }


class _Snapshot:
    """Everything a training step changes, so that it can be undone in place: others hold these very objects."""

    def __init__(self, model, optimizers):
        self.tensors = [(x, x.detach().clone()) for x in (*model.parameters(), *model.buffers())]
        self.grads = [(p, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
        self.training = [(module, module.training) for module in model.modules()]
        self.optimizers = [(o, _copy_state(o), [_copy_group(g) for g in o.param_groups]) for o in optimizers]
        self.random = RandomState()

    @torch.no_grad()
    def restore(self):
        for x, before in self.tensors:
            x.copy_(before)
        for p, before in self.grads:
            p.grad = before
        for module, training in self.training:
            module.training = training
        for optimizer, state, groups in self.optimizers:
            optimizer.state.clear()
            for p, kept in state.items():
                optimizer.state[p] = kept
            for group, kept in zip(optimizer.param_groups, groups, strict=True):
                group.clear()
                group.update(kept)
        self.random.restore()


def _copy_state(optimizer):
    return {p: {k: x.clone() if torch.is_tensor(x) else copy.deepcopy(x) for k, x in state.items()}
            for p, state in optimizer.state.items()}  # fmt: skip


def _copy_group(group):
    return {k: x if k == "params" else x.clone() if torch.is_tensor(x) else copy.deepcopy(x) for k, x in group.items()}
