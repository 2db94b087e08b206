"""Writes docs/messages.md: every message that this project raises or tells.

    python tests/write_messages.py

Messages are read from the source: git's from `repository.MESSAGES`, the others from
where our own error classes and pytest's UsageError are made, and where a session tells
what happens in it. A test compares the page with the source, so that a new message
cannot be forgotten.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoresearch_plugin import errors, repository
from autoresearch_plugin.ledger.connection import ADVICE

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autoresearch_plugin"
PAGE = ROOT / "docs" / "messages.md"
OURS = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
CLASSES = OURS | {"UsageError"}
TELL = {"tell", "add_event", "_event"}  # what a session says while it goes on
BECOME_SETTINGS = {"settings.py", "agents.py"}  # their ValueErrors end up in one
WORD = re.compile(r"[A-Za-z]{2,}(?=\s|$)")
# Calls that say nothing about what stands there; their object or argument does.
BY_OBJECT = {"rstrip", "resolve", "relative_to", "strip", "removeprefix"}
BY_ARGUMENT = {"len", "join", "str", "repr", "type"}

HEADER = """\
# Messages

What the plugin says when something cannot be done. Words in braces stand for the value
at hand. Every message says what happened, the value seen and what to do next.

How they reach you: a `SettingsError` or `UsageError` ends pytest with exit code 4
before anything runs; a `PatchError`, `BudgetSpentError`, `NoTrialError` or
`TrialFailed` fails its own test; an `InfrastructureError` (`LedgerError`,
`RepositoryError`) is a failure of the machinery, exit code 1; what a proposer says when
it gives up (`ProposerError`, for now `Unavailable`) is told while the search fills in,
and is exit code 6 where it cannot; the
`autoresearch` script prints any of them in one line and exits 1. What is `told`
appears between the runs while a session goes on; nothing needs to be done then.

This page is written by `python tests/write_messages.py`.
"""


@dataclass(frozen=True, order=True)
class Message:
    """One message: the module it is in, its class, its text with {places}."""

    module: str
    kind: str
    text: str


def collect() -> list[Message]:
    """All messages, by module in order of their lines."""
    return [
        message
        for path in sorted(PACKAGE.rglob("*.py"))
        for message in of_source(path.read_text(), _module(path))
    ]


def render() -> str:
    """The whole page."""
    lines = [HEADER, "## git", ""]
    for key, text in repository.MESSAGES.items():
        lines.append(f"* **{key}**: {_escaped(text)}")
    module = ""
    for message in collect():
        if message.module != module:
            module = message.module
            lines += ["", f"## {module}", ""]
        lines.append(f"* {message.kind}: {_escaped(message.text)}")
        if message.text.endswith("{advice}"):
            lines += [f"  * {key}: {_escaped(text)}" for key, text in ADVICE.items()]
    return "\n".join(lines) + "\n"


def of_source(source: str, module: str) -> Iterator[Message]:
    """The messages of one module, each once."""
    nodes = list(ast.walk(ast.parse(source)))
    classes = CLASSES | {
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef)
        and {ast.unparse(base) for base in node.bases} & OURS
    }
    if f"{module}.py" in BECOME_SETTINGS:
        classes |= {"ValueError"}
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    found: dict[Message, None] = {}  # a set that keeps its order
    for call in sorted(calls, key=lambda call: call.lineno):
        kind = ast.unparse(call.func).rpartition(".")[2]
        text = " ".join(_text(call.args[-1]).split())
        if kind in classes and any(map(str.isalpha, _bare(text))):
            found[Message(module, kind, text)] = None
        if kind in TELL and (text := _told(call)):
            found[Message(module, "told", text)] = None
    return iter(found)


def _told(call: ast.Call) -> str:
    """The sentence among the arguments; its kind is one word, others are names."""
    texts = [" ".join(_text(node).split()) for node in call.args]
    return next((text for text in texts if len(WORD.findall(_bare(text))) > 1), "")


def _module(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.FormattedValue):
        return _place(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return _place(node)


def _place(node: ast.expr) -> str:
    """What stands for a value; a text that is there under a condition is shown."""
    if isinstance(node, ast.IfExp):
        return _text(node.body)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return _text(node.values[-1])
    return f"{{{_name(node).strip('_')}}}"


def _name(node: ast.expr) -> str:
    """One word for an expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        key = getattr(node.slice, "value", None)
        return key if isinstance(key, str) else _name(node.value)
    if isinstance(node, ast.Call):
        name = _name(node.func)
        if name in BY_ARGUMENT and node.args:
            return _name(node.args[0])
        by_object = name in BY_OBJECT and isinstance(node.func, ast.Attribute)
        return _name(node.func.value) if by_object else name
    if isinstance(node, ast.BinOp):
        return _name(node.left)
    if isinstance(node, ast.BoolOp):
        return _name(node.values[0])
    return "..."


def _bare(text: str) -> str:
    """Without the places."""
    outside, depth = [], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if not depth:
            outside.append(letter)
    return "".join(outside)


def _escaped(text: str) -> str:
    """Angle brackets and stars as text, not as Markdown."""
    return text.replace("<", "\\<").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"{PAGE}: {len(collect()) + len(repository.MESSAGES)} messages")
