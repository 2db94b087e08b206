"""What the next proposer is told: a function of the ledger and two files."""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import gears
from autoresearch_plugin.agents import Agent, reread
from autoresearch_plugin.candidate import CATEGORIES, Edit
from autoresearch_plugin.judge import UNCLEAR
from autoresearch_plugin.patch import Change
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.tried import Tried

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.loop import Research

TRACES = 3  # latest crashes whose output is quoted
UNTAUGHT = ("tpe", "scripted", "none")  # proposers that no words reach
_VERDICTS = {"queued": "running", "before": "keep"}  # states that have other names
TRACEBACK = "Traceback (most recent call last)"


def next_request(
    research: Research, proposer: str, agent: Agent | None = None
) -> Request:
    """`build_request` for a proposer, with a record of what is said only once."""
    request = build_request(research, agent)
    if proposer in UNTAUGHT:
        return replace(request, mend=None)
    ledger, session = research.ledger, research.session
    if request.mend is not None:
        ledger.add_event(
            session,
            "mend",
            f"#{request.mend.number:03d} crashed; asking once for a mended version",
        )
    now = gears.words(request.gear, request.banned)
    said = [gears.words(gears.EXPLORE, ()), *ledger.told(session, "gear")]
    if now != said[-1]:
        ledger.add_event(session, "gear", now)
    return request


def build_request(research: Research, agent: Agent | None = None) -> Request:
    """The request for the next proposal: a function of the ledger and two files.

    `agent` is whoever will be asked; without one, the project's only program speaks.
    """
    agent = reread(research.root, agent or Agent())
    head = research.head()
    ledger = research.ledger
    rows = _rows(research, head)
    estimate = research.baseline(head)
    tried = _with_traces(ledger, rows, _tried(rows))
    refused = ledger.refused_since(research.session, agent.name or None)
    banned, others = _closed(agent, gears.paused(tried, len(refused)))
    direction = research.profile.direction
    return Request(
        target=research.settings.target,
        source=head.source,
        parent=head.short,
        metric=research.metric,
        direction=direction,
        baseline=estimate if estimate.n else None,
        budget=str(research.budget),
        device=research.device.name,
        program=agent.program,
        steering=agent.file,
        categories=agent.categories,
        tried=tuple(tried),
        number=sum(row["kind"] == "generated" for row in rows),
        head=head.id,
        banned=banned,
        gear=gears.gear(tried, 1.0 if direction == "min" else -1.0, banned),
        wanted=gears.wanted(tried, (*banned, *others), len(refused)),
        refused=tuple(refused),
        mend=_mend(research, rows, tried, agent),
    )


def _closed(
    agent: Agent, paused: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Categories that are paused for an agent, and those that are none of its own.

    One that has no other is not paused: it could not propose anything.
    """
    banned = tuple(name for name in agent.categories if name in paused)
    others = tuple(name for name in CATEGORIES if name not in agent.categories)
    return (() if len(banned) == len(agent.categories) else banned), others


def _rows(research: Research, head: Head) -> list[Row]:
    """The candidates that count as tried."""
    history = research.kept_before(head)
    return [
        row
        for row in research.ledger.ideas(research.fingerprint)
        if (row["session"] == research.session and row["state"] != "stopped")
        or not _is_open(research, head, history, row)
    ]


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


def _tried(rows: Sequence[Row]) -> list[Tried]:
    edits = _loaded(row["edits"] for row in rows)
    changes = _loaded(row["changes"] or "[]" for row in rows)
    parts = _loaded(row["parts"] or "[]" for row in rows)
    verdicts = _loaded(row["verdict"] or "[null, null, null, null]" for row in rows)
    return [
        Tried(
            number=row["id"],
            title=row["title"],
            signature=row["signature"],
            edits=tuple(Edit(one.pop("op"), one) for one in edited),
            category=row["category"],
            verdict=_VERDICTS.get(str(row["state"]), str(row["state"])),
            effect=verdict[0],
            effect_sd=verdict[1],
            value=verdict[2],
            reason=_reason(row),
            head=row["head"] or "",
            source_key=row["source_key"] or "",
            changes=tuple(Change(*one) for one in moved),
            unclear=verdict[3] == UNCLEAR,
            generated=row["kind"] == "generated",
            retests=row["retests"],
            repairs=row["repairs"],
            parts=tuple(joined),
        )
        for row, edited, moved, joined, verdict in zip(
            rows, edits, changes, parts, verdicts, strict=True
        )
    ]


def _loaded(texts: Iterable[str]) -> list[Any]:
    """Many small JSON texts at once, which is several times faster."""
    found: list[Any] = json.loads(f"[{','.join(texts)}]")
    return found


def _reason(row: Row) -> str:
    """Why it ended, without a word of a process that had the validation text in hand.

    Else a candidate could print that text, and a later one have it in its source. What
    remains is our own word for the outcome and the name of a built-in exception.
    """
    reason = str(row["reason"])
    if not row["scored"]:
        return reason
    outcome, _, words = reason.partition(":")
    name = re.match(r"\s*(\w+)", words)
    kind = getattr(builtins, name[1], None) if name else None
    is_error = isinstance(kind, type) and issubclass(kind, BaseException)
    error = f": {name[1]}" if name and is_error else ""
    return f"{outcome[:40]}{error} (while it was scored)"


def _with_traces(
    ledger: Ledger, rows: Sequence[Row], tried: Sequence[Tried]
) -> list[Tried]:
    """`tried`, the latest crashes with the end of what they printed."""
    told = list(tried)
    crashed = [n for n, row in enumerate(rows) if _may_be_quoted(row)]
    for place in crashed[-TRACES:]:
        printed = ledger.trial_log(rows[place]["trial"])
        told[place] = replace(told[place], printed=printed)
    return told


def _may_be_quoted(row: Row) -> bool:
    """Whether it crashed before its process was given the validation text."""
    return row["state"] == "crash" and bool(row["trial"]) and not row["scored"]


def _mend(
    research: Research, rows: Sequence[Row], tried: Sequence[Tried], agent: Agent
) -> Tried | None:
    """An agent's latest crash with a traceback that it was not asked to mend yet."""
    asked = {said.split()[0] for said in research.ledger.told(research.session, "mend")}
    mended = {row["repairs"] for row in rows}
    for row, one in reversed([*zip(rows, tried, strict=True)]):
        if (
            TRACEBACK in one.printed
            and row["session"] == research.session
            and row["agent"] == (agent.name or None)
            and one.generated
            and one.repairs is None  # a repair is not repaired
            and one.number not in mended
            and f"#{one.number:03d}" not in asked
        ):
            return one
    return None
