"""How well lanes were used, and what the ledger's queries take on a full ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from autoresearch_plugin.bench.soak import faults
from autoresearch_plugin.bench.soak.driver import Life, Record
from autoresearch_plugin.bench.soak.project import Project
from autoresearch_plugin.devices import discover
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.requesting import build_request
from autoresearch_plugin.session import join_session
from autoresearch_plugin.settings import remembered

REPEATS = 5
LLM_OUTAGE = 5.0  # seconds without a good answer, after a failed call
WARM_SECONDS = 20.0  # after which a controller has imported all it needs
Span = tuple[float, float]


def schedule_ratio(project: Project, record: Record, lanes: int) -> float:
    """Time that lanes were there over time that they spent in runs.

    A controller's life counts from its first run to its last one, or to the moment when
    it was killed: what comes between is the outage that was injected. A lane that was
    killed is away until its successor begins a run. Left out, with what ran in it, is
    what the model's faults made of it: from the first of several failed calls to the
    next good one, where that took longer than `LLM_OUTAGE`.
    """
    silent = _silences(project)
    rows = project.query("SELECT owner, started, finished, state FROM trials")
    died = {str(x.pid): x.at for x in record.faults if x.kind == "worker"}
    there = busy = 0.0
    for life in record.lives:
        mine = [row for row in rows if life.began <= row["started"] <= life.ended]
        if not mine:
            continue
        first = min(row["started"] for row in mine)
        last = _end_of(life, mine, record)
        there += lanes * _without(silent, first, last) - _outages(mine, died, last)
        for row in mine:
            pid = row["owner"].partition(":")[0]
            until = row["finished"] or died.get(pid, last)
            busy += _without(silent, row["started"], min(until, last))
    return there / busy if busy else float("nan")


def _silences(project: Project) -> list[Span]:
    """When the model did not answer: one call failed, and so did all until the end."""
    found: list[Span] = []
    since = None
    for row in project.query("SELECT status, created FROM llm_calls ORDER BY created"):
        if row["status"] != "ok":
            since = since or row["created"]
        elif since is not None:
            found.append((since, row["created"]))
            since = None
    return [(a, b) for a, b in found if b - a > LLM_OUTAGE]


def _without(silent: Sequence[Span], begin: float, end: float) -> float:
    """Seconds between two moments that lie in none of these spans."""
    covered = sum(max(0.0, min(b, end) - max(a, begin)) for a, b in silent)
    return max(0.0, end - begin - covered)


def _end_of(life: Life, rows: Sequence[Mapping[str, Any]], record: Record) -> float:
    """When a life's lanes stopped working: at a full disk, a kill, or the last run."""
    stops = [
        x.at
        for x in record.faults
        if x.kind == faults.DISK and life.began <= x.at <= life.ended
    ]
    last = life.ended if life.killed else max(r["finished"] or 0.0 for r in rows)
    return min([last, *stops])


def _outages(
    rows: Sequence[Mapping[str, Any]], died: Mapping[str, float], last: float
) -> float:
    """Seconds in which a killed lane had no successor yet."""
    begins: dict[str, float] = {}
    for row in rows:
        pid = row["owner"].partition(":")[0]
        begins[pid] = min(row["started"], begins.get(pid, row["started"]))
    total, left = 0.0, sorted(begins.values())
    for at in sorted(died[pid] for pid in begins if pid in died):
        successor = next((x for x in left if x > at), last)
        if successor in left:
            left.remove(successor)
        total += max(0.0, min(successor, last) - at)
    return total


def rss_growth(record: Record) -> float | None:
    """By how many MB the controller's memory grew: its most less its least, once a
    controller had its imports; None when none lived so long."""
    sizes = [
        mb
        for at, _, mb in record.memory
        for life in record.lives
        if life.began + WARM_SECONDS <= at <= life.ended and mb
    ]
    return round(max(sizes) - min(sizes), 1) if sizes else None


def query_times(project: Project) -> dict[str, float]:
    """CPU milliseconds of each question of the loop, the screen and the proposer."""
    with closing(Ledger(project.ledger)) as ledger:
        row = ledger.sessions()[-1]
        session, head, fingerprint = row["id"], row["head"], row["fingerprint"]
        last = ledger.candidates(session)[-1]["id"]
        asked: dict[str, Callable[[], object]] = {
            "stopping": lambda: ledger.stopping(session),
            "unit_counts": lambda: ledger.unit_counts(session),
            "units_running": lambda: ledger.units_running(session),
            "decided_count": lambda: ledger.decided_count(session),
            "screened_count": lambda: ledger.screened_count(head),
            "head_trials": lambda: ledger.head_trials(head),
            "candidate": lambda: ledger.candidate(last),
            "candidate_trials": lambda: ledger.candidate_trials(last),
            "generated_files": lambda: ledger.generated_files(session),
            "kept_evidence": lambda: ledger.kept_evidence(session, but=last),
            "noise_trials": lambda: ledger.noise_trials(fingerprint),
            "origins": lambda: ledger.origins(fingerprint),
            "fingerprint_trials": lambda: ledger.fingerprint_trials(fingerprint),
            "midway_trials": lambda: ledger.midway_trials(fingerprint),
            "ideas": lambda: ledger.ideas(fingerprint),
            "results": lambda: ledger.results(session),
            "lanes": lambda: ledger.lanes(session),
            "events": lambda: ledger.events(session, 10**9),
            "recent_seconds": lambda: ledger.recent_seconds(session),
            "reserve": lambda: ledger.reserve(session, 1.0, 0.0),
        }
        return {name: _milliseconds(ask) for name, ask in asked.items()}


def request_time(project: Project) -> float:
    """CPU milliseconds to read and put together all that a proposer is told."""
    with closing(Ledger(project.ledger)) as ledger:
        row = ledger.sessions()[-1]
    settings = remembered(row["settings"])
    device = discover(os.environ, "cpu")[0]
    research = join_session(project.path, settings, row["id"], device, "soak")
    with closing(research.ledger):
        return _milliseconds(lambda: build_request(research))


def _milliseconds(ask: Callable[[], object]) -> float:
    """CPU time, the least of a few: the machine has other work, and the pages of a
    ledger that is in use are in memory."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.thread_time()
        ask()
        best = min(best, time.thread_time() - began)
    return round(1000 * best, 2)
