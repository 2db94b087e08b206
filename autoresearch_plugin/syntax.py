"""Python source as text and as syntax: what it says, whatever its formatting.

`patch.py` edits it; nothing here changes a source.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.limits import DEPTH, depth_of

Parsed = TypeVar("Parsed")
_alone = threading.Lock()
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def split_lines(text: str) -> list[str]:
    """Lines with their ends, split where Python and git do and nowhere else.

    `str.splitlines` also splits at form feeds and at separators inside strings.
    """
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def normalise(source: str) -> str:
    """What the code *does*: its AST without docstrings, formatting and comments, and
    with neighbouring constants in the order of their names.

    Raises:
        PatchError: `source` is not Python.
    """
    return normalised(parse(source))


def normalised(tree: ast.Module) -> str:
    """`normalise` for what `parse` gave, which it uses up."""
    body = _constants_sorted(_without_docstrings(tree).body)
    return ast.dump(ast.Module(body, type_ignores=[]))


def _constants_sorted(body: list[ast.stmt]) -> list[ast.stmt]:
    """`NAME = literal` lines that follow one another do not need their order."""
    found: list[ast.stmt] = []
    for named, lines in itertools.groupby(body, lambda node: bool(constant(node))):
        run = list(lines)
        # a stable sort: of two values for one name the later still is the last
        found += sorted(run, key=_constant_name) if named else run
    return found


def constant(node: ast.stmt) -> tuple[str, ast.expr] | None:
    """Name and value of a `NAME = literal` line; None for any other statement."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None
    if not isinstance(target, ast.Name) or node.value is None:
        return None
    return (target.id, node.value) if is_literal(node.value) else None


def _constant_name(node: ast.stmt) -> str:
    found = constant(node)
    return found[0] if found else ""


def is_literal(node: ast.expr | str) -> bool:
    """Whether an expression is a plain literal: numbers, strings, lists of them."""
    try:
        literal_of(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def tree_of(source: str) -> ast.Module:
    """`ast.parse`, safe between threads."""
    return _alone_with(lambda: ast.parse(source))


def literal_of(text: str | ast.expr) -> Any:
    """`ast.literal_eval`, safe between threads."""
    return _alone_with(lambda: ast.literal_eval(text))


def _alone_with(parse: Callable[[], Parsed]) -> Parsed:
    """One thread at a time parses.

    Python 3.11 counts the depth of a tree once for all threads, and takes what another
    one has added for damage: SystemError. Whoever parses without us, as pytest does for
    a traceback, can still come between, so that it is tried again.
    """
    with _alone, warnings.catch_warnings():
        # An odd escape in a candidate is no business of the user's terminal.
        warnings.simplefilter("ignore")
        for _ in range(9):
            with contextlib.suppress(SystemError):
                return parse()
        return parse()


def parse(source: str, what: str = "the patched target") -> ast.Module:
    """Parse `source`; whatever is wrong with it becomes a one-line PatchError."""
    try:
        tree = tree_of(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        words = getattr(error, "msg", None) or str(error) or "nested too deeply"
        raise PatchError(f"{what} is not Python: {words}{where}.") from None
    if depth_of(tree) > DEPTH:  # what walks it later would give up in the middle
        raise PatchError(f"{what} is nested more than {DEPTH} deep.")
    return tree


def normalise_definition(new: str) -> str:
    """`normalise` for the text of one definition, however it is indented.

    Raises:
        PatchError: `new` is not one function or class.
    """
    module = ast.Module(body=[definition(new)], type_ignores=[])
    return ast.dump(_without_docstrings(module))


def pointless(old: str, new: str) -> str | None:
    """Why a change cannot matter ("only comments or formatting", ...), or None."""
    before, after = parse(old), parse(new)
    if old == new:
        return "the patched target equals its parent"
    if normalise(old) == normalise(new):
        return "only comments, docstrings, formatting or the order of constants change"
    if _dump_without_prints(before) == _dump_without_prints(after):
        return "only prints change"
    if _dump_without_seeds(before) == _dump_without_seeds(after):
        return "only a seed changes"
    return None


def logical_lines(source: str) -> int:
    """Statements in `source`, without docstrings: the unit of the simplicity price."""
    tree = _without_docstrings(parse(source))
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))


def definition(new: str) -> Definition:
    """The one function or class that `new` holds, however it is indented.

    Raises:
        PatchError: it holds something else.
    """
    text = trimmed(new)
    # Strings at the left margin forbid textwrap.dedent; a block around it does not.
    block = "if True:\n" if indent_of(text) else ""
    body = parse(block + text, "the new definition").body
    if block and isinstance(body[0], ast.If):
        body = body[0].body
    if len(body) != 1 or not isinstance(body[0], Definition):
        raise PatchError("define() takes exactly one function or class.")
    return body[0]


def trimmed(new: str) -> str:
    """A definition's text without blank lines around it, `\\n` as line end."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", new.replace("\r\n", "\n")).rstrip()


def indent_of(text: str) -> str:
    """White space that `text` starts with."""
    return text[: len(text) - len(text.lstrip())]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Definition) and _has_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _has_docstring(node: ast.Module | Definition) -> bool:
    first = node.body[0] if node.body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


class _DropPrints(ast.NodeTransformer):
    """Drop prints that do nothing else, and `pass`, which they may leave behind."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        return None if _is_print(node.value) else node

    def visit_Pass(self, node: ast.Pass) -> None:
        return None


_HARMLESS = {"print", "float", "format", "int", "item", "len", "round", "str"}


def _is_print(call: ast.expr) -> bool:
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "print"):
        return False
    return all(
        not isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)
        and not (isinstance(node, ast.Call) and _called(node) not in _HARMLESS)
        for node in ast.walk(call)
    )


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rsplit(".", 1)[-1]


_SEEDING = re.compile(r"seed|manual_seed(_all)?|seed_(all|everything)|set_seed")
_SEED_NAME = re.compile(r"(.*[._])?seed", re.IGNORECASE)


class _BlankSeeds(ast.NodeTransformer):
    """Blank what only chooses a random stream: `manual_seed(1)`, `SEED = 1`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if _SEEDING.fullmatch(_called(node)) and len(node.args) == 1:
            node.args = [ast.Constant(value=0)]
        for keyword in node.keywords:
            if keyword.arg == "seed":
                keyword.value = ast.Constant(value=0)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if all(_SEED_NAME.fullmatch(ast.unparse(target)) for target in node.targets):
            node.value = ast.Constant(value=0)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value and _SEED_NAME.fullmatch(ast.unparse(node.target)):
            node.value = ast.Constant(value=0)
        return node


def _dump_without_prints(tree: ast.Module) -> str:
    return ast.dump(_without_docstrings(_DropPrints().visit(_copy(tree))))


def _dump_without_seeds(tree: ast.Module) -> str:
    return ast.dump(_without_docstrings(_BlankSeeds().visit(_copy(tree))))


def _copy(tree: ast.Module) -> ast.Module:
    return tree_of(ast.unparse(tree))
