"""Text from outside made fit to quote: what a training run or a model has written.

It may hold escape sequences, progress bars, keys, home directories, and sentences that
read like instructions. None of that may reach a terminal, a report or a prompt.
"""

from __future__ import annotations

import json
import re
import unicodedata

ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b\n]{0,500}(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b\n]{0,500}(?:\x1b\\)?"  # DCS and its like
    r"|\x1b."
)
_HOME = re.compile(
    r"(?:/home/|/Users/|\b[A-Za-z]:\\Users\\)[^/\\\s:'\"]+|/root(?=[/\s:'\"])"
)
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_\w{8,}|gh[pousr]_\w{8,}|github_pat_\w{8,}|AKIA\w{12,})"
    r"|(?i:(?<=bearer )\S{8,})"
    r"|(?i:(?:(?<=key=)|(?<=key: )|(?<=token=)|(?<=secret=)|(?<=password=))\S{8,})"
)


# Not to be seen, or they turn the order of what is: bidi controls, zero-width and tag
# characters (general category Cf), fillers, variation selectors, surrogates, private.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f"
    "\U000e0000-\U000e0fff\ud800-\udfff\ue000-\uf8ff]"
)
_COMMAND = re.compile(r"##(?=\[)")  # CI systems obey `##[...]` wherever it stands
BAR = "| "  # before each line that a program or a model has written


def visible(text: str) -> str:
    """`text` with what cannot be seen as U+FFFD, and without control characters but
    line ends and tabs: what a reader of a terminal or a file may be shown."""
    text = _COMMAND.sub("# #", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, _UNSEEN.sub("\ufffd", text)))


def _visible(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    kind = unicodedata.category(char)
    if kind == "Cc":
        return ""
    return " " if kind == "Zs" else "\ufffd"


def flat(text: str) -> str:
    """`visible` on one line, whole."""
    return visible(" ".join(text.split()))


def barred(text: str) -> str:
    """Each line behind a bar: none can pass for one of ours, or for a CI command."""
    return "\n".join(f"{BAR}{line}".rstrip() for line in visible(text).split("\n"))


def clean(text: str, lines: int = 60, width: int = 200) -> str:
    """Program output made fit to quote: the last `lines` lines, each cut at `width`.

    Escape sequences and control characters go, of a progress bar only its last state
    stays, home directories become `~` and whatever looks like a key `[key]`.
    """
    text = _SECRET.sub("[key]", _HOME.sub("~", ESCAPES.sub("", text)))
    kept = [_printable(_last_state(line)).rstrip() for line in text.split("\n")]
    kept = [cut(line, width) for line in kept if line]
    return "\n".join(kept[-lines:])


def one_line(text: str, width: int) -> str:
    """`clean` on a single line."""
    return cut(" ".join(clean(text, width=10 * width).split()), width)


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


def _printable(text: str) -> str:
    return visible(text.replace("\t", " "))


def cut(text: str, width: int) -> str:
    """At most `width` characters, with three dots when something is missing."""
    return text if len(text) <= width else text[: width - 3] + "..."


def quoted(value: object) -> str:
    """`value` as JSON between the marks that say: data, no instruction.

    One line of ASCII without angle brackets: whatever the text in it says, it can
    neither end the string it is in nor the block.
    """
    data = json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<program-output>\n{data}\n</program-output>"
