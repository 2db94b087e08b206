"""What a process tree is and uses, read from /proc. Empty on a system without it."""

from __future__ import annotations

import os
import time

from autoresearch_plugin.sandbox.quick import MYPY

if MYPY:
    from collections.abc import Callable, Iterator

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _PAGES = 1, 21  # fields of /proc/PID/stat after `)`
_OWN, _WAITED_FOR, _TIMES = slice(11, 13), slice(13, 15), slice(11, 15)


def descendants(root: int) -> list[int]:
    """Pids of everything that `root` has started and that still lives."""
    find = _children if os.path.exists(_CHILDREN.format(root, root)) else _scan()
    found: list[int] = []
    todo = [root]
    while todo:
        below = find(todo.pop())
        found += below
        todo += below
    return found


def usage(pids: list[int]) -> tuple[float, float]:
    """CPU seconds, of their own and of what they waited for, and resident megabytes."""
    cpu = mb = 0.0
    for pid in pids:
        if fields := _stat(pid):
            cpu += _ticks(fields, _TIMES)
            mb += int(fields[_PAGES]) * _PAGE_MB
    return cpu, mb


def tree_cpu_seconds(root: int) -> float | None:
    """CPU seconds of everything `root` has started, alive or reaped, without its own.

    None on a system without /proc, and when `root` is gone. Living processes are read
    from their own CPU clock, which counts nanoseconds; `stat` counts ticks of 10 ms.
    Processes whose parent ignores SIGCHLD are lost when they end.
    """
    fields = _stat(root)
    if not fields:
        return None
    total = _ticks(fields, _WAITED_FOR)
    for pid in descendants(root):
        if fields := _stat(pid):
            total += _ticks(fields, _WAITED_FOR) + _own_cpu(pid, fields)
    return total


def _own_cpu(pid: int, fields: list[bytes]) -> float:
    try:
        # Linux numbers the CPU clock of a whole process so (CPUCLOCK_SCHED = 2).
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return _ticks(fields, _OWN)


def _ticks(fields: list[bytes], times: slice) -> float:
    return sum(map(int, fields[times])) * _TICK


def shared_fairly_mb(pids: list[int]) -> float:
    """Resident megabytes, where a page that n processes share counts 1/n for each."""
    total = 0.0
    for pid in pids:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) / 1024
                break
        else:
            total += usage([pid])[1]
    return total


def tasks_of(uid: int) -> int:
    """How many threads a user runs, which is what RLIMIT_NPROC counts."""
    return sum(_tasks(pid) for pid in _pids() if _owner(pid) == uid)


def deleted_open_mb(pids: list[int]) -> float:
    """Megabytes in files without a name that are still open."""
    files = {}
    for pid in pids:
        for name in _names(f"/proc/{pid}/fd"):
            try:
                found = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if not found.st_nlink:
                files[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(files.values()) / 2**20


_CHILDREN = "/proc/{}/task/{}/children"


def _children(pid: int) -> list[int]:
    return [
        int(word)
        for task in _names(f"/proc/{pid}/task")
        for word in _read(_CHILDREN.format(pid, task)).split()
    ]


def _scan() -> Callable[[int], list[int]]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if fields := _stat(pid):
            children.setdefault(int(fields[_PARENT]), []).append(pid)
    return lambda pid: children.get(pid, [])


def _pids() -> Iterator[int]:
    return (int(name) for name in _names("/proc") if name.isdigit())


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from `state` on; the name before may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _tasks(pid: int) -> int:
    return len(_names(f"/proc/{pid}/task"))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
