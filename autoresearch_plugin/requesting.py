"""What the next proposer is told: a function of the ledger and two files."""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from autoresearch_plugin.candidate import Edit
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.prompt import Request, Tried

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.loop import Research

PROGRAM = "experiments/program.md"


def build_request(research: Research) -> Request:
    """The request for the next proposal: a function of the ledger and two files."""
    head = research.head()
    history = research.kept_before(head)
    rows = [
        row
        for row in research.ledger.fingerprint_candidates(research.fingerprint)
        if (row["session"] == research.session and row["state"] != "stopped")
        or not _is_open(research, head, history, row)
    ]
    program = research.root / PROGRAM
    estimate = research.baseline(head)
    return Request(
        target=research.settings.target,
        source=head.source,
        parent=head.short,
        metric=research.metric,
        direction=research.profile.direction,
        baseline=estimate if estimate.n else None,
        budget=str(research.budget),
        device=research.device.name,
        program=program.read_text() if program.is_file() else "",
        tried=tuple(_tried(research.ledger, row) for row in rows),
        number=sum(row["kind"] == "generated" for row in rows),
    )


def _is_open(
    research: Research, head: Head, history: Collection[str], row: Row
) -> bool:
    """Whether an idea of an earlier session may come again.

    It was never decided, or its keep is not part of this baseline: never committed, or
    on a branch that is gone or another. What `git revert` took back stays tried.
    """
    if row["state"] != "keep":
        return row["state"] in ("queued", "running", "stopped", "failed")
    if row["signature"] in history:
        return False
    repository = research.repository
    if repository is None or not head.commit or not row["commit_id"]:
        return True
    return not repository.has(head.commit, row["commit_id"])


def _tried(ledger: Ledger, row: Row) -> Tried:
    verdict = Verdict.from_data(row["evidence"]) if row["evidence"] else None
    states = {"queued": "running", "before": "keep"}
    return Tried(
        number=row["id"],
        title=row["title"],
        signature=row["signature"],
        edits=tuple(Edit.from_data(edit) for edit in row["edits"]),
        category=row["category"],
        verdict=states.get(str(row["state"]), str(row["state"])),
        effect=verdict.effect if verdict else None,
        effect_sd=verdict.effect_sd if verdict else None,
        value=verdict.candidate.mean if verdict else None,
        reason=_reason(ledger, row),
    )


def _reason(ledger: Ledger, row: Row) -> str:
    """Why it ended, without a word of a process that had the validation text in hand.

    Else a candidate could print that text, and a later one have it in its source. What
    remains is our own word for the outcome and the name of a built-in exception.
    """
    reason = str(row["reason"])
    if row["evidence"] or row["state"] not in ("crash", "discard"):
        return reason
    trials = ledger.candidate_trials(row["id"])
    last = trials[-1] if trials else {}
    if not (
        last.get("summary")
        or last.get("interim")
        or "evaluate" in last.get("seconds", ())
    ):
        return reason  # it ended before any score was taken
    outcome, _, words = reason.partition(":")
    name = re.match(r"\s*(\w+)", words)
    kind = getattr(builtins, name[1], None) if name else None
    is_error = isinstance(kind, type) and issubclass(kind, BaseException)
    error = f": {name[1]}" if name and is_error else ""
    return f"{outcome[:40]}{error} (while it was scored)"
