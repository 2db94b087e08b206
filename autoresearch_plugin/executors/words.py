"""What a process has printed, made fit for people, prompts and the ledger."""

from __future__ import annotations

import re

from autoresearch_plugin.quoting import ESCAPES, visible

LOG_LINES = 200
LOG_WIDTH = 500  # characters of one line
LOG_SIZE = 16 * 1024  # characters of the whole

_ERROR_LINE = re.compile(
    r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|OutOfMemory\w*))(?:: (.*))?$",
    re.MULTILINE,
)


def last_error(log: str) -> tuple[str, str]:
    """Name and words of the last exception a log shows; empty if it shows none."""
    found = _ERROR_LINE.findall(log)
    return found[-1] if found else ("", "")


def clean_log(data: bytes) -> str:
    """The end of an output as plain lines: no escapes, no control characters.

    A carriage return starts the line anew, as in a terminal, so that a progress bar
    leaves its last state alone. Long lines lose their middle, long logs their start.
    """
    text = ESCAPES.sub("", data.decode(errors="replace"))
    lines = [_plain(line) for line in text.split("\n")[-LOG_LINES - 1 :]]
    while lines and not lines[-1]:
        lines.pop()
    kept, size = [], 0
    for line in reversed(lines[-LOG_LINES:]):
        size += len(line) + 1
        if size > LOG_SIZE:
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def _plain(line: str) -> str:
    line = line.rstrip("\r \t").rsplit("\r", 1)[-1].replace("\t", "    ")
    line = visible(line)
    if len(line) <= LOG_WIDTH:
        return line
    half = LOG_WIDTH // 2 - 3
    return f"{line[:half]} ... {line[-half:]}"


def one_line(text: str, width: int = 500) -> str:
    """Words from outside as one printable line."""
    line = " ".join(ESCAPES.sub("", text).split())
    return visible(line)[:width]
