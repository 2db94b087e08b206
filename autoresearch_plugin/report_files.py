"""kept.xml and results.tsv, written anew from the ledger."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin import auditing
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.paths import write_new
from autoresearch_plugin.quoting import barred
from autoresearch_plugin.reports import kept_xml, results_tsv

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research


def write_reports(research: Research, directory: Path) -> None:
    """The same for a session that is not running: an audit may revoke its keeps."""
    kept = research.ledger.committed(research.session)
    revoked = auditing.is_revoked(research)
    cases = [] if revoked else [_case(research, row) for row in kept]
    _write(directory / "kept.xml", kept_xml.render(cases))
    table = results_tsv.render(result_rows(research), research.metric)
    _write(directory / "results.tsv", table)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    write_new(part, text.encode())
    part.replace(path)


def _case(research: Research, row: Row) -> kept_xml.Case:
    trials = research.ledger.candidate_trials(row["id"])
    evidence = row["evidence"] or {}
    properties = {
        "candidate": row["id"],
        "signature": row["signature"],
        "commit": row["commit_id"],
        "parent": research.ledger.head(row["head"])["commit_id"],
        "device": research.device.name,
        "sandbox": row["sandbox"],
        **({"agent": row["agent"]} if row["agent"] else {}),
        "runs": evidence.get("n"),
        **{
            key: evidence.get(key)
            for key in ("effect", "effect_sd", "e_value", "paired")
        },
        "grade": Verdict.from_data(evidence).grade if evidence else None,
        **{
            f"{side}_{key}": evidence[side][key]
            for side in ("baseline", "candidate")
            if side in evidence
            for key in ("mean", "sd", "n")
        },
    }
    nodeid = row["nodeid"] or row["file"] or row["title"]
    path, _, name = nodeid.partition("::")
    return kept_xml.Case(
        classname=path.removesuffix(".py").replace("/", "."),
        name=name or row["title"],
        seconds=sum(trial["finished"] - trial["started"] for trial in trials),
        properties=properties,
        text=barred(
            "\n".join(
                [row["title"], row["hypothesis"], row["reason"], row["diff"] or ""]
            ).rstrip()
        ),
    )


def result_rows(research: Research) -> Iterator[results_tsv.Row]:
    """The notebook's five columns: the baseline, then every decided candidate."""
    ledger = research.ledger
    first = ledger.session(research.session)["first_head"]
    head = ledger.head(first)
    revoked = auditing.is_revoked(research)
    base = ledger.head_trials(first)
    if base:
        yield results_tsv.Row(
            commit=(head["commit_id"] or "")[:7],
            value=statistics.fmean(row["value"] for row in base),
            memory_gb=_memory(base),
            status="keep",
            description="baseline",
        )
    for row in ledger.results(research.session):
        if row["state"] == "keep" and not row["commit_id"]:
            continue  # its process died, or its own test failed, before the commit
        failed = row["state"] in ("crash", "refused")
        status, words = row["state"], row["title"]
        if status == "keep" and revoked:
            status, words = "discard", f"{words} (revoked by the audit)"
        elif status == "refused":
            status = "discard"
        parent = ledger.head(row["head"])["commit_id"] if row["head"] else None
        yield results_tsv.Row(
            commit=(row["commit_id"] or parent or "")[:7],
            value=None if failed else row["mean"],
            memory_gb=(row["peak_mb"] or 0.0) / 1024,
            status=status,
            description=words,
        )


def _memory(trials: list[Row]) -> float:
    peaks = [trial["summary"].get("peak_vram_mb") or 0.0 for trial in trials]
    return max(peaks, default=0.0) / 1024
