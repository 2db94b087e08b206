"""Is the `cpu` profile of a good size? Depth and context, at equal CPU time.

    python tests/acceptance/profile_sizes.py sizes.jsonl --seeds 4 --steps 340 1400
    python tests/acceptance/profile_sizes.py sizes.jsonl --table

Each variant is the core with another line in profiles.py, and trains as many steps as
cost what `--steps` of the profile cost. `--jobs` runs go on at once. The first line of
the file holds what a step of each costs, then comes a line a run; what is there already
is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nanochat_core

CORE = Path(nanochat_core.__file__).parent
BASE = "Config(1024, 128, depth=3, aspect_ratio=21"
BATCH = 'device_batch_size=8), "cpu",\n    {"unit": "steps", "amount": 700}'
VARIANTS = {  # name: depth, context; the width stays 64, a step 1,024 tokens
    "depth 3, context 128": (3, 128),
    "depth 2, context 128": (2, 128),
    "depth 3, context 64": (3, 64),
    "depth 2, context 64": (2, 64),
}
PROBES = (60, 260)  # steps; the difference is free of the start
FOUND = re.compile(r"^val_bpb: +([\d.]+)$", re.MULTILINE)


def write_core(folder: Path, depth: int, context: int) -> None:
    """The core, with another profile `cpu`."""
    shutil.copytree(CORE, folder / "nanochat_core")
    path = folder / "nanochat_core" / "profiles.py"
    text = path.read_text()
    assert BASE in text
    assert BATCH in text
    ratio = {2: 32, 3: 21}[depth]
    config = f"Config(1024, {context}, depth={depth}, aspect_ratio={ratio}"
    batch = BATCH.replace("=8)", f"={1024 // context})")
    path.write_text(text.replace(BASE, config).replace(BATCH, batch))


def train(folder: Path, data: Path, steps: int, seed: int) -> tuple[float, float]:
    """Bits per byte, and the CPU seconds of all processes."""
    words = [sys.executable, "-m", "nanochat_core", "--profile", "cpu"]
    words += ["--steps", str(steps), "--seed", str(seed), "--data-dir", str(data)]
    environ = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, cwd=folder, env=environ
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    found = FOUND.search(said)
    if found is None:
        raise SystemExit(f"{' '.join(words)} said no val_bpb:\n{said}")
    return float(found[1]), usage.ru_utime + usage.ru_stime


def prices(places: Mapping[str, Path], data: Path, jobs: int) -> dict[str, float]:
    """CPU seconds of a step, while as many others run as will later."""
    train(next(iter(places.values())), data, 3, 0)  # makes the data
    todo = [(name, steps) for _ in range(2) for name in places for steps in PROBES]
    with ThreadPoolExecutor(jobs) as pool:
        took = pool.map(lambda one: train(places[one[0]], data, one[1], 0)[1], todo)
        least: dict[tuple[str, int], float] = {}
        for one, seconds in zip(todo, took, strict=True):
            least[one] = min(seconds, least.get(one, seconds))
    short, long = PROBES
    return {n: (least[n, long] - least[n, short]) / (long - short) for n in places}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """What was measured so far, the prices first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """A line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def measure(path: Path, steps: Sequence[int], seeds: int, jobs: int) -> None:
    """Append what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in VARIANTS}
        for name, size in VARIANTS.items():
            places[name].mkdir()
            write_core(places[name], *size)
        data = Path(folder) / "data"
        if not rows_of(path):
            append(path, {"price": prices(places, data, jobs)})
        first, *rows = rows_of(path)
        price = first["price"]
        base = price[next(iter(VARIANTS))]
        done = {(row["variant"], row["budget"], row["seed"]) for row in rows}
        every = itertools.product(steps, range(seeds), VARIANTS)

        def run(one: tuple[int, int, str]) -> None:
            budget, seed, name = one
            count = round(budget * base / price[name])
            score, cpu = train(places[name], data, count, seed)
            row = {"variant": name, "budget": budget, "seed": seed, "steps": count}
            append(path, {**row, "val_bpb": score, "cpu": round(cpu, 1)})

        todo = [one for one in every if (one[2], one[0], one[1]) not in done]
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(run, todo))


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each variant and budget: level, spread, and what a step costs."""
    yield "| variant | budget | steps | seeds | val_bpb | sd of seeds | CPU s a run |"
    yield "|---|---|---|---|---|---|---|"
    for budget in sorted({row["budget"] for row in rows}):
        for name in VARIANTS:
            mine = [r for r in rows if (r["variant"], r["budget"]) == (name, budget)]
            if len(mine) < 2:
                continue
            scores = [row["val_bpb"] for row in mine]
            steps = statistics.fmean(row["steps"] for row in mine)
            cpu = statistics.fmean(row["cpu"] for row in mine)
            mean, sd = statistics.fmean(scores), statistics.stdev(scores)
            yield (
                f"| {name} | {budget} | {steps:.0f} | {len(mine)} | {mean:.4f} "
                f"| {sd:.4f} | {cpu:.0f} |"
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[340])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(rows_of(arguments.file)[1:])))
        return
    measure(arguments.file, arguments.steps, arguments.seeds, arguments.jobs)


if __name__ == "__main__":
    main()
