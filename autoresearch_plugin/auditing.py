"""Runs the audit of a session: which checkpoints are scored, what is trained anew.

Every lane takes part. All there is to know is in the ledger, so an audit that was cut
off goes on where it was, and anybody can ask for its outcome.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoresearch_plugin import comparing
from autoresearch_plugin.audit import RUNS_MAX, RUNS_MIN, SHARE, Audit, compare
from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.idea import Head
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.measuring import last_words
from autoresearch_plugin.paths import checkpoint

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research


REVOKED = "revoked by the audit"


@dataclass(frozen=True)
class Plan:
    """What is still to be scored: pairs of a baseline and a seed."""

    first: Head
    last: Head
    seeds: tuple[int, ...]

    @property
    def items(self) -> list[tuple[str, int]]:
        """In the order of work: what must be trained comes first."""
        heads = (self.last.id, self.first.id)
        return [(head, seed) for head in heads for seed in self.seeds]


# ------------------------------------------------------------------------- planning


def plan(research: Research, runs: int | None = None) -> Plan | str:
    """What an audit of the session takes, or why there is none.

    `runs` of each baseline; by default as many as the share of device time allows.
    """
    session = research.ledger.session(research.session)
    if session["first_head"] == session["head"]:
        return "nothing was kept"
    first, last = _head(research, session["first_head"]), research.head()
    count = runs or _affordable(research, first)
    if count < RUNS_MIN:
        return (
            f"not audited: {RUNS_MIN} new runs would take more than {SHARE:.0%} of the "
            "device time; `autoresearch audit` makes them"
        )
    ledger = research.ledger
    own = [row["seed"] for row in ledger.own_head_trials(first.id)]
    bank = (ledger.seed(first.id, index) for index in range(count + len(own)))
    seeds = dict.fromkeys((*own, *bank))
    return Plan(first, last, tuple(seeds)[:count])


def _head(research: Research, name: str) -> Head:
    row = research.ledger.head(name)
    return Head(row["id"], row["source"], row["commit_id"], row["amount"])


def _affordable(research: Research, first: Head) -> int:
    """How many runs of each the share of device time pays for; `always` pays."""
    ledger = research.ledger
    spans = ledger.recent_seconds(research.session, 100)
    if not spans:
        return 0
    one = statistics.median(spans)
    used = ledger.device_seconds(research.session)
    count = min(RUNS_MAX, int(SHARE * used / one))
    return max(RUNS_MIN, count) if research.settings.audit == "always" else count


# -------------------------------------------------------------------------- running


def step(research: Research, todo: Plan) -> bool:
    """Make one score that is missing; False if others make the rest, or all is done.

    Raises:
        InfrastructureError: a run or a scoring failed.
    """
    row = research.ledger.claim_audit(research.session, todo.items)
    if row is None:
        return False
    head = todo.last if row["head"] == todo.last.id else todo.first
    try:
        _score(research, head, row, todo)
    except BaseException:
        research.ledger.drop_audit(row["id"])
        raise
    return True


def is_done(research: Research, todo: Plan) -> bool:
    """Whether every score is there."""
    done = {(row["head"], row["seed"]) for row in _rows(research)}
    return done.issuperset(todo.items)


def _score(research: Research, head: Head, row: Row, todo: Plan) -> None:
    side = "last" if head is todo.last else "first"
    number = todo.seeds.index(row["seed"]) + 1
    label = f"audit, {side} baseline {head.short}, run {number} of {len(todo.seeds)}"
    sealed = checkpoint(research.root, head.id, row["seed"])
    trained = not sealed.is_file()
    result = research.hidden_score(
        head, row["seed"], None if trained else sealed, label
    )
    value = result.metrics.get(research.metric)
    if value is None:
        raise InfrastructureError(
            f"{label} gave no score: {result.outcome}"
            f"{': ' if result.message else ''}{result.message}. It asks for the split "
            "`test` (docs/contract.md); a training command that has none is not "
            f"audited with --autoresearch-audit never.{last_words(result)}"
        )
    summary = result.summary
    for known in () if trained else research.ledger.own_head_trials(head.id):
        if known["seed"] == row["seed"]:
            summary = known["summary"]
    research.ledger.finish_audit(row["id"], value, summary, trained)
    research.tell(f"{label}: {research.metric} {value:.4f} on hidden text")


# -------------------------------------------------------------------------- outcome


def outcome(research: Research) -> Audit | None:
    """The audit as far as it was made; None without enough scores of both ends."""
    session = research.ledger.session(research.session)
    rows = _rows(research)
    first = _scores(rows, session["first_head"])
    last = _scores(rows, session["head"])
    if session["first_head"] == session["head"] or not (first and last):
        return None
    head = research.head()
    kept = [
        Verdict.from_data(row["evidence"])
        for row in research.ledger.candidates(research.session)
        if row["commit_id"] and row["evidence"]
    ]
    paired = research.paired and _same_batches(rows)
    return compare(
        first,
        last,
        comparing.unpaired_noise(research, head),
        comparing.paired_noise(research, head, _alike(rows)) if paired else None,
        sum(verdict.effect for verdict in kept),
        research.profile.sign,
    )


def conclude(research: Research) -> None:
    """Note on every keep that the audit contradicts it, if it does."""
    found = outcome(research)
    if found is None or not found.contradicts:
        return
    for row in research.ledger.candidates(research.session):
        if row["commit_id"] and not row["reason"].startswith(REVOKED):
            reason = f"{REVOKED}: {row['reason']}"
            research.ledger.update_candidate(row["id"], reason=reason)


def _rows(research: Research) -> list[Row]:
    return research.ledger.audits(research.session)


def _scores(rows: list[Row], head: str) -> Mapping[int, float]:
    return {row["seed"]: row["value"] for row in rows if row["head"] == head}


def _alike(rows: list[Row]) -> bool:
    """Whether runs of one seed began with the same model at both ends."""
    starts: dict[int, list[float | None]] = {}
    for row in rows:
        starts.setdefault(row["seed"], []).append(row["first_loss"])
    return all(comparing.same_start(*two) for two in starts.values() if len(two) == 2)


def _same_batches(rows: list[Row]) -> bool:
    """Whether both ends saw the same batches; where unknown, they did not."""
    known = {row["tokens_per_step"] for row in rows}
    return len(known) == 1 and None not in known
