"""A ledger judged again: what would a rule say of the runs that were made?

With all that is known by now: baselines have more runs than they had then, and the
noise is known better. A rule that wants more runs than there are is not answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoresearch_plugin import comparing, judge

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research

OPEN = "would run on"


@dataclass(frozen=True)
class Second:
    """One candidate: what was decided, what the rule says now, and in which words."""

    number: int
    title: str
    before: str
    now: str
    sentence: str

    @property
    def changed(self) -> bool:
        """Whether the rule disagrees; one that would run on has not answered."""
        return self.now not in (self.before, OPEN)


def look(research: Research) -> list[Second]:
    """Ask the rule of `research` about every candidate of its session that was judged
    on at least one whole run."""
    return [
        second
        for row in research.ledger.candidates(research.session)
        if row["evidence"] and (second := _second(research, row))
    ]


def _second(research: Research, row: Row) -> Second | None:
    then = judge.Verdict.from_data(row["evidence"])
    head = research.head_of(row["head"])
    asked = comparing.question(research, row["id"], head)
    if not asked.candidate or not all(asked.heads.values()):
        return None  # ended at its interim score, or answered from another one's runs
    verdict = _walk(asked, research.rule)
    now = OPEN if verdict.decision == judge.REPLICATE else verdict.decision
    return Second(row["id"], row["title"], then.decision, now, verdict.sentence)


def _walk(asked: judge.Question, rule: judge.AnyRule) -> judge.Verdict:
    """The verdict at the first run at which the rule has enough."""
    for runs in range(1, len(asked.candidate) + 1):
        verdict = judge.decide(replace(asked, candidate=asked.candidate[:runs]), rule)
        if verdict.decision != judge.REPLICATE:
            break
    return verdict


def lines(research: Research) -> Iterator[str]:
    """The answer for a terminal: what changes, and how many do not."""
    seen = look(research)
    name, version = judge.name_of(research.rule)
    judged = sum(
        1 for row in research.ledger.candidates(research.session) if row["evidence"]
    )
    yield (
        f"session {research.session}: {judged} verdicts, {len(seen)} of them with runs "
        f"to judge again, by the rule {name} (version {version})"
    )
    for one in seen:
        if one.changed:
            yield f"#{one.number:03d} {one.before} -> {one.now}: {one.title}"
            yield f"     {one.sentence}"
    yield ", ".join(_counts(seen))


def _counts(seen: list[Second]) -> Iterator[str]:
    for before in (judge.KEEP, judge.DISCARD):
        of_these = [one for one in seen if one.before == before]
        same = sum(one.now == before for one in of_these)
        on = sum(one.now == OPEN for one in of_these)
        yield f"{same} of {len(of_these)} {before}s stand"
        if on:
            yield f"{on} {before}s {OPEN}"
    firm = [one for one in seen if one.now == judge.KEEP]
    if not firm:
        yield "nothing is kept"
