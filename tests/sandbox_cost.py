"""What the sandbox adds to the start of a process, at each level this machine allows.

Starts Python bare and behind the sandbox in turn (neighbours in time see the same
machine), and prints the medians of the paired differences. Exit code 1 if the strongest
level costs more than the limit.

    python tests/sandbox_cost.py [PAIRS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from autoresearch_plugin.sandbox import canary, policy  # noqa: E402
from autoresearch_plugin.sandbox.probe import Sandbox, probe  # noqa: E402

LIMIT_MS = 50.0
PAIRS = 25
COMMAND = (sys.executable, "-I", "-S", "-c", "pass")
LEFT_OUT = ((), ("userns",), ("landlock",), ("userns", "landlock", "seccomp", "uid"))


def main(pairs: int = PAIRS) -> int:
    """Measure and print; the exit code says whether the limit holds."""
    began = time.perf_counter()
    probe()
    print(f"probe {1e3 * (time.perf_counter() - began):.0f} ms")
    costs = []
    for left_out in LEFT_OUT:
        with tempfile.TemporaryDirectory() as folder:
            costs.append(cost(probe(left_out), Path(folder), pairs))
    return int(costs[0] > LIMIT_MS)


def cost(sandbox: Sandbox, directory: Path, pairs: int) -> float:
    """Median milliseconds that `sandbox` adds; prints them."""
    began = time.perf_counter()
    broken = canary.check(sandbox, directory)
    canary_ms = 1e3 * (time.perf_counter() - began)
    out = directory / "out"
    out.mkdir()
    inside = [*policy.prefix(sandbox, directory), "--write", str(out), "--", *COMMAND]
    rows = [(start(COMMAND), start(inside)) for _ in range(pairs)]
    middle = statistics.median(held - bare for bare, held in rows)
    bare = statistics.median(bare for bare, _ in rows)
    print(
        f"{sandbox.words}: +{middle:.1f} ms on {bare:.1f} ms bare ({pairs} pairs); "
        f"canary {canary_ms:.0f} ms, {'; '.join(broken) or 'nothing got through'}"
    )
    return middle


def start(words: Sequence[str]) -> float:
    """Milliseconds from the start of a command to its end."""
    began = time.perf_counter()
    subprocess.run(words, check=True, timeout=60)
    return 1e3 * (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
