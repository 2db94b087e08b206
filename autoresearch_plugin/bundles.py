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
PROPOSER = "bundle"
WORDS_EACH = 80  # of a part's label in the hypothesis


def near_misses(tried: Sequence[Tried], sign: float) -> list[Tried]:
    """What may be a part, the most promising first.

    Discards of proposals that were better than their baseline, or heading for it, and
    are in no bundle yet. A bundle that was a near miss itself is one part.
    """
    used = {number for one in tried if _counts(one) for number in one.parts}
    found = [
        one
        for one in tried
        if one.verdict == "discard"
        and one.generated
        and one.retests is None
        and one.number not in used
        and one.gain(sign) >= LEAST_GAIN
    ]
    return sorted(found, key=lambda one: (-one.gain(sign), one.number))


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
