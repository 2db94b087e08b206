"""Prove that trials work on this machine's GPU, and write down what was seen.

    make gpu-proof            (or: python tests/gpu_proof.py --help)

Runs the real training command through the real executor: two baselines of one seed,
a loser, a crash, a hang and an out-of-memory; each must end as what it is and leave
nothing behind on the device. Needs the project's checkout, torch and the core's
packages, but no installation of the project: it also runs from a bare checkout.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TARGET = "nanochat_core/train.py"
NEEDED = ("torch", "numpy", "tiktoken", "safetensors", "rustbpe")
HEAD = "def train(run):\n"  # what the misbehaving variants are put behind


def main() -> int:
    options = parse()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"missing here: {', '.join(missing)}. Try: pip install {' '.join(missing)}"
        )
        return 1
    proof = Proof(options)
    try:
        proof.run()
    except KeyboardInterrupt:
        print("interrupted; nothing is written")
        return 130
    path = proof.write()
    failed = [name for name, case in proof.cases.items() if not case["as_expected"]]
    print(f"written: {path}")
    print("all as expected" if not failed else f"NOT as expected: {', '.join(failed)}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=45, help="budget of a run")
    parser.add_argument("--steps", type=int, help="budget in steps instead")
    parser.add_argument("--profile", default="auto")
    parser.add_argument("--devices", default="auto")
    parser.add_argument(
        "--output", type=Path, help="file instead of docs/benchmarks/gpu"
    )
    return parser.parse_args()


class Proof:
    def __init__(self, options: argparse.Namespace) -> None:
        from autoresearch_plugin.devices import discover
        from autoresearch_plugin.executors.local import LocalExecutor
        from autoresearch_plugin.trial import Budget

        self.options = options
        self.device = discover(os.environ, options.devices)[0]
        self.executor = LocalExecutor("{python} -m nanochat_core", ROOT)
        unit = (
            ("steps", options.steps) if options.steps else ("seconds", options.seconds)
        )
        self.budget = Budget(*unit)
        self.source = (ROOT / TARGET).read_text()
        self.cases: dict[str, dict[str, object]] = {}
        self.profile: dict[str, object] = {}
        self.limits: dict[str, float] = {}
        self.began = time.time()

    def run(self) -> None:
        if self.device.kind != "cuda" and self.options.devices == "auto":
            print("no GPU is visible here; this proves the CPU path only")
        self.describe()
        first = self.case("baseline", self.source, "ok")
        again = self.case("baseline again, same seed", self.source, "ok")
        self.cases["baseline again, same seed"]["difference"] = difference(first, again)
        loser = re.sub(
            r"^UNEMBEDDING_LR = \S+", "UNEMBEDDING_LR = 1e-6", self.source, flags=re.M
        )
        worse = self.case("a loser (unembedding learning rate 1e-6)", loser, "ok")
        name = "a loser (unembedding learning rate 1e-6)"
        delta = difference(first, worse)
        self.cases[name]["difference"] = delta
        self.cases[name]["as_expected"] = delta is not None and delta > 0
        self.case("a crash", self.broken("raise RuntimeError('on purpose')"), "assert")
        self.case("a NaN", self.broken("run.report(float('nan'))"), "nan")
        oom = "import torch; torch.empty(2**50, dtype=torch.uint8, device=run.device)"
        self.case("out of memory", self.broken(oom), "oom-train")
        hang = "import time; [time.sleep(1) for _ in range(10**6)]"
        limits = {**self.limits, "start": 30.0}
        self.case("a hang", self.broken(hang), "timeout-start", limits)
        self.case("after all that, the baseline", self.source, "ok")

    def broken(self, statement: str) -> str:
        assert self.source.count(HEAD) == 1, f"{TARGET} has no single {HEAD!r}"
        return self.source.replace(HEAD, f"{HEAD}    {statement}\n")

    def describe(self) -> None:
        result = self.phase("describe", self.source, {"start": 300, "prepare": 3600})
        if not result.ok:
            sys.exit(
                f"describe failed: {result.outcome} {result.message}\n{result.log_tail}"
            )
        self.profile = dict(result.description)
        self.limits = {k: float(v) for k, v in self.profile["limits"].items()}
        if self.budget.unit == "seconds":
            self.limits["train"] = self.budget.amount * 1.2 + 60
        for line in self.profile["lines"]:
            print(f"  {line}")

    def case(self, name, source, expected, limits=None):
        print(f"{name} ...", flush=True)
        began = time.time()
        result = self.phase("train", source, limits or self.limits)
        self.cases[name] = {
            "outcome": str(result.outcome),
            "expected": expected,
            "as_expected": str(result.outcome) == expected,
            "message": result.message.splitlines()[0] if result.message else "",
            "metrics": dict(result.metrics),
            "summary": dict(result.summary),
            "seconds": {key: round(value, 2) for key, value in result.seconds.items()},
            "wall_seconds": round(time.time() - began, 2),
            "device_memory_mb_after": memory_used(self.device),
        }
        print(f"  {result.outcome} {dict(result.metrics)} {result.message}", flush=True)
        return result

    def phase(self, phase, source, limits):
        from autoresearch_plugin import patch
        from autoresearch_plugin.executors.local import scratch_dir
        from autoresearch_plugin.paths import data_dir, state_dir
        from autoresearch_plugin.trial import TrialSpec

        with scratch_dir(state_dir(ROOT)) as scratch:
            target = scratch / "train.py"
            target.write_bytes(source.encode())
            spec = TrialSpec(
                trial_id="proof",
                phase=phase,
                source=str(target),
                source_sha256=patch.sha256(source),
                profile=self.options.profile,
                seed=7,
                budget=self.budget,
                limits=limits,
                threads=self.device.threads,
                device="cuda" if self.device.kind == "cuda" else "cpu",
                data_dir=str(data_dir(ROOT)),
                scratch=str(scratch),
                checkpoint=str(scratch / "checkpoint.safetensors"),
            )
            if phase == "describe":
                return self.executor.run(spec, self.device)
            result = self.executor.trial(spec, self.device, evaluates=True)
            return replace(result, log_tail=result.log_tail[-2000:])

    def write(self) -> Path:
        today = datetime.date.today().isoformat()
        safe = re.sub(r"[^A-Za-z0-9]+", "-", self.device.name).strip("-")
        path = self.options.output or ROOT / f"docs/benchmarks/gpu/{safe}-{today}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "date": today,
            "commit": commit(),
            "device": self.device.name,
            "budget": str(self.budget),
            "profile": self.profile.get("profile", self.options.profile),
            "fingerprint": self.profile["fingerprint"],
            "sandbox": "none",
            "total_seconds": round(time.time() - self.began, 1),
            "cases": self.cases,
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        return path


def difference(first, second) -> float | None:
    if not (first.ok and second.ok):
        return None
    return second.metrics["val_bpb"] - first.metrics["val_bpb"]


def memory_used(device) -> float | None:
    """MiB in use on the GPU by anybody, from outside torch."""
    if device.kind != "cuda":
        return None
    command = ["nvidia-smi", f"--id={device.visible or 0}"]
    query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            [*command, *query], capture_output=True, text=True, timeout=30
        )
        return float(done.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
