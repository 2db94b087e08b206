"""Tables of docs/benchmarks/judge.md.

    python tests/acceptance/judge_tables.py measure cells.jsonl     # goes on if ended
    python tests/acceptance/judge_tables.py tables cells.jsonl

One process, so that it can run beside other work. Sessions are those of
`autoresearch bench judge`: seeds 0 to 299.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autoresearch_plugin import judge
from autoresearch_plugin.bench import audit, table
from autoresearch_plugin.bench.explore import Explore
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.policies import POLICIES
from autoresearch_plugin.bench.simulation import Policy, Session
from autoresearch_plugin.bench.table import Place, Tally
from autoresearch_plugin.bench.worlds import WORLDS

SESSIONS = 300
REFERENCE = Place()
LONG = (Place(gpu_hours=200.0), Place(gpus=8, gpu_hours=200.0))
BOUNDS = (1.25, 1.5, 3.0, 5.0, 10.0)
PAIRED_WORLDS = ("shared seeds", "half-shared seeds", "no-ops only", "very noisy")
BASIC = ("greedy", "greedy, stops early", "default")
PAIRED = ("default, paired", "default, no bundles, paired")
SHIPPED = ("default", "default, no bundles", *PAIRED)


def default_at(bound: float, alarm: float = math.inf) -> Callable[[], Policy]:
    """The default rule with another bound for a keep."""
    return lambda: Judged(replace(judge.DEFAULT, keep_e=bound, alarm=alarm))


VARIANTS: dict[str, Callable[[], Policy]] = {
    **POLICIES,
    **{f"default at {bound:g}": default_at(bound) for bound in BOUNDS},
    "default, never on guard": default_at(2.0),
    "explore at 4": lambda: Explore(block=11, margin=0.6, rounds=1, keep_e=4.0),
    "explore, blocks of 19": lambda: Explore(block=19, margin=0.6, rounds=1),
    "explore, once at the end": lambda: Explore(block=999, greedy_bar=True),
    "default, repeats stop": lambda: Judged(stop_repeats=True),
}


def jobs() -> Iterator[tuple[Place, str]]:
    """What is measured, the most wanted first."""
    for rule in VARIANTS:
        yield REFERENCE, rule
    for rule in (*BASIC, *PAIRED):
        for world in PAIRED_WORLDS:
            yield Place(world), rule
    for world in WORLDS:
        for rule in (*BASIC, "default, no bundles"):
            yield Place(world), rule
    for place in reversed(LONG):
        for rule in (*BASIC, "default, no bundles"):
            yield place, rule


# ----------------------------------------------------------------------- measuring


def measure(file: Path) -> None:
    """Append what is missing, a line for each place and rule."""
    done = read(file) if file.exists() else {}
    for place, rule in dict.fromkeys(jobs()):
        if (place, rule) not in done:
            tally = sum((_session(place, rule, seed) for seed in seeds()), Tally())
            _append(file, {"place": asdict(place), "rule": rule, **vars(tally)})
    for runs in (3, 4, 6):
        for world, paired in (("reference", False), ("shared seeds", True)):
            name = f"audit {world} {runs}"
            if (Place(world), name) not in done:
                found = audit.coverage(Place(world), runs, seeds(), paired)
                _append(
                    file, {"place": asdict(Place(world)), "rule": name} | asdict(found)
                )


def seeds() -> range:
    """The seeds of every cell."""
    return range(SESSIONS)


def _session(place: Place, rule: str, seed: int) -> Tally:
    world, policy = WORLDS[place.world], VARIANTS[rule]()
    rng = random.Random(seed)
    return Tally.of(Session(world, policy, place.gpus, place.gpu_hours, rng).run())


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a") as out:
        print(json.dumps(row), file=out)


def read(file: Path) -> dict[tuple[Place, str], Any]:
    """Cells by place and rule: tallies, and dicts of the audits."""
    cells: dict[tuple[Place, str], Any] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        place, rule = Place(**row.pop("place")), row.pop("rule")
        for name in ("counts", "spent"):
            if name in row:
                row[name] = Counter(row[name])
        cells[place, rule] = row if rule.startswith("audit") else Tally(**row)
    return cells


# -------------------------------------------------------------------------- tables


def tables(cells: dict[tuple[Place, str], Any]) -> Iterator[str]:
    """Markdown."""
    head = (
        "| true gain, × greedy | × greedy that stops early | false keeps | misses "
        "| decided per GPU-hour | reported − true, σ |"
    )
    for place in dict.fromkeys(place for place, _ in cells):
        yield f"\n| {place.world}, {place.gpus} GPU, {place.gpu_hours} h {head}"
        for (where, rule), tally in cells.items():
            known = all((place, name) in cells for name in table.REFERENCES)
            if where == place and isinstance(tally, Tally) and known:
                yield _row(cells, place, rule, tally)
    yield from _details(cells)
    yield from _grades(cells)


def _row(
    cells: dict[tuple[Place, str], Any], place: Place, rule: str, tally: Tally
) -> str:
    references = {name: cells[place, name] for name in table.REFERENCES}
    cell = tally.cell(place, rule, references)
    gains = (cell.gain_vs_greedy, cell.gain_vs_greedy_early_stop)
    numbers = ["-" if x is None else f"{x:.2f}" for x in gains]
    rates = (cell.false_keep_rate, cell.miss_rate)
    numbers += ["-" if x is None else f"{100 * x:.1f} %" for x in rates]
    numbers += [
        f"{cell.decisions_per_gpu_hour:.1f}",
        f"{cell.reported_minus_true:+.2f}",
    ]
    return f"| {rule} | {' | '.join(numbers)} |"


def _details(cells: dict[tuple[Place, str], Any]) -> Iterator[str]:
    for (place, rule), tally in cells.items():
        name = f"{place.world}, {place.gpus} x {place.gpu_hours} h, {rule}"
        if not isinstance(tally, Tally):
            yield f"{name}: {tally}"
            continue
        counts, hours = tally.counts, sum(tally.spent.values())
        spent = ", ".join(f"{k} {100 * v / hours:.0f}" for k, v in tally.spent.items())
        power = " ".join(
            f"{100 * counts[f'kept {i}'] / max(1, counts[f'tried {i}']):.1f}"
            for i in range(len(table.GAINS) + 1)
        )
        firsts = [
            statistics.median(column) for column in zip(*tally.firsts, strict=True)
        ]
        earliest = min(keep for _, keep in tally.firsts)
        grades = " ".join(
            f"{name} {counts[f'false {name}']}/{counts[f'graded {name}']}"
            for _, name, _ in judge.GRADES
        )
        riders = f"{_percent(tally.idle_parts, tally.parts)} of {tally.parts}"
        yield (
            f"\n{name}: per 100 {100 * tally.keeps / tally.decided:.2f} kept, "
            f"{100 * tally.false_keeps / tally.decided:.2f} falsely; losers "
            f"{_share(counts, 'losers of one run', 'losers')} at once; "
            f"{spent}; first discard {firsts[0]:.1f}, keep {firsts[1]:.1f} min "
            f"(earliest {earliest:.1f})\n  power {power}\n  grades {grades}\n"
            f"  parts of bundles that gain nothing alone: {riders}"
        )


def _grades(cells: dict[tuple[Place, str], Any]) -> Iterator[str]:
    """False keeps by grade, of what ships and of it without bundles."""
    for title, where in (("all worlds", None), ("very noisy", "very noisy")):
        counts: Counter[str] = Counter()
        for (place, rule), tally in cells.items():
            wanted = where or place.world
            if rule in SHIPPED and place.world == wanted != "no-ops only":
                counts += tally.counts
        words = [
            f"{name} {_share(counts, f'false {name}', f'graded {name}')}"
            for _, name, _ in judge.GRADES
        ]
        total = sum(counts[f"graded {name}"] for _, name, _ in judge.GRADES)
        yield f"\ngrades, {title}: {', '.join(words)} false of {total} keeps"


def _share(counts: Counter[str], part: str, whole: str) -> str:
    return _percent(counts[part], counts[whole])


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / max(1, whole):.1f} %"


def main() -> None:
    """Measure, or tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["measure", "tables"])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.what == "measure":
        measure(options.file)
    else:
        print("\n".join(tables(read(options.file))))


if __name__ == "__main__":
    main()
