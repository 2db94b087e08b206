"""What the plugin costs a pytest run that does not use it: `make bench`.

Starts pytest on an empty directory, with and without the plugin in turn (neighbours in
time see the same machine), and prints the median of the paired differences. Exit code 1
if that is above the limit.

    python tests/startup_cost.py [PAIRS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MS = 50.0
PAIRS = 25
WITHOUT = ("-p", "no:autoresearch_plugin.plugin")


def main(pairs: int = PAIRS) -> int:
    """Measure and print; the exit code says whether the limit holds."""
    with tempfile.TemporaryDirectory() as folder:
        for words in ((), WITHOUT):  # caches of bytecode are there from now on
            start_up(Path(folder), *words)
        rows = [one_pair(Path(folder), number) for number in range(pairs)]
    differences = sorted(loaded - plain for loaded, plain in rows)
    middle = statistics.median(differences)
    low, high = interval(differences)
    print(f"{pairs} pairs, {sys.implementation.name} {sys.version.split()[0]}")
    for words, times in (
        ("without the plugin", [plain for _, plain in rows]),
        ("with the plugin", [loaded for loaded, _ in rows]),
    ):
        middle_time, best = statistics.median(times), min(times)
        print(f"pytest {words}: median {middle_time:.0f} ms, fastest {best:.0f} ms")
    print(
        f"difference: median {middle:.1f} ms (95 % interval {low:.1f} to {high:.1f}), "
        f"limit {LIMIT_MS:.0f} ms"
    )
    print(f"of which imports: {min(import_cost() for _ in range(10)):.1f} ms (fastest)")
    return int(middle >= LIMIT_MS)


def one_pair(folder: Path, number: int) -> tuple[float, float]:
    """Milliseconds with and without the plugin; who goes first alternates."""
    if number % 2:
        loaded = start_up(folder)
        return loaded, start_up(folder, *WITHOUT)
    plain = start_up(folder, *WITHOUT)
    return start_up(folder), plain


def start_up(folder: Path, *words: str) -> float:
    """Milliseconds of one pytest run that collects nothing (exit code 5)."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True)
    spent = 1000 * (time.perf_counter() - began)
    if done.returncode != 5:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout!r}")
    return spent


def import_cost() -> float:
    """Milliseconds for importing the plugin where pytest is imported already."""
    code = (
        "import pytest, time; began = time.perf_counter()\n"
        "import autoresearch_plugin.plugin, autoresearch_plugin.hookspecs\n"
        "print(1000 * (time.perf_counter() - began))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout)


def interval(values: list[float]) -> tuple[float, float]:
    """About 95 % for the median, from order statistics of sorted values."""
    half = round(0.98 * len(values) ** 0.5)
    middle = len(values) // 2
    return values[max(0, middle - half)], values[min(len(values) - 1, middle + half)]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
