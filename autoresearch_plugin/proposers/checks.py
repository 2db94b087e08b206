"""The checks that every proposal passes before anything is rendered or run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Edit, Proposal, signature
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.quoting import one_line


def check(data: object, request: Request) -> Proposal:
    """The proposal in `data`, if it may be tried on `request.source`.

    Raises:
        PatchError: it has the wrong shape, is about another file, does not apply,
            cannot matter, was tried already, or its category is paused.
    """
    proposal = Proposal.from_data(data)
    _check_files(data, request.target)
    if earlier := already_tried(proposal.edits, request.tried):
        raise PatchError(_quote(earlier, request.metric))
    if proposal.category in request.banned:
        raise PatchError(
            f"category {proposal.category!r} is paused; use a change of another kind."
        )
    try:
        reason = patch.pointless(request.source, proposal.apply(request.source))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        # code from outside can be too deep or too odd for Python's own parser
        raise PatchError(
            f"the change cannot be applied: {type(error).__name__}: {error}."
        ) from None
    if reason:
        raise PatchError(f"the change cannot matter: {reason}.")
    return proposal


def key(edits: tuple[Edit, ...]) -> tuple[str, ...]:
    """Identity of an idea that does not depend on the order of its edits."""
    return tuple(sorted(json.dumps(edit.canonical()) for edit in edits))


def already_tried(edits: tuple[Edit, ...], tried: tuple[Tried, ...]) -> Tried | None:
    """The earlier candidate that said the same, if there is one."""
    name = signature(edits)
    same = (one for one in tried if one.signature == name or _reordered(edits, one))
    return next(same, None)


def _reordered(edits: tuple[Edit, ...], one: Tried) -> bool:
    if len(edits) < 2 or len(edits) != len(one.edits):
        return False
    try:
        return key(edits) == key(one.edits)
    except PatchError:  # the earlier one was no Python, so it said something else
        return False


def excerpt(text: object, width: int = 200) -> str:
    """The beginning of an answer, on one line, for the report."""
    words = text if isinstance(text, str) else json.dumps(text, default=str)
    return one_line(words, width)


def _quote(earlier: Tried, metric: str) -> str:
    effect = "" if earlier.effect is None else f", {metric} {earlier.effect:+.4g}"
    reason = f" ({one_line(earlier.reason, 120)})" if earlier.reason else ""
    return (
        f"already tried as #{earlier.number}: {earlier.verdict}{effect}{reason}. "
        "Propose something else."
    )


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
