"""The checks that every proposal passes before anything is rendered or run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Proposal, identity
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.quoting import one_line
from autoresearch_plugin.repeats import check_repeat, same_edits, same_program
from autoresearch_plugin.tried import Tried


def check(data: object, request: Request) -> Proposal:
    """The proposal in `data`, if it may be tried on `request.source`.

    Raises:
        PatchError: it has the wrong shape, is about another file, does not apply,
            cannot matter, was tried already, or its category is paused or not asked
            for.
    """
    proposal = Proposal.from_data(data)
    _check_files(data, request.target)
    same = same_edits(proposal.edits, request.tried)
    if same:  # before it is applied: an edit that was kept no longer applies
        check_repeat(proposal, same, request.head, request.metric)
    mends = _check_mended(proposal, request.mend)
    if proposal.category not in request.categories and mends is None:
        raise PatchError(
            f"category {proposal.category!r} is not asked for here; use one of "
            f"{', '.join(request.categories)}."
        )
    if proposal.category in request.banned and mends is None:
        raise PatchError(
            f"category {proposal.category!r} is paused; use a change of another kind."
        )
    patched = _patched(proposal, request.source)
    same += same_program(identity(request.source, patched), request.tried)
    again = check_repeat(proposal, same, request.head, request.metric)
    return replace(proposal, retest=again, repairs=mends)


def sort(
    raw: Sequence[object], request: Request
) -> tuple[tuple[Proposal, ...], list[tuple[object, str]]]:
    """Proposals of one answer that may be tried, and the others with the reason."""
    good: dict[str, Proposal] = {}
    bad: list[tuple[object, str]] = []
    for data in raw:
        try:
            proposal = check(data, request)
        except PatchError as error:
            bad.append((data, str(error)))
            continue
        if proposal.signature in good:
            bad.append((data, "the same change twice in one answer."))
        else:
            good[proposal.signature] = proposal
    return tuple(good.values()), bad


def _patched(proposal: Proposal, source: str) -> str:
    try:
        patched = proposal.apply(source)
        reason = patch.pointless(source, patched)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        # code from outside can be too deep or too odd for Python's own parser
        raise PatchError(
            f"the change cannot be applied: {type(error).__name__}: {error}."
        ) from None
    if reason:
        raise PatchError(f"the change cannot matter: {reason}.")
    return patched


def _check_mended(proposal: Proposal, mend: Tried | None) -> int | None:
    """The crash that it mends: the one that the request is about, and no other."""
    if proposal.repairs is None:
        return None
    if mend is None or proposal.repairs not in (0, mend.number):
        asked = f"#{mend.number}" if mend else "none"
        raise PatchError(
            f'"repairs": {proposal.repairs}, but the crash to be mended now is '
            f"{asked}. Leave it out."
        )
    return mend.number


def excerpt(text: object, width: int = 200) -> str:
    """The beginning of an answer, on one line, for the report."""
    words = text if isinstance(text, str) else json.dumps(text, default=str)
    return one_line(words, width)


_PAIR = re.compile(r"^--- (\S+).*\n\+\+\+ (\S+)", re.MULTILINE)
_NAMED = re.compile(r"(?:---|\+\+\+|Index:) ([^\t]+)|diff --git (\S+) (\S+)")


def _check_files(data: object, target: str) -> None:
    """Refuse edits that name another file than the target."""
    assert isinstance(data, Mapping)
    named: list[Any] = [data.get("file"), data.get("path")]
    for edit in data["edits"]:
        named += [edit.get("file"), edit.get("path")]
        if edit["op"] == "apply":
            named += _names_in(edit["diff"])
    for name in named:
        if name is None:
            continue
        if not f"/{target}".endswith("/" + str(name).removeprefix("./")):
            raise PatchError(
                f"the proposal edits {str(name)[:200]!r}, but only {target} can be "
                "changed."
            )


def _names_in(diff: str) -> list[str]:
    """Every file that a diff names, without git's a/ and b/."""
    found = map(_NAMED.match, patch.file_header(diff))
    names = [name for match in found if match for name in match.groups() if name]
    names += [x for pair in _PAIR.findall(diff.replace("\r\n", "\n")) for x in pair]
    return [re.sub("^[ab]/", "", name.rstrip()) for name in names]
