"""Names for processes: how the ledger knows whether an owner is still alive."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> str:
    """Name of this process that no later process with the same pid shares."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def is_alive(owner: str) -> bool:
    """Whether the process that `this_process` named still runs on this machine."""
    pid, _, started = owner.partition(":")
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return _start_time(int(pid)) == started


def _start_time(pid: int) -> str:
    """Start time in clock ticks since boot, from /proc; "" where there is none.

    A process that has ended but was not waited for (a zombie) has none either.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]
