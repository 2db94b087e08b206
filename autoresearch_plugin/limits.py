"""What a change may weigh: ideas are small, and weights do not fit into them.

A network whose weights come along in the source has learned outside its budget, from
data that nobody saw. Texts that make Python itself work for ever, when they are parsed
or when their constants are computed, are refused here as well. Nothing is executed.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from autoresearch_plugin.errors import PatchError

GROWTH = 64 * 1024  # bytes that a patched target may be longer than its parent
TEXT = 2 * 1024  # characters of one literal, or bytes
NUMBERS = 512  # in one list, tuple, set, dict or call
DIGITS = 1000  # of one integer
BITS = DIGITS * 10 // 3  # the same in bits: log2(10) is 3.32
ELEMENTS = 10**7  # of a literal that is multiplied
DEPTH = 200  # of a syntax tree, or of a value

_WEIGHTS = "weights cannot be brought along in the source"

Found = tuple[str, str]  # a reason for people, and what tells one literal from another


def check_growth(old: str, new: str) -> None:
    """Raise PatchError when `new` is much longer than its parent."""
    grown = len(new) - len(old)
    if grown > GROWTH:
        raise PatchError(
            f"the change makes the target {_spaced(grown)} characters longer; at most "
            f"{_spaced(GROWTH)} are an idea: {_WEIGHTS}."
        )


def check(old: ast.Module, new: ast.Module) -> None:
    """Raise PatchError when `new` holds a literal that its parent does not, and that is
    too large to be an idea."""
    for found in (Counter(_too_large(new)) - Counter(_too_large(old))).elements():
        raise PatchError(f"{found[0]}.")


def check_value(value: object, depth: int = 0) -> None:
    """The same for JSON data that will be written as a literal."""
    if depth > DEPTH:
        raise PatchError(f"a value is nested more than {DEPTH} deep.")
    if isinstance(value, str):
        _raise_if(_long_text(value))
    elif isinstance(value, int):
        _raise_if(_long_integer(value))
    elif isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        for one in (*inner, *(value if isinstance(value, dict) else ())):
            check_value(one, depth + 1)
        _raise_if(_many_numbers(_count(value)))


def depth_of(tree: ast.AST) -> int:
    """How deep a syntax tree is; found without recursion."""
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    return deepest


def _raise_if(reason: str | None) -> None:
    if reason:
        raise PatchError(f"{reason}.")


def _too_large(tree: ast.AST) -> Iterator[Found]:
    for node in ast.walk(tree):
        if reason := _reason(node):
            yield reason, ast.dump(node)


def _reason(node: ast.AST) -> str | None:
    """What is wrong with one node, if anything is."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str | bytes):
            return _long_text(node.value)
        return _long_integer(node.value) if isinstance(node.value, int) else None
    if isinstance(node, ast.JoinedStr):
        parts = [x.value for x in node.values if isinstance(x, ast.Constant)]
        return _long_text("".join(map(str, parts)))
    if isinstance(node, ast.BinOp):
        return _bomb(node)
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Call):
        return _many_numbers(sum(map(_is_number, _leaves(node))))
    return None


def _long_text(value: str | bytes) -> str | None:
    if len(value) <= TEXT:
        return None
    unit = "characters" if isinstance(value, str) else "bytes"
    return (
        f"a literal of {_spaced(len(value))} {unit}: {_WEIGHTS} (at most "
        f"{_spaced(TEXT)})"
    )


def _long_integer(value: int) -> str | None:
    bits = value.bit_length()
    if bits <= BITS:
        return None
    return f"an integer of about {_spaced(bits * 3 // 10)} digits (at most {DIGITS})"


def _many_numbers(count: int) -> str | None:
    if count <= NUMBERS:
        return None
    return f"a literal of {_spaced(count)} numbers: {_WEIGHTS} (at most {NUMBERS})"


def _count(value: object) -> int:
    if isinstance(value, dict | list | tuple):
        return sum(map(_count, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float)


def _leaves(node: ast.AST) -> Iterator[ast.AST]:
    """The items of a display, and of displays in it."""
    if isinstance(node, ast.Call):
        yield from node.args
        return
    waiting: list[ast.AST] = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Dict):
            waiting += [x for x in (*inner.keys, *inner.values) if x is not None]
        elif isinstance(inner, ast.List | ast.Tuple | ast.Set):
            waiting += inner.elts
        else:
            yield inner


def _is_number(node: ast.AST) -> bool:
    while isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(
        node.value, int | float | complex
    )


# ------------------------------------------------------------------------- arithmetic


def _bomb(node: ast.BinOp) -> str | None:
    """Why a constant expression would fill the memory: `10**10**9`, `"x" * 10**9`."""
    try:
        _integer(node)
        sides = (node.left, node.right), (node.right, node.left)
        for literal, times in sides if isinstance(node.op, ast.Mult) else ():
            size, count = _size(literal), _integer(times)
            if size and count and size * count > ELEMENTS:
                return f"a constant of {_spaced(size * count)} elements"
    except OverflowError as error:
        return str(error)
    return None


def _size(node: ast.expr) -> int:
    """Elements of a literal that multiplication repeats; 0 for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return len(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _size(node.left) * (_integer(node.right) or 0)
    return len(node.elts) if isinstance(node, ast.List | ast.Tuple) else 0


def _integer(node: ast.expr) -> int | None:
    """Value of an integer expression without names; None for anything else.

    Raises:
        OverflowError: it has too many digits.
    """
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.UnaryOp):
        inner = _integer(node.operand)
        return abs(inner) if inner is not None else None  # only the size matters
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _integer(node.left), _integer(node.right)
    if left is None or right is None:
        return None
    return _combined(node.op, abs(left), abs(right))


def _combined(op: ast.operator, left: int, right: int) -> int | None:
    bits = left.bit_length()
    if isinstance(op, ast.Pow):
        bits *= right if left > 1 else 1
    elif isinstance(op, ast.LShift):
        bits += right if left else 0
    elif isinstance(op, ast.Mult | ast.Add | ast.Sub):
        bits += right.bit_length()
    else:
        return None
    if bits > BITS:
        digits = bits * 3 // 10
        known = _spaced(digits) if digits.bit_length() < 100 else "uncountable"
        raise OverflowError(f"an integer of about {known} digits (at most {DIGITS})")
    if isinstance(op, ast.Pow):
        return int(left**right)
    if isinstance(op, ast.LShift):
        return left << right
    return left * right if isinstance(op, ast.Mult) else left + right


def _spaced(count: int) -> str:
    """`100 000`."""
    return f"{count:,}".replace(",", " ")
