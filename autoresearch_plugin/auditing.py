"""Runs the audit of a session: which baselines are scored, with which seeds.

Every lane takes part. All there is to know is in the ledger, so an audit that was cut
off goes on where it was, and anybody can ask for its outcome. The seeds are new: a kept
candidate was chosen for its luck with those of its parent's bank.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoresearch_plugin import comparable, comparing
from autoresearch_plugin.audit import RUNS_MAX, RUNS_MIN, SHARE, Audit, compare
from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.measuring import last_words
from autoresearch_plugin.paths import checkpoint

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.trial import TrialResult

REVOKED = "revoked by the audit"
UNTRUE = f"{REVOKED}, untrue claims"
POSITIONS = 10_240  # verified of the last baseline; finds 0.02 % of leaks with 0.87


@dataclass(frozen=True)
class Plan:
    """What is to be scored: `items` are pairs of a baseline and a seed, in order."""

    first: Head
    last: Head
    runs: int
    items: tuple[tuple[str, int], ...]


# ------------------------------------------------------------------------- planning


def plan(research: Research, runs: int | None = None) -> Plan | str:
    """What an audit of the session takes, or why there is none.

    `runs` of each baseline; by default as many as the share of device time allows.
    Where runs are paired both baselines are trained with the same new seeds. Else the
    first one's calibration runs are scored from their checkpoints, and what they lack
    in number is trained.
    """
    session = research.ledger.session(research.session)
    if session["first_head"] == session["head"]:
        return "nothing was kept"
    if not research.profile.hidden:
        return "not audited: the training command has no hidden split"
    if research.ledger.is_audited_elsewhere(research.session, _fits(research)):
        return "not audited here: another device does it, which is not as fast"
    first, last = research.head_of(session["first_head"]), research.head()
    sealed = [] if research.paired else _sealed(research, first)
    count = runs or _affordable(research, len(sealed))
    if count < RUNS_MIN:
        return (
            f"not audited: {RUNS_MIN} new runs would take more than {SHARE:.0%} of the "
            "device time; `autoresearch audit` makes them"
        )
    fresh = [research.ledger.seed("audit", index) for index in range(count)]
    ours = [*sealed, *fresh][:count]
    items = [(last.id, seed) for seed in fresh] + [(first.id, seed) for seed in ours]
    return Plan(first, last, count, tuple(items))


def _sealed(research: Research, first: Head) -> list[int]:
    """Seeds of calibration runs whose checkpoints are there, made where we make ours:
    both ends get the same number of steps in their time."""
    fits = _fits(research)
    rows = research.ledger.own_head_trials(first.id)
    seeds = [row["seed"] for row in rows if fits(row["device"])]
    return [s for s in seeds if checkpoint(research.root, first.id, s).is_file()]


def _fits(research: Research) -> Callable[[str], bool]:
    """Whether runs on another device can be compared with ours."""
    devices = comparable.Devices(research)
    return functools.partial(devices.are_equal, devices.own)


def _affordable(research: Research, sealed: int) -> int:
    """How many runs of each the share of device time pays for; `always` pays."""
    ledger = research.ledger
    least = RUNS_MIN if research.settings.audit == "always" else 0
    spans = ledger.recent_seconds(research.session, 100)
    if not spans:
        return least
    paid = SHARE * ledger.device_seconds(research.session) / statistics.median(spans)
    counts = range(RUNS_MAX, 0, -1)
    affordable = (n for n in counts if n + max(0, n - sealed) <= paid)
    return max(least, next(affordable, 0))


# -------------------------------------------------------------------------- running


def step(research: Research, todo: Plan) -> bool:
    """Make one score that is missing; False if others make the rest, or all is done.

    Raises:
        InfrastructureError: a run or a scoring failed.
    """
    row = research.ledger.claim_audit(
        research.session, todo.items, research.device.id, _fits(research)
    )
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
    number = todo.items.index((head.id, row["seed"])) % todo.runs + 1
    label = f"audit, {side} baseline {head.short}, run {number} of {todo.runs}"
    seal = checkpoint(research.root, head.id, row["seed"])
    use = None if research.paired or not seal.is_file() else seal
    verified = POSITIONS if head is todo.last and number == 1 else 0
    result = research.hidden_score(head, row["seed"], use, label, verified)
    if result.outcome.is_accident or (use is not None and not result.ok):
        use = None  # a seal may be damaged
        result = research.hidden_score(head, row["seed"], use, label, verified)
    if "verify" in result.seconds and result.outcome.blames_candidate:
        _revoke_all(research, f"{result.outcome}: {result.message}")
    value = result.metrics.get(research.metric)
    if value is None:
        raise _failure(label, result)
    summary = result.summary
    for known in () if use is None else research.ledger.own_head_trials(head.id):
        if known["seed"] == row["seed"]:
            summary = known["summary"]
    research.ledger.finish_audit(row["id"], value, summary, use is None)
    research.tell(f"{label}: {research.metric} {value:.4f} on hidden text")


def _failure(label: str, result: TrialResult) -> InfrastructureError:
    return InfrastructureError(
        f"{label} gave no score: {result.outcome}"
        f"{': ' if result.message else ''}{result.message}. The keeps stand as they "
        "are, without an audit; `autoresearch audit` tries again. If this command "
        "cannot score the split `test`, its `describe` must not say `hidden` "
        f"(docs/contract.md).{last_words(result)}"
    )


# -------------------------------------------------------------------------- outcome


def outcome(research: Research) -> Audit | None:
    """The audit as far as it was made; None without enough scores of both ends."""
    session = research.ledger.session(research.session)
    rows = _rows(research)
    first = _scores(rows, session["first_head"])
    last = _scores(rows, session["head"])
    if session["first_head"] == session["head"] or not (first and last):
        return None
    head = research.head_of(session["first_head"])  # that one has runs for certain
    kept = [
        Verdict.from_data(row["evidence"])
        for row in research.ledger.committed(research.session)
        if row["evidence"]
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
    """Note on every keep whether the audit contradicts it."""
    found = outcome(research)
    if found is None:
        return
    for row in research.ledger.committed(research.session):
        if not row["reason"].startswith(UNTRUE):
            reason = row["reason"].removeprefix(f"{REVOKED}: ")
            if found.contradicts:
                reason = f"{REVOKED}: {reason}"
            research.ledger.update_candidate(row["id"], reason=reason)


def _revoke_all(research: Research, why: str) -> None:
    """The last baseline's score is not what it claims: no keep below it counts, and
    no later audit, which would look at other positions, takes that back."""
    for row in research.ledger.committed(research.session):
        if not row["reason"].startswith(UNTRUE):
            reason = f"{UNTRUE}: {why} (was: {row['reason']})"
            research.ledger.update_candidate(row["id"], reason=reason)


def is_revoked(research: Research) -> bool:
    """Whether the audit contradicts the session's keeps."""
    found = outcome(research)
    return (found is not None and found.contradicts) or any(
        row["reason"].startswith(UNTRUE)
        for row in research.ledger.committed(research.session)
    )


def _rows(research: Research) -> list[Row]:
    """Scores of the session's two ends, not of baselines between them."""
    session = research.ledger.session(research.session)
    ends = (session["first_head"], session["head"])
    rows = research.ledger.audits(research.session)
    return [row for row in rows if row["head"] in ends]


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
