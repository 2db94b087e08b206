"""Bundles: near misses that are tried together, since alone they cannot be proven.

To prove a small gain takes many runs, and most near misses are luck. Five together gain
several times as much as one, so that a few runs prove them or drop them all: group
testing. What is proven is the bundle; of its parts a third gains nothing alone
(docs/verdicts.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Proposal, apply_edits
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.tried import Tried

LEAST_GAIN = 0.25  # standard errors of its difference that a near miss was better by
SURPRISE = 0.5  # share of what a bundle lacks that its parts are charged with
PROPOSER = "bundle"
WORDS_EACH = 80  # of a part's label in the hypothesis


def near_misses(tried: Sequence[Tried], sign: float) -> list[Tried]:
    """What may be a part, the most promising first.

    Discards of proposals that were better than their baseline, or heading for it, and
    are in no bundle yet. A bundle that was a near miss itself is one part; of another
    one the parts get a second chance, each once, with what is left of their gains.
    """
    waiting: dict[int, float] = {}  # gains
    again: set[int] = set()
    for one in sorted(tried, key=lambda one: one.number):
        used = one.parts if _counts(one) else ()
        parts = {number: waiting.pop(number) for number in used if number in waiting}
        if not _has_missed(one):
            continue
        gain = one.gain(sign)
        if gain >= LEAST_GAIN:
            waiting[one.number] = gain
            continue
        for number, own in parts.items():
            left = second_gain(own, gain, list(parts.values()))
            if left >= LEAST_GAIN and number not in again:
                waiting[number] = left
                again.add(number)
    found = [one for one in tried if one.number in waiting]
    return sorted(found, key=lambda one: (-waiting[one.number], one.number))


def _has_missed(one: Tried) -> bool:
    """Whether it is a proposal that was discarded, and no second try of another."""
    return one.verdict == "discard" and one.generated and one.retests is None


def second_gain(own: float, bundle: float, parts: Sequence[float]) -> float:
    """What is left of a part's gain after a bundle that gained less than its `parts`
    promised; all in standard errors.

    Each of k parts is charged with an equal share, about what a normal prior as wide as
    half a run's noise would say: v / (k v + 1), which is near 1 / 2 k here.
    """
    return own + SURPRISE * (bundle - sum(parts)) / len(parts)


def _counts(one: Tried) -> bool:
    """Whether a bundle's parts are used up: not if it did not apply any more."""
    return one.verdict != "discard" or one.effect is not None


def bundle(
    tried: Sequence[Tried], source: str, sign: float, size: int
) -> Proposal | None:
    """`size` near misses as one proposal for `source`; None if there are fewer that go
    together. `sign` is 1 for a metric that should fall, else -1."""
    waiting = near_misses(tried, sign)
    if len(waiting) < size:
        return None
    parts: list[Tried] = []
    for one in _together(waiting, source):
        parts.append(one)
        if len(parts) == size:
            return _proposal(parts)
    return None


def _together(waiting: Sequence[Tried], source: str) -> Iterator[Tried]:
    """Those that can be added one after the other, each with all before it applied."""
    patched, moved = source, set[str]()
    for one in waiting:
        knobs = {change.knob for change in one.changes}
        if knobs & moved:
            continue  # the better one has moved it
        try:
            more = apply_edits(one.edits, patched)
            if patch.pointless(patched, more):
                continue
        except PatchError:
            continue
        patched, moved = more, moved | knobs
        yield one


def _proposal(parts: Sequence[Tried]) -> Proposal:
    numbers = ", ".join(f"#{one.number:03d}" for one in parts)
    labels = "; ".join(one.label[:WORDS_EACH] for one in parts)
    return Proposal(
        title=f"bundle of {numbers}",
        hypothesis=f"Each was better by too little to be proven alone: {labels}.",
        category="other",
        edits=tuple(edit for one in parts for edit in one.edits),
        parts=tuple(one.number for one in parts),
    )
