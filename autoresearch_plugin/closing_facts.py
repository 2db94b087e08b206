"""Everything that the closing screen says, collected from the ledger."""

from __future__ import annotations

import math
import shlex
import statistics
from typing import TYPE_CHECKING

from autoresearch_plugin import auditing, busy, comparing, midway, standings
from autoresearch_plugin.header import rule_name
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.reports import closing
from autoresearch_plugin.reports.agents import AgentFacts

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.state import State

NOTED = ("fallback", "gave-up", "error", "device")  # events that people must not miss


def collect_facts(state: State) -> closing.Facts:
    """Everything the closing screen says."""
    research, ledger = state.research, state.research.ledger
    session = research.session
    rows = ledger.candidates(session)
    trials = ledger.session_trials(session)
    spans = [(t["candidate"] is None, t["finished"] - t["started"]) for t in trials]
    head = research.head()
    unpaired = comparing.unpaired_noise(research, head)
    visible = [
        Verdict.from_data(r["evidence"]).smallest_visible for r in rows if r["evidence"]
    ]
    calls = ledger.calls(session)
    lanes = max(1, len({row["device"] for row in ledger.lanes(session)}))
    return closing.Facts(
        tag=research.settings.tag or "",
        wall_seconds=ledger.session_seconds(session),
        devices=f"{lanes} x {research.device.name}",
        rule=rule_name(research),
        sandbox=research.sandbox,
        revoked=auditing.is_revoked(research),
        metric=research.metric,
        kept=[_kept_line(row) for row in rows if row["commit_id"]],
        pruned=_pruned(rows),
        search_seconds=sum(span for is_head, span in spans if not is_head),
        baseline_seconds=sum(span for is_head, span in spans if is_head),
        lanes=lanes,
        usd=sum(call["usd"] for call in calls),
        max_usd=research.settings.max_usd,
        calls=len(calls),
        sigma=unpaired.sigma if trials else math.nan,
        paired_sigma=_paired_sigma(research),
        visible=statistics.median(visible) if visible else math.nan,
        branch=f"autoresearch/{research.settings.tag}",
        command=shlex.join(("pytest", *state.config.invocation_params.args)),
        report=state.settings.report,
        reason=ledger.session(session)["reason"] or "ended",
        first_commit=ledger.head(ledger.session(session)["first_head"])["commit_id"]
        or "",
        audit=auditing.outcome(research),
        not_audited=_not_audited(research),
        audit_seconds=ledger.audit_seconds(session),
        stopped_early=sum(trial["early"] == "stopped" for trial in trials),
        saved_seconds=midway.saved_seconds(trials),
        lane_time=busy.occupancy(
            [*trials, *ledger.audits(session)], ledger.waits(session)
        ),
        notes=_notes(state),
        agents=_agents(state),
    )


def _agents(state: State) -> list[AgentFacts]:
    """What each agent did in this session; nothing where there are none."""
    research, team = state.research, state.team
    floors, lost = (team.floors, team.lost) if team else ({}, {})
    return standings.facts_of(
        research.ledger, research.fingerprint, floors, research.session, lost
    )


def _not_audited(research: Research) -> str:
    """Why there is no audit, in words for the closing screen."""
    if research.settings.audit == "never":
        return "no audit was asked for; `autoresearch audit` makes one"
    todo = auditing.plan(research)
    return todo if isinstance(todo, str) else "`autoresearch audit` goes on with it"


def _paired_sigma(research: Research) -> float | None:
    if not research.paired:
        return None
    return comparing.paired_noise(research, research.head()).sigma


def _kept_line(row: Row) -> closing.KeptLine:
    verdict = Verdict.from_data(row["evidence"])
    return closing.KeptLine(
        row["id"],
        row["title"],
        verdict.effect,
        verdict.effect_sd,
        verdict.n,
        row["commit_id"],
        verdict.grade,
    )


def _pruned(rows: list[Row]) -> dict[str, int]:
    words = {
        "worse": 0,
        "not distinguishable": 0,
        "crashed": 0,
        "no-ops": 0,
        "other": 0,
    }
    for row in rows:
        if row["state"] == "crash":
            words["crashed"] += 1
        elif row["state"] == "refused":
            words["no-ops"] += 1
        elif row["state"] == "discard" and not row["evidence"]:
            words["other"] += 1
        elif row["state"] == "discard":
            worse = row["evidence"]["relation"] == "worse"
            words["worse" if worse else "not distinguishable"] += 1
    return words


def _notes(state: State) -> list[str]:
    """Events that people must not miss, since the session was started or resumed."""
    research = state.research
    events = research.ledger.news(research.session)
    notes = list(dict.fromkeys(r["text"] for r in events if r["kind"] in NOTED))
    refused = sum(row["kind"] == "refused" for row in events)
    if refused:
        notes.append(
            f"{refused} answers of the proposer could not be used (no run spent)"
        )
    if state.team is not None:
        notes += state.team.notes()
    return notes
