"""Edits of source text: apply, compare, describe. Pure functions on strings.

A candidate never edits a live module: it edits the *text* of the target, so that the
bytes that run are the bytes that get committed.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import io
import itertools
import re
import tokenize
from dataclasses import dataclass
from typing import Any

from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.syntax import (
    Definition,
    constant,
    definition,
    indent_of,
    is_literal,
    literal_of,
    logical_lines,
    normalise,
    normalise_definition,
    normalised,
    parse,
    pointless,
    split_lines,
    trimmed,
)

__all__ = [
    "Change",
    "Knob",
    "apply_diff",
    "changes",
    "define",
    "file_header",
    "knobs",
    "logical_lines",
    "normalise",
    "normalise_definition",
    "parse",
    "pointless",
    "replace_once",
    "set_knob",
    "sha256",
    "unified_diff",
]


def sha256(text: str) -> str:
    """Hash of the UTF-8 bytes of `text`, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


# ----------------------------------------------------------------- the four verbs


def replace_once(source: str, old: str, new: str) -> str:
    """Replace the only occurrence of `old`; line ends become those of the target.

    Raises:
        PatchError: `old` is empty or does not occur exactly once.
    """
    if not old:
        raise PatchError("replace() needs the text to replace; it is empty.")
    old, new = (_with_newlines_of(source, text) for text in (old, new))
    count = len(re.findall(f"(?={re.escape(old)})", source))
    if count != 1:
        raise PatchError(
            f"{_short(old)} occurs {count} times in the target; expected exactly once."
            + _nearest(source, old, count)
        )
    return source.replace(old, new)


def set_knob(source: str, name: str, value: object) -> str:
    """Give the module-level knob `name` another literal value; its comment stays.

    Raises:
        PatchError: there is no such knob, or `value` is not a plain literal.
    """
    found = _knob_assignments(source)
    if name not in found:
        known = ", ".join(found) or "none"
        raise PatchError(f"no knob {name!r} in the target; it has: {known}.")
    node = found[name][1]
    if isinstance(ast.literal_eval(node), tuple):
        value = _as_tuple(value)
    text = repr(value)
    if not is_literal(text):
        raise PatchError(
            f"set({name!r}, {text[:60]}): a knob takes a plain literal "
            "(number, string, bool, None, tuple or list of these)."
        )
    return _splice(source, node, text)


def define(source: str, new: str, within: str | None = None) -> str:
    """Swap one function or class for the definition `new` of the same name.

    `within` names the class (dotted for nested ones) that holds it. Decorators must be
    the same, because they are part of what the rest of the module relies on. `new` may
    be indented as a whole; the text of its strings stays as it is.

    Raises:
        PatchError: `new` is not one definition, or the target has no unique partner.
    """
    replacement = definition(new)
    old = _find_definition(source, replacement.name, within)
    if _decorators(old) != _decorators(replacement):
        raise PatchError(
            f"decorators of {replacement.name!r} differ: the target has "
            f"{_decorators(old) or 'none'}, the new definition "
            f"{_decorators(replacement) or 'none'}."
        )
    lines = split_lines(source)
    first, last = _first_line(old), old.end_lineno or old.lineno
    margin = lines[old.lineno - 1][: old.col_offset]
    body = _with_newlines_of(source, _indented(trimmed(new), margin) + "\n")
    return "".join([*lines[: first - 1], body, *lines[last:]])


def apply_diff(source: str, diff: str) -> str:
    """Apply a unified diff of one file; each hunk must match exactly one place.

    Whole lines are compared and the line numbers of the @@ lines are ignored, because
    models cannot count.

    Raises:
        PatchError: the diff has no hunk, is of several files, or a hunk matches no
            place or several.
    """
    _check_header(diff)
    hunks = _hunks(diff)
    if not hunks:
        raise PatchError("the diff holds no hunk (a line that starts with @@).")
    for old, new in hunks:
        if not old:
            raise PatchError("a hunk has no context to find its place by.")
        source = _replace_lines(source, old, new)
    return source


def unified_diff(old: str, new: str, path: str) -> str:
    """Unified diff that `git apply` takes; empty when the texts are equal."""
    before, after = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (old, new))
    lines = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in lines
    )


# ----------------------------------------------------------------------- knobs


@dataclass(frozen=True)
class Knob:
    """A module-level literal with its comment: `LR = 0.04  # words; range a..b log`."""

    name: str
    value: Any
    line: int
    comment: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def searchable(self) -> bool:
        """Whether the comment tells a search where it may look."""
        return bool(self.choices) or self.low is not None

    @property
    def is_integer(self) -> bool:
        """Whether the knob counts something (both ends of its range are integers)."""
        ends = (self.low, self.high)
        return all(isinstance(end, int) for end in ends) and not isinstance(
            self.value, float
        )


_RANGE = re.compile(r"(?:^|;)\s*range\s+(\S+?)\.\.(\S+?)(\s+log)?\s*(?:;|$)")
_CHOICES = re.compile(r"(?:^|;)\s*choices\s+([^;]+)")


def knobs(source: str) -> list[Knob]:
    """All knobs of the target, in order of appearance.

    Raises:
        PatchError: a comment's range has no two ends, or a choice is no literal.
    """
    lines = split_lines(source)
    found = []
    for name, (node, value) in _knob_assignments(source).items():
        line = lines[(node.end_lineno or node.lineno) - 1].encode()
        rest = line[node.end_col_offset :].decode()
        comment = rest.partition("#")[2].strip()
        found.append(_knob(name, ast.literal_eval(value), node.lineno, comment))
    return found


@dataclass(frozen=True)
class Change:
    """What a patch means for one knob: `LR 0.04→0.05`."""

    knob: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.knob} {self.old!r}→{self.new!r}"


def changes(old: str, new: str) -> tuple[tuple[Change, ...], bool]:
    """The knobs that a patch gives other values, and whether that is all it does.

    Raises:
        PatchError: one of the two is not Python.
    """
    before, after = parse(old), parse(new)
    was, now = _constants(before), _constants(after)
    found = []
    for name, (_, value) in now.items():
        if name in was and ast.dump(was[name][1]) != ast.dump(value):
            given = ast.literal_eval(was[name][1]), ast.literal_eval(value)
            found.append(Change(name, *given))
            node = was[name][0]
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            node.value = value
    return tuple(found), normalised(before) == normalised(after)


def _knob(name: str, value: Any, line: int, comment: str) -> Knob:
    if match := _RANGE.search(comment):
        low, high = (_comment_literal(name, match[i]) for i in (1, 2))
        _check_range(name, low, high, bool(match[3]))
        return Knob(name, value, line, comment, low, high, bool(match[3]))
    if match := _CHOICES.search(comment):
        items = tuple(_comment_literal(name, item) for item in _split(match[1]))
        return Knob(name, value, line, comment, choices=items)
    return Knob(name, value, line, comment)


def _check_range(name: str, low: Any, high: Any, log: bool) -> None:
    numbers = all(type(end) in (int, float) for end in (low, high))
    if not numbers or not low < high or (log and low <= 0):
        raise PatchError(
            f"the comment of knob {name!r} has the range {low}..{high}; it needs two "
            f"numbers, the smaller one first{', above zero for log' if log else ''}."
        )


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts = re.split(r""",(?=(?:[^"'()]|"[^"]*"|'[^']*'|\([^)]*\))*$)""", text)
    return [part.strip() for part in parts if part.strip()]


def _comment_literal(name: str, text: str) -> Any:
    try:
        return literal_of(text)
    except (ValueError, SyntaxError):
        if re.fullmatch(r"\w+", text):
            return text
        raise PatchError(
            f"the comment of knob {name!r} holds {text!r}, which is no literal."
        ) from None


# --------------------------------------------------------------------- helpers


def _with_newlines_of(source: str, text: str) -> str:
    text = text.replace("\r\n", "\n")
    crlf = "\r\n" in source and not re.search(r"(?<!\r)\n", source)
    return text.replace("\n", "\r\n") if crlf else text


def _short(text: str, width: int = 60) -> str:
    line = split_lines(text.strip())[0].rstrip() if text.strip() else text
    cut = len(line) > width or "\n" in text.strip()
    return repr(line[:width] + ("..." if cut else ""))


def _nearest(source: str, old: str, count: int) -> str:
    if count:
        return " Add lines around it until it is unique."
    first = next((line for line in split_lines(old) if line.strip()), old)
    close = difflib.get_close_matches(first, split_lines(source), 1, 0.6)
    return f" Nearest line: {close[0].strip()!r}." if close else ""


def _as_tuple(value: object) -> object:
    """JSON's lists as the tuples they stand for, all the way down."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def _knob_assignments(source: str) -> dict[str, tuple[ast.stmt, ast.expr]]:
    return _constants(parse(source))


def _constants(tree: ast.Module) -> dict[str, tuple[ast.stmt, ast.expr]]:
    named = [(node, constant(node)) for node in tree.body]
    return {one[0]: (node, one[1]) for node, one in named if one and one[0].isupper()}


def _splice(source: str, node: ast.expr, text: str) -> str:
    """Replace the characters of one expression (ast columns count UTF-8 bytes)."""
    lines = [line.encode() for line in split_lines(source)]
    end_line = node.end_lineno or node.lineno
    head = lines[node.lineno - 1][: node.col_offset]
    tail = lines[end_line - 1][node.end_col_offset :]
    before, after = lines[: node.lineno - 1], lines[end_line:]
    return b"".join([*before, head, text.encode(), tail, *after]).decode()


def _find_definition(source: str, name: str, within: str | None) -> Definition:
    scope: ast.AST = parse(source)
    for part in within.split(".") if within else []:
        scope = _unique(scope, part, f"class {part!r}")
    return _unique(scope, name, f"definition of {name!r} in {within or 'the module'}")


def _unique(scope: ast.AST, name: str, what: str) -> Definition:
    found = [
        node
        for node in getattr(scope, "body", [])
        if isinstance(node, Definition) and node.name == name
    ]
    if len(found) != 1:
        raise PatchError(f"the target has {len(found)} times a {what}; expected one.")
    return found[0]


def _decorators(node: Definition) -> str:
    return ", ".join(ast.unparse(decorator) for decorator in node.decorator_list)


def _first_line(node: Definition) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _indented(text: str, margin: str) -> str:
    """`text` moved to `margin`, except for the lines that continue a string."""
    own = indent_of(text)
    fixed = _string_lines(text)
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if number not in fixed:
            lines[number] = margin + line.removeprefix(own) if line.strip() else ""
    return "\n".join(lines)


def _string_lines(text: str) -> set[int]:
    """Indices of the lines that start inside a string, docstrings left out."""
    inside: set[int] = set()
    statement_starts = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _STRINGS and not statement_starts:
            inside.update(range(token.start[0], token.end[0]))
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            statement_starts = token.type in _STATEMENT_STARTS
    return inside


_STATEMENT_STARTS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
_STRINGS = [
    getattr(tokenize, name)
    for name in ("STRING", "FSTRING_MIDDLE", "TSTRING_MIDDLE")
    if hasattr(tokenize, name)
]


def _replace_lines(source: str, old: list[str], new: list[str]) -> str:
    lines = split_lines(source)
    bare = [line.rstrip("\r\n") for line in lines]
    size = len(old)
    places = [i for i in range(len(lines) - size + 1) if bare[i : i + size] == old]
    if len(places) != 1:
        text = "\n".join(old)
        raise PatchError(
            f"a hunk that starts with {_short(text)} matches {len(places)} places in "
            "the target; expected exactly one." + _nearest(source, text, len(places))
        )
    end = places[0] + size
    text = _with_newlines_of(source, "".join(f"{line}\n" for line in new))
    if end == len(lines) and not lines[-1].endswith("\n"):
        text = text.removesuffix("\n").removesuffix("\r")
    return "".join([*lines[: places[0]], text, *lines[end:]])


_MORE = re.compile(
    r"(?:rename|copy) (?:from|to) |(?:new|deleted) file mode |(?:old|new) mode "
    r"|GIT binary patch|Binary files "
)


def file_header(diff: str) -> list[str]:
    """The lines above a diff's first hunk, where files and modes are named."""
    lines = [line.rstrip("\r\n") for line in split_lines(diff)]
    return list(itertools.takewhile(lambda line: not line.startswith("@@"), lines))


def _check_header(diff: str) -> None:
    for line in file_header(diff):
        if _MORE.match(line):
            raise PatchError(
                f"the diff says {_short(line)}; only the text of the target can change."
            )


def _hunks(diff: str) -> list[tuple[list[str], list[str]]]:
    """Old and new lines of each hunk, without their ends."""
    hunks: list[list[str]] = []
    lines = [line.rstrip("\r\n") for line in split_lines(diff)]
    for line, following in zip(lines, [*lines, ""][1:], strict=True):
        if line.startswith("@@"):
            hunks.append([])
        elif hunks and _starts_file(line, following):
            raise PatchError("the diff is of several files; only the target changes.")
        elif hunks:
            hunks[-1].append(line)
    return [_sides(hunk) for hunk in hunks]


def _sides(hunk: list[str]) -> tuple[list[str], list[str]]:
    # An empty line is blank context whose space an editor took, unless it is the end.
    while hunk and not hunk[-1]:
        hunk.pop()
    old = [line[1:] for line in hunk if line[:1] in ("-", " ", "")]
    new = [line[1:] for line in hunk if line[:1] in ("+", " ", "")]
    return old, new


def _starts_file(line: str, following: str) -> bool:
    header = line.startswith("--- ") and following.startswith("+++ ")
    return header or line.startswith("diff --git ")
