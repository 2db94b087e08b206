"""Verbs about the machine and the tool: doctor, gc, power, bench."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.verbs.project import (
    LEDGER,
    is_there,
    last_research,
    open_ledger,
    settings_of,
)

if TYPE_CHECKING:
    import argparse


def doctor(options: argparse.Namespace) -> Iterator[str]:
    """Check what a session needs; exit code 1 if something is missing."""
    from autoresearch_plugin import doctor as checks

    for check in checks.run(options.root, settings_of(options.root)):
        yield f"{'ok  ' if check.ok else 'FAIL'} {check.name:<12} {check.text}"
        if not check.ok:
            yield f"     {'':<12} {check.fix}"
            options.exit = 1 if check.needed else getattr(options, "exit", 0)


def gc(options: argparse.Namespace) -> Iterator[str]:
    """Remove what killed and earlier sessions have left."""
    from autoresearch_plugin.housekeeping import gc_lines
    from autoresearch_plugin.session import controller_lock

    if not is_there(options.root / LEDGER):
        open_ledger(options.root)  # says that there is none
    with closing(controller_lock(options.root)):
        yield from gc_lines(
            options.root, lambda: open_ledger(options.root), options.dry_run
        )


def power(options: argparse.Namespace) -> Iterator[str]:
    """How likely a gain of this size is proven, and what that costs."""
    from autoresearch_plugin.bench import power as bench_power

    sigma, seconds = options.sigma, options.seconds or 300.0
    where, paired = "as given", False
    if sigma is None:
        sigma, seconds, paired = _measured_noise(options.root)
        seconds, where = options.seconds or seconds, "measured, in the ledger"
    if not (0 < sigma < math.inf and 0 < seconds < math.inf):
        raise SettingsError("--sigma and --seconds must be above 0.")
    yield from bench_power.lines(options.gain, sigma, seconds, where, paired)


def _measured_noise(root: Path) -> tuple[float, float, bool]:
    """Sigma, seconds of a run, and whether runs are paired, of the last session."""
    from autoresearch_plugin import comparing

    research = last_research(root)
    with closing(research.ledger) as ledger:
        head = research.head()
        seconds = ledger.recent_seconds(research.session) or [300.0]
        unpaired = comparing.unpaired_noise(research, head).sigma
        pairs = comparing.paired_noise(research, head).sigma
    paired = research.paired and pairs < unpaired * math.sqrt(2)
    return pairs if paired else unpaired, statistics.median(seconds), paired


def bench(options: argparse.Namespace) -> Iterator[str]:
    """A table of rules on the same simulated sessions, or the figures of a soak."""
    if options.what == "soak":
        yield from _soak(options)
        return
    from autoresearch_plugin.bench import policies, table, worlds

    names = options.world or ["reference"]
    if "all" in names:
        names = list(worlds.WORLDS)
    places = [table.Place(name, options.gpus, options.gpu_hours) for name in names]
    rules = options.rule or list(policies.POLICIES)
    cells = table.measure(places, rules, options.sessions)
    if options.json:
        yield json.dumps([asdict(cell) for cell in cells], indent=1)
        return
    yield f"{options.sessions} sessions a line; gains are true ones per GPU-hour"
    yield table.HEADER
    for cell in cells:
        yield table.line(cell)


def _soak(options: argparse.Namespace) -> Iterator[str]:
    """Exit code 1 if something was lost, doubled or decided without evidence."""
    from autoresearch_plugin.bench.soak import report
    from autoresearch_plugin.bench.soak.driver import Options

    names = ("candidates", "lanes", "kills", "seconds", "seed")
    asked = Options(**{name: getattr(options, name) for name in names})
    figures = report.soak(asked, options.folder)
    yield from [report.as_json(figures)] if options.json else report.lines(figures)
    options.exit = 1 if figures["findings"] or figures["spend_error"] > 0 else 0
