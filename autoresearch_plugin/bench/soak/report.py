"""A soak from its options to its figures."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autoresearch_plugin.bench.soak import timing
from autoresearch_plugin.bench.soak.driver import Driver, Options, Record, to_stderr
from autoresearch_plugin.bench.soak.examine import Findings, findings, spend_error
from autoresearch_plugin.bench.soak.model import Model, Served
from autoresearch_plugin.bench.soak.project import Project
from autoresearch_plugin.errors import SettingsError

FEWEST = 8  # candidates, so that both parts have some
CALLS = (10, 100, 250, 500, 1000, 2000)  # whose prompts are weighed


def soak(options: Options, folder: Path | None = None) -> dict[str, Any]:
    """Run a soak; its figures. Without `folder` nothing of it stays, and after Ctrl-C
    or SIGTERM nothing of it runs.

    Raises:
        SettingsError: a size that makes no sense, a folder in use, no git.
        InfrastructureError: a session gets no further.
    """
    _check(options)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, before)
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="autoresearch-soak-")
            folder = Path(stack.enter_context(temporary))
        project = Project(folder.resolve(), options.seconds)
        model = stack.enter_context(Model(options.seed))
        began = time.time()
        record = Driver(project, model, options, to_stderr).run()
        seconds = time.time() - began
        to_stderr(f"examining the ledger after {seconds:.0f} s")
        return _figures(options, project, model.calls, record, seconds)


def _check(options: Options) -> None:
    if options.candidates < FEWEST:
        raise SettingsError(
            f"--candidates {options.candidates}: give {FEWEST} or more, some of them "
            "come from a program and the rest from a model."
        )
    if options.lanes < 1 or options.kills < 0 or not 0.05 <= options.seconds <= 3600:
        raise SettingsError(
            f"--lanes {options.lanes} --kills {options.kills} --seconds "
            f"{options.seconds:g}: give a lane or more, no negative number of kills, "
            "and runs of 0.05 to 3600 seconds."
        )


def _figures(
    options: Options,
    project: Project,
    served: Sequence[Served],
    record: Record,
    seconds: float,
) -> dict[str, Any]:
    found = findings(project, served, options.candidates)
    queries = timing.query_times(project)
    decided = project.query(
        "SELECT state, count(*) AS n FROM candidates GROUP BY state ORDER BY state"
    )
    prompts = [round(call.prompt_tokens) for call in served]
    return {
        "candidates": options.candidates,
        "lanes": options.lanes,
        "kills": sum(record.kills.values()),
        "llm_faults": sum(bool(call.fault) for call in served),
        "lost": len(found.lost),
        "twice": len(found.twice),
        "without_evidence": len(found.without_evidence),
        "spend_error": round(
            spend_error(project, served, options.lanes * record.kills["controller"]), 9
        ),
        "rss_growth_mb": timing.rss_growth(record),
        "prompt_tokens_10": prompts[min(9, len(prompts) - 1)],
        "prompt_tokens_last": prompts[-1],
        "query_ms": max(queries.values()),
        "schedule_ratio": round(
            timing.schedule_ratio(project, record, options.lanes), 3
        ),
        "request_ms": timing.request_time(project),
        "seconds": round(seconds),
        "run_seconds": options.seconds,
        "starts": len(record.lives),
        "killed": dict(sorted(record.kills.items())),
        "disk_full": len(record.faults) - sum(record.kills.values()),
        "llm_calls": len(served),
        "prompt_tokens_at": {n: prompts[n - 1] for n in CALLS if n <= len(prompts)},
        "states": {row["state"]: row["n"] for row in decided},
        "queries": queries,
        "findings": _words(found),
    }


def _words(found: Findings) -> list[str]:
    return [*found.lost, *found.twice, *found.without_evidence]


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for key, value in figures.items():
        if key == "findings":
            yield from (f"  {text}" for text in value)
        elif isinstance(value, Mapping):
            yield f"{key:<19} " + ", ".join(f"{k} {v}" for k, v in value.items())
        else:
            yield f"{key:<19} {value}"


def as_json(figures: Mapping[str, Any]) -> str:
    """A list of one object, as the other benchmarks print."""
    return json.dumps([figures], indent=1)
