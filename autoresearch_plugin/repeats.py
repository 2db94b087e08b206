"""Whether an idea was tried before, and whether it may be tried again.

Two ideas are the same if they edit the same, in any order; if they give the same knobs
the same values and do nothing else; or if they leave the same program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoresearch_plugin.candidate import Edit, Proposal, signature
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.lessons import effect_words
from autoresearch_plugin.quoting import one_line
from autoresearch_plugin.tried import Tried

NEVER_RAN = ("does not apply", "no-op")  # how reasons begin of what met no device


def same_edits(edits: tuple[Edit, ...], tried: Sequence[Tried]) -> list[Tried]:
    """Earlier ideas with these edits, whatever their baseline."""
    name = signature(edits)
    return [one for one in tried if one.signature == name or _reordered(edits, one)]


def same_program(does: Mapping[str, str], tried: Sequence[Tried]) -> list[Tried]:
    """Earlier ideas that did the same (see `candidate.identity`): left this program, or
    moved the same knobs, and no more than those, to the same values."""
    places = _places([(knob, new) for knob, _, new in json.loads(does["changes"])])
    return [
        one
        for one in tried
        if one.source_key == does["source_key"]
        or (places and places == _places([(c.knob, c.new) for c in one.changes]))
    ]


def check_repeat(
    proposal: Proposal, same: Sequence[Tried], head: str, metric: str
) -> int | None:
    """The number of the idea that `proposal` tries again; None for a new idea.

    `same` are the earlier ideas that it equals, `head` is the present baseline.

    Raises:
        PatchError: the answer is known, or the repeat was not asked for.
    """
    same = [one for one in same if one.head == head or not _never_ran(one)]
    if not same:
        _check_unknown(proposal)
        return None
    last = same[-1]
    here = [one for one in same if one.head in ("", head) or one.verdict == "keep"]
    if here:
        raise PatchError(f"{_quote(here[-1], metric)} Propose something else.")
    if proposal.retest is None:
        raise PatchError(
            f"{_quote(last, metric)} That was on an earlier baseline. Propose "
            f'something else, or say that you want it tried again: "retest": '
            f"{last.number}."
        )
    numbers = [one.number for one in same]
    if proposal.retest and proposal.retest not in numbers:
        raise PatchError(
            f'"retest": {proposal.retest} is another idea than this one, which is '
            f"#{last.number}. Give that number."
        )
    return proposal.retest or last.number


def _check_unknown(proposal: Proposal) -> None:
    if proposal.retest is not None:
        raise PatchError(
            "`retest` is for an idea that was tried before, with the same edits; this "
            "one is new, so leave it out."
        )


def _never_ran(one: Tried) -> bool:
    return one.reason.startswith(NEVER_RAN)


def _quote(earlier: Tried, metric: str) -> str:
    effect = effect_words(earlier.effect, earlier.effect_sd)
    effect = f", {metric} {effect}" if effect else ""
    reason = f" ({one_line(earlier.reason, 120)})" if earlier.reason else ""
    return f"already tried as #{earlier.number}: {earlier.verdict}{effect}{reason}."


def _places(values: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Knobs and their values; as JSON, because the ledger knows no tuples."""
    return sorted((knob, json.dumps(value, default=repr)) for knob, value in values)


def _reordered(edits: tuple[Edit, ...], one: Tried) -> bool:
    """Whether the edits differ in their order only; it costs little to see they do."""
    if len(edits) < 2 or len(edits) != len(one.edits):
        return False
    if sorted(edit.label() for edit in edits) != sorted(e.label() for e in one.edits):
        return False
    try:
        return _key(edits) == _key(one.edits)
    except PatchError:  # the earlier one was no Python, so it said something else
        return False


def _key(edits: tuple[Edit, ...]) -> list[str]:
    return sorted(json.dumps(edit.canonical()) for edit in edits)
