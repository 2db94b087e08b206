"""What the ledger, git and the model's server say after a soak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearch_plugin.bench.soak.model import CHARGED, Served
from autoresearch_plugin.bench.soak.project import DECIDED, Project

Row = Mapping[str, Any]
CENT = 1e-9  # dollars that rounding may make


@dataclass(frozen=True)
class Findings:
    """Each fault in words; all lists are empty when all is well."""

    lost: list[str]
    twice: list[str]
    without_evidence: list[str]


def findings(project: Project, served: Sequence[Served], wanted: int) -> Findings:
    """Compare what was asked for with what there is."""
    rows = project.query("SELECT * FROM candidates WHERE kind='generated' ORDER BY id")
    return Findings(
        list(_lost(project, rows, served, wanted)),
        list(_twice(project)),
        list(_without_evidence(project, rows)),
    )


def _lost(
    project: Project, rows: Sequence[Row], served: Sequence[Served], wanted: int
) -> Iterator[str]:
    """Candidates without a verdict, ideas that were paid for and are nowhere, keeps
    that are not on the research branch."""
    for row in rows:
        if row["state"] not in DECIDED:
            yield f"#{row['id']} is {row['state']}: {row['reason']}"
    decided = sum(row["state"] in DECIDED for row in rows)
    if decided < wanted:
        yield f"{decided} of {wanted} decided"
    titles = {row["title"] for row in rows}
    booked = {call["cache_read_tokens"] for call in _calls(project)}
    for call in served:
        if not call.fault and call.serial in booked and call.title not in titles:
            yield f"{call.title} was paid for and is nowhere"
    log = project.git("log", "--format=%H", "main..autoresearch/main")
    commits = set(log.split())
    kept = {row["commit_id"]: row["id"] for row in rows if row["state"] == "keep"}
    for commit in commits ^ set(kept):
        yield f"keep #{kept.get(commit)} and commit {commit} do not match"


def _calls(project: Project) -> Sequence[Row]:
    return project.query("SELECT * FROM llm_calls")


def _twice(project: Project) -> Iterator[str]:
    """Runs of one seed, verdicts on one baseline, or equal sources, more than once."""
    for row in project.query(
        "SELECT candidate, head, seed_index, count(*) AS n FROM trials WHERE "
        "state='done' AND outcome='ok' GROUP BY candidate, head, seed_index HAVING n>1"
    ):
        yield f"#{row['candidate']}: seed {row['seed_index']} ran {row['n']} times"
    for row in project.query(
        "SELECT candidate, count(*) AS n FROM verdicts GROUP BY candidate, head "
        "HAVING n>1"
    ):
        yield f"#{row['candidate']} has {row['n']} verdicts on one baseline"
    for row in project.query(
        "SELECT min(id) AS id, count(*) AS n FROM candidates WHERE id IN (SELECT "
        "candidate FROM trials WHERE state='done') GROUP BY head, source_key HAVING n>1"
    ):
        yield f"#{row['id']} and its equals: {row['n']} were trained"


def _without_evidence(project: Project, rows: Sequence[Row]) -> Iterator[str]:
    """Keeps and discards without the judge's evidence or the runs it speaks of, crashes
    without a run that crashed."""
    verdicts = {
        (row["candidate"], row["head"]): row
        for row in project.query("SELECT * FROM verdicts ORDER BY id")
    }
    runs = {
        (row["candidate"], row["head"], row["ok"]): row["n"]
        for row in project.query(
            "SELECT candidate, head, outcome='ok' AS ok, count(*) AS n FROM trials "
            "WHERE state='done' GROUP BY candidate, head, ok"
        )
    }
    for row in rows:
        key = row["id"], row["head"]
        if row["state"] == "crash" and not runs.get((*key, 0)):
            yield f"#{row['id']} crashed and no run did: {row['reason']}"
        if row["state"] not in ("keep", "discard") or _was_refused(row):
            continue
        verdict = verdicts.get(key)
        evidence = json.loads(verdict["evidence"]) if verdict else {}
        if evidence.get("n") != runs.get((*key, 1), 0) or not evidence:
            yield (
                f"#{row['id']} {row['state']}: evidence of {evidence.get('n')} runs, "
                f"and there are {runs.get((*key, 1), 0)}: {row['reason']}"
            )


def _was_refused(row: Row) -> bool:
    """Whether a discard needs no evidence: its change did not apply, or is no change,
    or an equal one was decided."""
    words = ("does not apply", "decided before")
    return row["state"] == "discard" and str(row["reason"]).startswith(words)


def spend_error(project: Project, served: Sequence[Served], ends: int) -> float:
    """Dollars by which the ledger differs from what the provider can have charged.

    An answer that arrived is booked as it says. One that was lost on the way, or whose
    asker was killed, is booked in full; so are at most `ends` calls that were set aside
    and not sent: those that controllers had when they were killed.
    """
    calls = _calls(project)
    arrived = {row["cache_read_tokens"]: row for row in calls if row["status"] == "ok"}
    lost = sorted(
        row["usd"] for row in calls if row["usd"] > 0 and row["status"] != "ok"
    )
    error = 0.0
    for call in served:
        if call.fault not in CHARGED:
            continue
        row = arrived.get(call.serial)
        if row is not None:
            error += abs(row["usd"] - call.usd)
            continue
        match = next((usd for usd in lost if abs(usd - call.worst) < CENT), None)
        if match is None:
            error += call.worst
        else:
            lost.remove(match)
    unsent = sorted(lost)[: max(0, len(lost) - ends)]
    return float(error + sum(unsent))
