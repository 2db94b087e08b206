"""A training command that keeps docs/contract.md and trains nothing.

    python toy_command.py [--direction max] [--no-evaluate] [--noise 0] ... --spec FILE

All plugin tests use it. Its target, `TARGET` below, is a module with a few knobs; the
metric is `quality` of the knobs and the number of steps, plus noise that depends on the
seed (shared by all sources) and a little on the source. The knob MISBEHAVE names one of
the functions under "misbehaviour", called after the first step, or, as
"evaluate:crash", in that phase.

Standard library only. Tests get at `TARGET` and `quality` through `runpy.run_path`.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

TARGET = '''"""The smallest training module: a bowl with knobs."""

LR = 0.1  # step size; range 0.001..1 log
WIDTH = 4  # units; range 1..16
DECAY = False  # lower the step size; choices True, False
STEP_COST = 1.0  # CPU time of a step, about 2 ms each
MISBEHAVE = ""  # what goes wrong, or nothing


def build_model(config):
    """The model is its knobs."""
    return {"LR": LR, "WIDTH": WIDTH, "DECAY": DECAY}


def train(run):
    """Pretend."""
    model = build_model(run.config)
    for step in run.batches():
        run.work(STEP_COST)
        run.report(step, model)
    run.save(model)
'''

WORK = 4000  # rounds of a hash for a STEP_COST of 1
LIFETIME = 60  # seconds after which even what nobody killed ends by itself


def quality(model, steps):
    """Lower is better; best at LR 0.02, WIDTH 9, DECAY True and many steps."""
    value = 2.0 + 0.05 * math.log10(model["LR"] / 0.02) ** 2
    value += 0.002 * (model["WIDTH"] - 9) ** 2
    value += 0.0 if model["DECAY"] else 0.02
    return value + 1 / (10 + steps)


def noise(seed, sha, sd):
    """A part that depends on the seed alone and a smaller one of the source too."""
    common = random.Random(f"seed {seed}").gauss(0, sd)
    return common + random.Random(f"seed {seed} of {sha}").gauss(0, sd / 4)


class Failed(Exception):
    """A failure the command knows; becomes an `error` event."""


class Run:
    """What the target's `train` is given."""

    def __init__(self, options, spec):
        self.options, self.spec = options, spec
        self.config = {"profile": spec["profile"]}
        self.namespace = {}
        self.steps = 0
        self.scored = False
        self.began = time.monotonic()

    # ------------------------------------------------------------------ the contract

    def emit(self, event, **data):
        """One event."""
        self.write(json.dumps({"event": event, **data}).encode() + b"\n")

    def write(self, data):
        """Bytes on the event pipe."""
        while data:
            data = data[os.write(self.spec["events_fd"], data) :]

    def load(self):
        """Run the target's source."""
        data = Path(self.spec["source"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.spec["source_sha256"]:
            raise ValueError("the source is not the one the spec names")
        exec(compile(data, self.spec["source"], "exec"), self.namespace)

    def batches(self):
        """The budget: steps, seconds, or what `go` lines allow."""
        self.emit("phase", phase="train")
        self.began = time.monotonic()
        control = self.spec.get("control_fd")
        lines = os.fdopen(control, closefd=False) if control is not None else None
        while lines.readline() if lines else not self.spent():
            yield self.steps
            self.steps += 1
            if self.steps == 1:
                self.misbehave()

    def spent(self):
        """Whether the budget is used up."""
        budget = self.spec["budget"]
        if self.options.paces:
            gpu = int(os.environ["HIP_VISIBLE_DEVICES"])
            return self.steps >= int(self.options.paces.split(",")[gpu])
        if budget["unit"] == "seconds":
            return time.monotonic() - self.began >= budget["amount"]
        return self.steps >= budget["amount"]

    def work(self, cost):
        """Burn CPU time, the same number of instructions each time."""
        hashlib.pbkdf2_hmac("sha256", b"work", b"salt", max(1, round(WORK * cost)))

    def report(self, step, model):
        """A progress event."""
        loss = quality(model, step)
        elapsed = time.monotonic() - self.began
        self.emit("step", step=step + 1, tokens=64 * step, loss=loss, elapsed=elapsed)
        share, amount = self.spec.get("interim"), self.spec["budget"]["amount"]
        used = step + 1 if self.spec["budget"]["unit"] == "steps" else elapsed
        if (
            self.options.interim
            and share
            and not self.scored
            and used >= share * amount
        ):
            self.scored = True
            self.score_midway(step + 1, model)

    def score_midway(self, steps, model):
        """What the end will be, and a tenth."""
        value = 0.1 + quality(model, self.spec["budget"]["amount"])
        value += noise(
            self.spec["seed"], self.spec["source_sha256"], self.options.noise
        )
        value = value if self.options.direction == "min" else 4 - value
        self.emit("interim", step=steps, tokens=64 * steps, value=value, seconds=0.001)

    def save(self, model):
        """Write the checkpoint and rename it into place."""
        self.emit("phase", phase="save")
        path = Path(self.spec["checkpoint"])
        path.with_suffix(".part").write_text(json.dumps({**model, "steps": self.steps}))
        path.with_suffix(".part").rename(path)

    def metrics(self):
        """The metric of the checkpoint."""
        model = json.loads(Path(self.spec["checkpoint"]).read_text())
        value = quality(model, model["steps"])
        if self.spec["split"] == "test":
            if not self.options.hidden:
                raise ValueError("there is no split test here")
            value = 2.5 if self.options.overfits else value + 1
        sha = self.spec["source_sha256"]
        if self.spec["split"] == "test" and self.options.overfits:
            sha = ""  # no luck of its own either: sources are exactly alike
        value += noise(self.spec["seed"], sha, self.options.noise)
        if self.wants("nan"):
            value = math.nan
        if self.wants("huge"):
            value = 1e200
        value = value if self.options.direction == "min" else 4 - value
        return {self.options.metric: "?" if self.wants("words") else value}

    # ------------------------------------------------------------------ misbehaviour

    def wants(self, kind):
        """Whether the target asks for this misbehaviour."""
        return self.namespace.get("MISBEHAVE", "").split(":")[-1] == kind

    def misbehave(self):
        """Do what MISBEHAVE says, if it names this phase."""
        *phase, kind = self.namespace.get("MISBEHAVE", "").split(":")
        here = "evaluate" if self.spec["phase"] == "evaluate" else "train"
        if kind and (phase or ["train"])[0] == here:
            action = MISBEHAVIOUR.get(kind)
            if action:
                action(self)


def hang(run):
    print("hanging", flush=True)
    time.sleep(LIFETIME)
    os._exit(9)


def spin(run):
    end = time.monotonic() + LIFETIME
    while time.monotonic() < end:
        pass


def stubborn(run):
    faulthandler.unregister(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(run)


def count_terms(run):
    """Say how often SIGTERM came, busy so that two in a row do not count as one."""
    faulthandler.unregister(signal.SIGTERM)
    ready, tell = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(tell)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        pass
    print("SIGTERM came", len(os.read(ready, 100)), "times", flush=True)
    os._exit(9)


def fork(run):
    """Two children, one of them deaf to SIGTERM."""
    if os.fork() == 0:
        stubborn(run)
    if os.fork() == 0:
        hang(run)
    hang(run)


def daemon(run):
    """A daemon by the book: forked twice, in a session of its own."""
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            stubborn(run)
        os._exit(0)
    os.waitpid(middle, 0)


def daemon_hang(run):
    daemon(run)
    stubborn(run)


def hydra(run):
    """A process that is never the same: each forks the next and ends."""
    end = time.monotonic() + LIFETIME
    if os.fork() == 0:
        os.setsid()
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
    hang(run)


def crash(run):
    raise ValueError("broken on purpose")


def refuse(run):
    raise AssertionError("model and data disagree")


def memory(run):
    raise MemoryError("no room")


def cuda_memory(run):
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")


def missing(run):
    import no_such_module_anywhere  # noqa: F401


def diverged(run):
    run.emit("error", outcome="diverged", message="loss 99 at step 1\x1b[31m!")
    sys.exit(1)


def exit_3(run):
    sys.exit(3)


def exit_0(run):
    os._exit(0)


def kill(run):
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(run):
    os.kill(os.getpid(), signal.SIGSEGV)


def kill_runner(run):
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.write(tell, b"x")
        time.sleep(LIFETIME)
        os._exit(9)
    os.read(ready, 1)
    os.kill(os.getppid(), signal.SIGKILL)
    hang(run)


def stop_runner(run):
    os.kill(os.getppid(), signal.SIGSTOP)
    stubborn(run)


def chatter(run):
    """5 MB without a line end, then a coloured line."""
    for _ in range(80):
        sys.stdout.write("x" * 65536)
    print("\n\x1b[31mred\x1b[0m \x07bell\rlast words")


def environment(run):
    print("variables " + " ".join(sorted(os.environ)))


def forge_result(run):
    run.emit("result", metrics={run.options.metric: 0.0})


def forge_garbage(run):
    run.write(b"this is not JSON\n")


def forge_long(run):
    run.write(b'{"event": "step", "step": 1, "x": "' + b"x" * 100_000 + b'"}\n')


def forge_half(run):
    run.write(b'{"event": "st')
    os._exit(0)


def forge_steps(run):
    for step in range(100):
        run.emit("step", step=step, loss=1.0)


def go_back(run):
    run.emit("phase", phase="warmup")
    hang(run)


def repeat_phase(run):
    """Announce the same phase again and again to win time."""
    end = time.monotonic() + LIFETIME
    while time.monotonic() < end:
        run.emit("phase", phase="train")
        time.sleep(0.05)


def step_digits(run):
    """A step whose number no float holds."""
    run.emit("step", step=10**400, loss=1.0)


def summary_words(run):
    """Text where the reports expect a number."""
    run.emit("summary", peak_vram_mb="lots", num_steps=run.steps)


def no_save(run):
    run.save = lambda model: None


MISBEHAVIOUR = {
    action.__name__.replace("_", "-"): action
    for action in (
        hang, spin, stubborn, fork, daemon, daemon_hang, hydra, crash, refuse, memory,
        cuda_memory, missing, diverged, exit_3, exit_0, kill, segfault, kill_runner,
        stop_runner, chatter, environment, forge_result, forge_garbage, forge_long,
        forge_half, forge_steps, go_back, repeat_phase, no_save, count_terms,
        step_digits, summary_words,
    )
}  # fmt: skip


# ----------------------------------------------------------------------------- phases


def train(run):
    run.emit("phase", phase="prepare")
    run.load()
    run.emit("phase", phase="warmup")
    run.namespace["train"](run)
    seconds = time.monotonic() - run.began
    if run.spec["phase"] == "pace":
        return
    if run.options.evaluate:
        run.emit(
            "summary",
            training_seconds=seconds,
            num_steps=run.steps,
            depth=None,
            tokens_per_step=64,
            stalled_seconds=run.options.stall,
        )
    else:
        run.emit("result", metrics=run.metrics())


def evaluate(run):
    run.load()
    run.emit("phase", phase="evaluate")
    run.namespace["build_model"](run.config)
    run.misbehave()
    run.emit("result", metrics=run.metrics())


def describe(run):
    run.emit("phase", phase="prepare")
    options = run.options
    core = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    budget = {"unit": options.unit, "amount": options.amount}
    said = {
        "metrics": {},
        "schema": 1,
        "metric": options.metric,
        "direction": options.direction,
        "evaluates": options.evaluate,
        "interim": options.interim,
        "hidden": options.hidden,
        "charged": options.charge,
        "budget": budget,
        "limits": dict.fromkeys(
            ("start", "prepare", "warmup", "train", "save", "evaluate"), options.limit
        ),
        "noise": {"unpaired": options.noise / 2, "paired": options.noise / 6, "df": 4},
        "fingerprint": {"core": core, "corpus": "none", "noise": options.noise},
        "lines": ["toy command: nothing is trained"],
    }
    run.emit("result", **{**said, **json.loads(options.describe)})


def options(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    yes_no = argparse.BooleanOptionalAction
    parser.add_argument("--spec", required=True)
    parser.add_argument("--metric", default="score")
    parser.add_argument("--direction", default="min", choices=["min", "max"])
    parser.add_argument("--evaluate", default=True, action=yes_no)
    parser.add_argument("--charge", default=False, action=yes_no)
    parser.add_argument("--interim", default=False, action=yes_no)
    parser.add_argument("--hidden", default=True, action=yes_no)
    parser.add_argument("--overfits", action="store_true", help="no gain on `test`")
    parser.add_argument("--stall", default=0.0, type=float, help="seconds, claimed")
    parser.add_argument("--noise", default=0.004, type=float)
    parser.add_argument("--unit", default="steps", choices=["steps", "seconds"])
    parser.add_argument("--amount", default=10, type=float)
    parser.add_argument("--paces", help="steps of a run on the first GPU, the second")
    parser.add_argument("--limit", default=30.0, type=float)
    parser.add_argument("--describe", default="{}", help="other words, as JSON")
    return parser.parse_args(arguments)


def main():
    """Do what the spec says."""
    faulthandler.register(signal.SIGTERM, chain=True)  # show where a time-out hit
    chosen = options()
    run = Run(chosen, json.loads(Path(chosen.spec).read_text()))
    if run.spec["phase"] == "describe":
        describe(run)
    elif run.spec["phase"] == "evaluate":
        evaluate(run)
    else:
        train(run)


if __name__ == "__main__":
    main()
