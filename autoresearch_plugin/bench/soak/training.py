"""A stand-in for a training: it keeps docs/contract.md, sleeps, and reports a number
whose truth is known.

    python training.py --seconds 1 --spec FILE

Its target has four knobs; the metric is `truth` of them plus noise. A run's noise is
mostly that of its seed, so that runs of one seed pair well. Standard library only, and
started without `site`: hundreds of runs a minute shall cost next to nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TARGET = '''"""A bowl with four knobs."""

ALPHA = 0.2  # a knob; range 0..1
BETA = 0.8  # another; range 0..1
GAMMA = 0.3  # another; range 0..1
DELTA = 0.9  # the one that matters least; range 0..1
'''
KNOB = re.compile(r"^([A-Z]+) = (\S+)", re.MULTILINE)
BEST = {"ALPHA": 0.62, "BETA": 0.35, "GAMMA": 0.71, "DELTA": 0.5}
WEIGHT = {"ALPHA": 1.0, "BETA": 0.7, "GAMMA": 0.4, "DELTA": 0.05}
LEVEL = 2.0  # of the metric at its best
NOISE = 0.02  # sd of a run that its seed makes; a quarter of it is the candidate's own
STEPS = 4


def truth(knobs: Mapping[str, float]) -> float:
    """The metric without its noise; lower is better."""
    off = (WEIGHT[k] * float(knobs[k] - BEST[k]) ** 2 for k in BEST)
    return LEVEL + sum(off)


def main(words: Sequence[str]) -> int:
    """One phase of a run."""
    seconds = float(words[words.index("--seconds") + 1])
    with open(words[words.index("--spec") + 1]) as file:  # noqa: PTH123
        spec = json.load(file)

    def emit(event: str, **data: Any) -> None:
        os.write(
            spec["events_fd"], json.dumps({"event": event, **data}).encode() + b"\n"
        )

    if spec["phase"] == "describe":
        describe(emit, seconds)
        return 0
    try:
        emit("result", metrics={"score": score(spec, seconds, emit)})
    except Exception as error:
        emit("error", outcome="assert", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


def describe(emit: Callable[..., None], seconds: float) -> None:
    """What an experiment is here."""
    sd = NOISE / LEVEL
    emit(
        "result",
        metrics={},
        schema=1,
        metric="score",
        direction="min",
        evaluates=False,
        charged=False,
        budget={"unit": "steps", "amount": STEPS},
        limits=dict.fromkeys(
            ("start", "prepare", "warmup", "train"), 60 + 10 * seconds
        ),
        noise={"unpaired": 1.03 * sd, "paired": 0.354 * sd, "df": 12},
        fingerprint={"core": hashlib.sha256(TARGET.encode()).hexdigest()},
        lines=[f"nothing is trained: a run sleeps {seconds:g} s"],
    )


def score(spec: dict[str, Any], seconds: float, emit: Callable[..., None]) -> float:
    """Sleep as long as a run takes; the knobs' truth with this run's noise."""
    with open(spec["source"], "rb") as file:  # noqa: PTH123
        raw = file.read()
    sha = hashlib.sha256(raw).hexdigest()
    assert sha == spec["source_sha256"], "the source is not the one of the spec"
    value = truth({name: float(text) for name, text in KNOB.findall(raw.decode())})
    emit("phase", phase="train")
    began = time.monotonic()
    amount = int(spec["budget"]["amount"])
    for step in range(1, amount + 1):
        time.sleep(max(0.0, began + seconds * step / amount - time.monotonic()))
        elapsed = time.monotonic() - began
        emit("step", step=step, tokens=step, loss=value, elapsed=elapsed)
    noise = random.Random(f"{spec['seed']}").gauss(0, NOISE)
    return value + noise + random.Random(f"{spec['seed']} {sha}").gauss(0, NOISE / 4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
