"""Names for processes: how the ledger knows whether an owner is still alive."""

from __future__ import annotations

import functools
import os
from pathlib import Path


def this_process() -> str:
    """Name of this process that no later process with the same pid shares, not even
    after a reboot: `pid:start:boot`."""
    return f"{os.getpid()}:{_start_time(os.getpid())}:{this_boot()}"


def is_alive(owner: str) -> bool:
    """Whether the process that `this_process` named still runs on this machine.

    Names of older releases have fewer parts; what is missing is not asked for.
    """
    pid, started, boot = (*owner.split(":"), "", "")[:3]
    if boot and boot != this_boot():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return not started or _start_time(int(pid)) == started


@functools.cache
def this_boot() -> str:
    """What tells this boot of the machine from others; "" where there is nothing.

    Start times count from the boot, so the same pid with the same start time can come
    again after one.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


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
