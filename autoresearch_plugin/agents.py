"""Agents: one file each in experiments/agents, a program for a proposer of its own.

    ---
    proposer: anthropic
    model: claude-opus-5-5
    categories: optimizer, schedule
    share: 0.2
    ---
    Look for what the optimizer does wrong late in a run.

All keys may be left out; `proposer` and `model` are the session's then. The reader is
ours and knows `key: value` alone: five keys are no reason for a dependency.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.settings import parse_price

AGENTS = "experiments/agents"
PROGRAM = "experiments/program.md"
FENCE = "---"
TOTAL = 1.0 + 1e-9  # of all shares; decimal fractions do not add up exactly


@dataclass(frozen=True)
class Agent:
    """A proposer with its steering text; None is what the session's settings say.

    The implicit one of a project without a directory of agents has no name.
    """

    name: str = ""
    file: str = PROGRAM
    program: str = ""
    proposer: str | None = None
    model: str | None = None
    price: tuple[float, float] | None = None
    categories: tuple[str, ...] = CATEGORIES
    share: float = 0.0
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def at(self, *keys: str) -> str:
        """`FILE:LINE` of the first of these keys that the file has."""
        line = next((self.lines[key] for key in keys if key in self.lines), 1)
        return f"{self.file}:{line}"


def read_agents(root: Path) -> tuple[Agent, ...]:
    """The agents of a project by name; without a directory of them the implicit one.

    Raises:
        SettingsError: a file is not as it should be, or the shares exceed 1.
    """
    directory = root / AGENTS
    paths = sorted(directory.glob("*.md")) if directory.is_dir() else []
    paths = [path for path in paths if path.name.lower() != "readme.md"]
    if not paths:
        return (Agent(program=_text_of(root / PROGRAM, missing="")),)
    agents = tuple(parse(_text_of(path), path.name) for path in paths)
    total = 0.0
    for agent in agents:
        total += agent.share
        if total > TOTAL:
            raise SettingsError(
                f"{agent.at('share')}: the shares of all agents add up to {total:g}, "
                "which is more than 1. Lower one of them, or leave it out."
            )
    return agents


def reread(root: Path, agent: Agent) -> Agent:
    """The agent with its program as it is now: steering needs no restart.

    A file that is gone or cannot be read leaves it as it was; all else that a file
    says counts from the next session on.
    """
    path = root / agent.file
    try:
        if not agent.name:
            return replace(agent, program=_text_of(path, missing=""))
        return replace(agent, program=parse(_text_of(path), path.name).program)
    except SettingsError:
        return agent


def parse(text: str, name: str) -> Agent:
    """The agent in one file's text; `name` is the file's.

    Raises:
        SettingsError: with file and line.
    """
    file = f"{AGENTS}/{name}"
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,39}\.md", name, re.ASCII):
        raise SettingsError(
            f"{file}:1: an agent is named by its file, with at most 40 letters, "
            "digits, '-' and '_'. Rename it."
        )
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    body, begins = _split(text, file)
    for number, key, value in _pairs(text, begins, file):
        if key in values:
            raise SettingsError(f"{file}:{number}: {key} stands here twice.")
        values[key], lines[key] = _value(f"{file}:{number}", key, value), number
    if not body.strip():
        raise SettingsError(
            f"{file}:{begins}: there is no program. Write below the front matter what "
            "this agent should look for."
        )
    return Agent(name.removesuffix(".md"), file, body, lines=lines, **values)


def _split(text: str, file: str) -> tuple[str, int]:
    """The body, and the number of its first line."""
    lines = text.splitlines()
    if not text.lstrip().startswith(FENCE):
        return text, 1
    if lines[0].rstrip() != FENCE:
        raise SettingsError(
            f"{file}:1: the front matter begins with a line of {FENCE}, which is the "
            "first of the file. Remove what stands before or behind it."
        )
    for number, line in enumerate(lines[1:], start=2):
        if line.rstrip() == FENCE:
            return "\n".join(lines[number:]), number + 1
    raise SettingsError(
        f"{file}:1: the front matter does not end. Close it with a line of {FENCE}."
    )


def _pairs(text: str, begins: int, file: str) -> Iterator[tuple[int, str, str]]:
    """Line number, key and value of each line of the front matter."""
    for number, line in enumerate(text.splitlines()[1 : max(1, begins - 2)], start=2):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, colon, value = line.partition(":")
        value = value.strip()
        if not colon or not value:
            raise SettingsError(
                f"{file}:{number}: {line.strip()[:80]!r} is not `key: value`."
            )
        if key not in _PARSERS:
            raise SettingsError(
                f"{file}:{number}: unknown key {key.strip()[:40]!r}; use one of "
                f"{', '.join(_PARSERS)}."
            )
        yield number, key, value


def _value(where: str, key: str, text: str) -> Any:
    if text[0] == text[-1] and text[0] in "\"'" and len(text) > 1:
        text = text[1:-1]
    try:
        return _PARSERS[key](text)
    except ValueError as error:
        raise SettingsError(f"{where}: {key} {text[:80]!r}: {error}") from None


def _categories(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.strip("[]").split(","))
    for name in names:
        if name not in CATEGORIES:
            raise ValueError(f"{name!r} is none of {', '.join(CATEGORIES)}.")
    return tuple(name for name in CATEGORIES if name in names)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("a share is a number from 0 to 1, for example 0.2.")
    return share


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "proposer": str,
    "model": str,
    "price": parse_price,
    "categories": _categories,
    "share": _share,
}


def _text_of(path: Path, missing: str | None = None) -> str:
    """What a file says; `missing` for one that is not there.

    Raises:
        SettingsError: it is no UTF-8 text, or cannot be read.
    """
    if missing is not None and not path.is_file():
        return missing
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read as UTF-8 text: {error}. Mend it or move it away."
        ) from None
