"""What `runner` and `watcher` share: a process to which the kernel gives the orphans.

Whatever a command leaves behind (daemons that forked twice and called setsid too)
becomes a child of the nearest subreaper above it, which kills and reaps until the
kernel says that there is no child any more.
"""

from __future__ import annotations

import os
import sys
import time

from autoresearch_plugin.sandbox import kernel, processes
from autoresearch_plugin.sandbox.quick import MYPY, signal

if MYPY:
    from collections.abc import Callable

SWEEP_LIMIT = 5.0  # seconds; a process stuck in a driver call may not die at all
PAUSE = 0.001  # seconds between two rounds of killing
ROUNDS = 50  # of stopping, before killing has to do


def become() -> None:
    """The parent of every orphan below us; nothing on a system without prctl."""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)


def listen(*numbers: int) -> int:
    """A descriptor that can be read after one of these signals, or after SIGCHLD."""
    wake, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # Handlers that do nothing, not SIG_IGN: exec would pass SIG_IGN on.
    for number in (*numbers, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return wake


def reap(took: Callable[[int, int], None]) -> bool:
    """Take the dead off, with their pid and status; False when no child is left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            return True
        took(pid, status)


def sweep(took: Callable[[int, int], None], kill: Callable[[], None]) -> list[int]:
    """Kill and reap until no child is left; pids of those that do not die."""
    give_up = time.monotonic() + SWEEP_LIMIT
    while reap(took):
        kill()
        if time.monotonic() > give_up:
            return processes.descendants(os.getpid())
        time.sleep(PAUSE)
    return []


def kill_all(also: int) -> None:
    """SIGKILL to everything below us, and to `also` if nothing is seen there.

    First all are stopped, until nobody new turns up: who is stopped forks no more, and
    still counts for the limit that a fork bomb runs into. One that is killed makes room
    for the next.
    """
    stopped: set[int] = set()
    for _ in range(ROUNDS):
        new = set(processes.descendants(os.getpid())) - stopped
        if not new:
            break
        for pid in new:
            send(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped or {also}:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except OSError:
        pass
