"""What the standard library offers, imported in a fraction of its time.

A runner and a watcher are started for every phase of a run. `json`, `signal`, `typing`
and `collections.abc` together take longer to import than everything else that they do;
what they are made of does not. Import `Any` and abstract types below `if MYPY:`, which
only mypy believes.
"""

from __future__ import annotations

MYPY = False
if MYPY:
    import signal
    from collections.abc import Mapping
    from typing import Any
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["MYPY", "dumps", "loads", "signal"]


class _Context:
    """What the scanner of CPython asks for."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_int, parse_float, parse_constant = int, float, None


def loads(text: str) -> Any:
    """`json.loads`, which itself is called only for what is out of the ordinary.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        from _json import make_scanner

        context: Any = _Context()
        value, end = make_scanner(context)(text, 0)
        if not text[end:].strip():
            return value
    except Exception:  # its errors are those of an interpreter without `json`
        pass
    import json

    return json.loads(text)


def dumps(values: Mapping[str, str | float | None]) -> str:
    """One flat JSON object."""
    return "{" + ", ".join(f'"{key}": {_word(v)}' for key, v in values.items()) + "}"


def _word(value: str | float | None) -> str:
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else repr(value)


def _escaped(letter: str) -> str:
    if letter.isascii() and letter.isprintable() and letter not in '"\\':
        return letter
    number = ord(letter)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
