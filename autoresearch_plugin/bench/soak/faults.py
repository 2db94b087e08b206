"""Faults from outside: SIGKILL to a process of a chosen kind, and a disk that is full.

Processes are found below the controller in /proc and known by their command lines.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LANES = ("worker", "trial", "training")
KILLS = (*LANES, "controller", *LANES)  # a new controller takes longest to begin
PROPOSER = "proposer"
DISK = "disk full"
FULL_SECONDS = 2.0  # how long nothing can be written

_MARKS = {
    "worker": "exec(eval(sys.stdin",  # how execnet starts one
    "trial": "executors/run.py",
    "training": "soak/training.py",
    PROPOSER: "soak/program.py",
}


@dataclass(frozen=True)
class Fault:
    """One that was injected: what, when, and into which process."""

    kind: str
    at: float
    pid: int


@dataclass(frozen=True)
class Process:
    """A line of /proc."""

    pid: int
    parent: int
    words: str

    @property
    def kind(self) -> str:
        """What it is in a session; the order says that a runner's own command line,
        which quotes the training's, makes it no training. A child of pytest that was
        forked a moment ago still has its words."""
        if "--autoresearch" in self.words:
            return "other"
        found = (kind for kind, mark in _MARKS.items() if mark in self.words)
        return next(found, "other")


def below(root: int) -> list[Process]:
    """All processes below `root`, without it."""
    every = list(_processes())
    known, found = {root}, []
    grown = True
    while grown:
        new = [p for p in every if p.parent in known and p.pid not in known]
        known |= {p.pid for p in new}
        found += new
        grown = bool(new)
    return found


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            yield Process(int(entry.name), int(stat[1]), words.decode(errors="replace"))


def inject(kind: str, controller: int, rng: random.Random) -> Fault | None:
    """Inject one fault; None when there is no such process at the moment."""
    if kind == DISK:
        fill_disk(controller)
        return Fault(kind, time.time(), controller)
    if kind == "controller":
        pids = [controller]
    else:
        pids = [p.pid for p in below(controller) if p.kind == kind]
    if not pids:
        return None
    pid = rng.choice(pids)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return Fault(kind, time.time(), pid)


def fill_disk(controller: int) -> None:
    """For a moment no process of the session can make a file longer.

    A limit on the size of files, because a full disk would hit the neighbours too; what
    they see is EFBIG where it would be ENOSPC.
    """
    _limit_files(controller, 0)
    time.sleep(FULL_SECONDS)
    _limit_files(controller, None)


def _limit_files(controller: int, size: int | None) -> None:
    for pid in (controller, *(p.pid for p in below(controller))):
        with contextlib.suppress(OSError):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            limits = (most if size is None else size, most)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def rss_mb(pid: int) -> float:
    """Memory that a process holds now; 0 if it is gone."""
    with contextlib.suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0
