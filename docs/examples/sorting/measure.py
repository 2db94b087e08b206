"""A training command that keeps docs/contract.md and measures how fast `sort` sorts.

    python measure.py --spec FILE

Its metric is `speed`: CPU time of a fixed sort over CPU time of the candidate's, on the
same random lists. The two take turns, so that a busy machine slows both. A step of the
budget is one list. A candidate that sorts wrongly has no speed; its outcome is
`assert`. Standard library only.
"""

import gc
import hashlib
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

LENGTH = 300  # numbers in a list
PHASES = ("start", "prepare", "warmup", "train")


def main():
    spec = json.loads(Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())

    def emit(event, **data):
        line = json.dumps({"event": event, **data}) + "\n"
        os.write(spec["events_fd"], line.encode())

    if spec["phase"] == "describe":
        describe(emit)
        return 0
    try:
        emit("result", metrics={"speed": speed(spec, emit)})
    except SyntaxError as error:
        emit("error", outcome="syntax", message=f"line {error.lineno}: {error.msg}")
    except ImportError as error:
        emit("error", outcome="import", message=str(error))
    except Exception as error:
        emit("error", outcome="assert", message=f"{type(error).__name__}: {error}")
    else:
        return 0
    return 1


def describe(emit):
    """What an experiment is here. There is no data to prepare."""
    emit(
        "result",
        metrics={},
        schema=1,
        metric="speed",
        direction="max",
        evaluates=False,
        charged=False,
        budget={"unit": "steps", "amount": 60},
        limits=dict.fromkeys(PHASES, 30),
        noise={"unpaired": 0.05, "paired": 0.05, "df": 12},
        fingerprint={
            "core": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
            "python": platform.python_version(),
            "device": platform.machine(),
        },
        lines=[f"random lists of {LENGTH} numbers; speed 1 is the sort in measure.py"],
    )


def speed(spec, emit):
    """CPU seconds of `reference` over those of the candidate's `sort`."""
    sort = load(spec)["sort"]
    lists = random.Random(spec["seed"])
    emit("phase", phase="warmup")
    timed(sort, lists)
    emit("phase", phase="train")
    gc.disable()
    totals, lists_sorted, began = [0.0, 0.0], 0, time.monotonic()
    while not spent(spec["budget"], lists_sorted, time.monotonic() - began):
        for i, seconds in enumerate(timed(sort, lists)):
            totals[i] += seconds
        lists_sorted += 1
    return totals[0] / totals[1]


def load(spec):
    """Run the target. What is hashed is what runs."""
    raw = Path(spec["source"]).read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    assert found == spec["source_sha256"], "the source is not the one of the spec"
    namespace = {"__name__": "sort"}
    exec(compile(raw, spec["source"], "exec"), namespace)
    return namespace


def spent(budget, steps, seconds):
    """Whether the budget is used up; one list is always sorted."""
    used = steps if budget["unit"] == "steps" else seconds
    return steps > 0 and used >= budget["amount"]


def timed(sort, lists):
    """CPU seconds of the reference and of the candidate on the next list."""
    numbers = [lists.randrange(10 * LENGTH) for _ in range(LENGTH)]
    given, seconds, answers = tuple(numbers), [], []
    for function in (reference, sort):
        before = time.process_time()
        answers.append(function(list(given)))
        seconds.append(time.process_time() - before)
    assert answers[1] == sorted(given), f"a wrong order: {answers[1]!r:.60}"
    return seconds


def reference(numbers):
    """Insertion sort, the speed to which all others are compared."""
    for i in range(1, len(numbers)):
        number = numbers[i]
        while i > 0 and numbers[i - 1] > number:
            numbers[i] = numbers[i - 1]
            i -= 1
        numbers[i] = number
    return numbers


if __name__ == "__main__":
    sys.exit(main())
