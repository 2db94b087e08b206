"""The command line: by hand, or by a harness that hands over a spec (docs/contract.md).

python -m nanochat_core --profile cpu --seconds 30
python -m nanochat_core --dataset folder:texts --steps 340 --source my_train.py
python -m nanochat_core --spec FILE
"""

import argparse
import contextlib
import faulthandler
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np

from nanochat_core import profiles
from nanochat_core.errors import Died, Failure

HERE = Path(__file__).resolve().parent
STARTED = time.perf_counter()


def main(argv=None):
    try:
        arguments = parse(argv)
        return by_spec(arguments) if arguments.spec else by_hand(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except Died as died:  # what it had to say is above
        return died.like()
    except Failure as failure:  # by hand: one line, with the way out
        print(f"\nerror: {failure.message}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse(argv):
    parser = argparse.ArgumentParser("python -m nanochat_core", description="Train and score one small GPT.")
    parser.add_argument("--spec", metavar="FILE", help="do what a harness wrote down (docs/contract.md)")
    parser.add_argument("--dataset", default="embedded", metavar="NAME",
                        help="embedded, climbmix[:SHARDS], tinystories[:SHARDS] or folder:PATH")  # fmt: skip
    parser.add_argument("--profile", default="auto", choices=profiles.NAMES, help="size (default: %(default)s)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=positive(float), help="train for so many seconds")
    budget.add_argument("--steps", type=positive(int), help="train for so many optimizer steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", type=Path, default=HERE / "train.py", metavar="FILE", help="the file to train with")
    parser.add_argument("--threads", type=positive(int), default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path(".autoresearch/data"), metavar="DIR")
    return parser.parse_args(argv)


def positive(kind):
    def convert(text):
        if not (number := kind(text)) > 0:
            raise ValueError
        return number

    convert.__name__ = f"{kind.__name__} above 0"
    return convert


# ----------------------------------------------------------------------------------------------------------------------
# Phases. Each takes the spec, the data set and `emit`, and tells what it found by events.


def describe(spec, dataset, emit):
    """Prepare the data, measure the machine, and say what an experiment is here."""
    from nanochat_core.prepare import prepare

    emit({"event": "phase", "phase": "prepare"})
    profile = profiles.resolve(spec["profile"], spec.get("device"))
    prepared = prepare(dataset, profile.config.vocab_size, spec["data_dir"], spec["threads"], say)
    if spec["profile"] not in ("tiny", "cpu"):
        profiles.store(profile, measured_path(spec))
    profile = at_vocabulary(profile, prepared)
    emit({
        "event": "result", "metrics": {}, "schema": 1, "metric": "val_bpb", "direction": "min",
        "evaluates": True, "isolates": True, "interim": profile.interim_tokens > 0, "hidden": True,
        "charged": profile.charged,
        "budget": profile.budget, "limits": profile.limits, "noise": profile.noise,
        "fingerprint": fingerprint(profile, prepared, spec),
        "lines": lines(profile, prepared),
    })  # fmt: skip


def train(spec, dataset, emit):
    """Train the source within the budget and leave a sealed checkpoint. `pace` is the same, step by step on demand."""
    from nanochat_core import server

    profile, prepared = opened(spec, dataset)
    pace = spec["phase"] == "pace"
    try:
        with open(spec["control_fd"]) if pace else contextlib.nullcontext() as control:
            summary = server.train(profile, prepared, spec, emit, control)
    except server.PaceOver:
        return
    emit({"event": "summary", **summary, "total_seconds": round(time.perf_counter() - STARTED, 3)})


def evaluate(spec, dataset, emit):
    """Score the sealed checkpoint by the claims of a process with the candidate in it."""
    from nanochat_core.evaluate import score

    profile, prepared = opened(spec, dataset)
    emit({"event": "phase", "phase": "evaluate"})
    bpb, claims = score(profile, prepared, spec, show=spec.get("events_fd") is None)
    if spec.get("claims"):
        with open(os.open(spec["claims"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # ours alone
            np.save(file, claims.astype(np.float32))
    emit({"event": "result", "metrics": {"val_bpb": bpb}})


def verify(spec, dataset, emit):
    """Find out by fresh processes whether the claims are true, and correct the score."""
    from nanochat_core.verify import Verifier

    profile, prepared = opened(spec, dataset)
    emit({"event": "phase", "phase": "verify"})
    claims = np.load(spec["claims"], allow_pickle=False)
    try:
        reference = np.load(spec["reference"], allow_pickle=False) if spec.get("reference") else None
    except (OSError, ValueError):  # replaced meanwhile: a look less
        reference = None
    seed = int.from_bytes(os.urandom(16), "little")
    try:
        found = Verifier(profile, prepared, spec, claims, seed, reference).run(spec["positions"])
    except Failure as failure:
        if failure.outcome != "oom-eval" or profile.eval_batch_size == 1:
            raise
        half = replace(profile, eval_batch_size=profile.eval_batch_size // 2)  # as it was scored
        # The same positions: who does not like them gets no others.
        found = Verifier(half, prepared, spec, claims, seed, reference).run(spec["positions"])
    emit({
        "event": "result",
        "metrics": {
            "val_bpb": found.bits_per_byte, "claimed": found.claimed, "positions": found.positions,
            "standard_error": found.standard_error, "largest_difference": found.largest_difference,
        },
    })  # fmt: skip


PHASES = {"describe": describe, "train": train, "pace": train, "evaluate": evaluate, "verify": verify}


def opened(spec, dataset):
    """The profile and the data of a trial, as the describe phase left them."""
    from nanochat_core.prepare import open_prepared

    path = measured_path(spec)
    measured = spec["profile"] not in ("tiny", "cpu") and path.is_file()
    profile = profiles.load(path) if measured else profiles.resolve(spec["profile"], spec.get("device"))
    prepared = open_prepared(dataset, profile.config.vocab_size, spec["data_dir"])
    return at_vocabulary(profile, prepared), prepared


def measured_path(spec):
    """Where describe leaves a profile that depends on the machine: one for each choice of devices."""
    device = f"{spec.get('device')}-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"
    device = "".join(c if c.isalnum() else "-" for c in device)
    return Path(spec["data_dir"]) / f"profile-{spec['profile']}-{device}.json"


def at_vocabulary(profile, prepared):
    """A small text may have yielded fewer tokens than the profile asked for."""
    return replace(profile, config=replace(profile.config, vocab_size=prepared.meta["vocab_size"]))


def fingerprint(profile, prepared, spec):
    """What makes two numbers comparable. The target is not in it: that is what is being compared."""
    core = hashlib.sha256()
    for path in sorted(HERE.glob("*.py")):
        if path.name != "train.py":
            core.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    tokens = [profile.eval_tokens, profile.interim_tokens]
    size = json.dumps([profile.name, vars(profile.config), tokens], sort_keys=True)
    marks = {
        "core": core.hexdigest(), "corpus": prepared.meta["corpus_sha256"],
        "tokenizer": prepared.meta["tokenizer_sha256"], "profile": hashlib.sha256(size.encode()).hexdigest(),
        "torch": metadata.version("torch"), "device": profile.device_name, "dtype": profile.dtype,
        "attention": profile.backend,
    }  # fmt: skip
    if profile.device == "cuda":
        marks["driver"] = driver_version()
    elif (spec.get("budget") or profile.budget)["unit"] == "seconds":
        marks["threads"] = str(spec["threads"])  # two threads get further in a second than one
    return marks


def driver_version():
    try:
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace").split()
        return next(word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit())
    except (OSError, StopIteration):
        return "unknown"


def lines(profile, prepared):
    """What a human wants to know before it starts."""
    meta, c = prepared.meta, profile.config
    train_facts, val_facts = meta["splits"]["train"], meta["splits"]["val"]
    found = [
        f"corpus {meta['corpus']}: {meta['words']}; {train_facts['documents']:,} documents, "
        f"{train_facts['tokens'] / 1e6:.1f} M tokens to train, {val_facts['tokens'] / 1e6:.2f} M to score"
    ]
    if meta["broken_utf8"]:
        found.append(f"{meta['broken_utf8']:,} places in it were not UTF-8 and became U+FFFD")
    width = -(-c.depth * c.aspect_ratio // c.head_dim) * c.head_dim
    found.append(f"profile {profile.name} on {profile.device_name}: depth {c.depth}, width {width}, context "
                  f"{c.sequence_len}, {c.total_batch_size:,} tokens a step, vocabulary {c.vocab_size:,}")  # fmt: skip
    found += profile.words
    if profile.budget["unit"] == "steps":
        epochs = profile.budget["amount"] * c.total_batch_size / train_facts["tokens"]
        found.append(f"the profile's {profile.budget['amount']} steps read the training text {epochs:.2f} times")
    elif train_facts["tokens"] < 1e8:
        found.append("the training text is small for a GPU and will be read many times: --dataset climbmix is larger")
    return found


# ----------------------------------------------------------------------------------------------------------------------
# By a harness


REQUIRED = ("schema", "phase", "source", "source_sha256", "profile", "seed", "threads", "data_dir")
REQUIRED_BY = {"train": ("budget", "checkpoint", "scratch"), "pace": ("budget", "checkpoint", "scratch", "control_fd"),
               "evaluate": ("checkpoint", "scratch"), "describe": (),
               "verify": ("checkpoint", "scratch", "claims", "positions")}  # fmt: skip


def by_spec(arguments):
    """Do one phase; the exit code is 0 only if it emitted what it must."""
    emit = say
    try:
        spec = read_spec(arguments.spec)
        emit = writer(spec.get("events_fd"))
        emit({"event": "phase", "phase": "start"})
        PHASES[spec["phase"]](spec, arguments.dataset, emit)
    except Failure as failure:
        print(f"{failure.outcome}: {failure.message}", file=sys.stderr, flush=True)
        emit({"event": "error", "outcome": failure.outcome, "message": failure.message[:4000]})
        return 1
    except Died as died:
        return died.like()
    return 0


def read_spec(path):
    try:
        spec = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure("env", f"The spec {path} cannot be read: {error}") from None
    if spec.get("schema") != 1:
        raise Failure("env", f"The spec has schema {spec.get('schema')!r}; this command speaks schema 1.")
    if spec.get("phase") not in PHASES:
        raise Failure("env", f"The spec asks for phase {spec.get('phase')!r}; there are {', '.join(PHASES)}.")
    missing = [key for key in (*REQUIRED, *REQUIRED_BY[spec["phase"]]) if spec.get(key) is None]
    if missing:
        raise Failure("env", f"The spec for phase {spec['phase']} lacks {', '.join(missing)}.")
    return spec


def writer(fd):
    """Return emit(event): one JSON line a call."""
    if fd is None:
        return say

    def emit(event):
        line = (json.dumps(event) + "\n").encode()
        assert len(line) <= 65_536, f"an event of {len(line)} bytes"
        while line:  # a pipe may take less than all of it
            line = line[os.write(fd, line) :]

    return emit


def say(words):
    print(words, flush=True)


# ----------------------------------------------------------------------------------------------------------------------
# By hand


def by_hand(arguments):
    """Prepare, train and score in one go, with a line of progress and autoresearch's summary."""
    if not 0 <= arguments.seed < 2**31:
        raise Failure("env", f"--seed {arguments.seed}: a seed is at least 0 and below 2**31.")
    if not arguments.source.is_file():
        raise Failure("env", f"--source {arguments.source}: there is no such file.")
    own_data_dir(arguments.data_dir)
    profile = profiles.resolve(arguments.profile)
    amount = arguments.seconds or arguments.steps
    budget = {"unit": "seconds" if arguments.seconds else "steps", "amount": amount} if amount else profile.budget
    progress = Progress(budget)
    with tempfile.TemporaryDirectory(prefix="nanochat-") as scratch:
        spec = {
            "phase": "train", "profile": arguments.profile, "seed": arguments.seed, "budget": budget,
            "threads": arguments.threads, "device": profile.device, "data_dir": str(arguments.data_dir),
            "scratch": scratch, "checkpoint": f"{scratch}/checkpoint.safetensors",
            "source": str(arguments.source), "source_sha256": None,
        }  # fmt: skip
        describe(spec, arguments.dataset, progress)
        train(spec, arguments.dataset, progress)
        evaluate(spec, arguments.dataset, progress)
    summary = {**progress.summary, "total_seconds": time.perf_counter() - STARTED}
    print("---")
    print(f"val_bpb:          {progress.val_bpb:.6f}")
    for key, form in (("training_seconds", ".1f"), ("total_seconds", ".1f"), ("peak_vram_mb", ".1f"),
                      ("mfu_percent", ".2f"), ("total_tokens_M", ".1f"), ("num_steps", "d"), ("num_params_M", ".1f"),
                      ("depth", "d")):  # fmt: skip
        print(f"{key + ':':<17} {summary[key]:{form}}")
    return 0


def own_data_dir(data_dir):
    """Make the directory, and keep it out of git: it is large and it is not the user's work."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        ours = data_dir.parent if data_dir.parent.name == ".autoresearch" else data_dir
        if not (ours / ".gitignore").exists():
            (ours / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise Failure("env", f"{data_dir} cannot be written ({error.strerror}); choose another --data-dir.") from None


class Progress:
    """The events, for somebody who watches."""

    def __init__(self, budget):
        self.budget, self.summary, self.val_bpb, self.at = budget, {}, None, 0.0

    def __call__(self, event):
        kind = event["event"]
        if kind == "step" and time.perf_counter() - self.at >= (0.2 if sys.stdout.isatty() else 5.0):
            self.at = time.perf_counter()
            used = event["step"] if self.budget["unit"] == "steps" else event["elapsed"]
            loss = "" if event["loss"] is None else f" | loss: {event['loss']:.4f}"
            speed = event["tokens"] / max(1e-9, event["elapsed"])
            line = f"step {event['step']:05d} ({100 * used / self.budget['amount']:.1f}%){loss} | tok/sec: {speed:,.0f}"
            print(f"\r{line}    " if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
        elif kind == "phase" and event["phase"] in ("save", "evaluate") and sys.stdout.isatty():
            print(f"\r{event['phase']:<79}", flush=True)
        elif kind == "summary":
            self.summary = {key: value for key, value in event.items() if key != "event"}
        elif kind == "result":
            self.val_bpb = event["metrics"].get("val_bpb")
            for line in event.get("lines", ()):
                print(line, flush=True)


if __name__ == "__main__":
    if "--spec" in sys.argv:
        faulthandler.register(signal.SIGTERM, chain=True)  # a harness that loses patience learns where it hangs
    sys.exit(main())
