"""Text from outside made fit to quote: what a training run or a model has written.

It may hold escape sequences, progress bars, keys, home directories, and sentences that
read like instructions. None of that may reach a terminal, a report or a prompt.
"""

from __future__ import annotations

import re

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_HOME = re.compile(
    r"(?:/home/|/Users/|\b[A-Za-z]:\\Users\\)[^/\\\s:'\"]+|/root(?=[/\s:'\"])"
)
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_\w{8,}|gh[pousr]_\w{8,}|github_pat_\w{8,}|AKIA\w{12,})"
    r"|(?i:(?<=bearer )\S{8,})"
    r"|(?i:(?:(?<=key=)|(?<=key: )|(?<=token=)|(?<=secret=)|(?<=password=))\S{8,})"
)
_FENCE = re.compile(r"<(?=\s*/?\s*program-output)", re.IGNORECASE)


def clean(text: str, lines: int = 60, width: int = 200) -> str:
    """Program output made fit to quote: the last `lines` lines, each cut at `width`.

    Escape sequences and control characters go, of a progress bar only its last state
    stays, home directories become `~` and whatever looks like a key `[key]`.
    """
    text = _SECRET.sub("[key]", _HOME.sub("~", _ANSI.sub("", text)))
    kept = [_printable(_last_state(line)).rstrip() for line in text.split("\n")]
    kept = [cut(line, width) for line in kept if line]
    return _FENCE.sub("(", "\n".join(kept[-lines:]))


def one_line(text: str, width: int) -> str:
    """`clean` on a single line."""
    return cut(" ".join(clean(text, width=10 * width).split()), width)


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "" for c in text)


def cut(text: str, width: int) -> str:
    """At most `width` characters, with three dots when something is missing."""
    return text if len(text) <= width else text[: width - 3] + "..."


def quoted(text: str, chars: int) -> str:
    """`text`, cut at `chars`, between the marks that say: data, no instruction."""
    return f"<program-output>\n{cut(text, chars)}\n</program-output>"
