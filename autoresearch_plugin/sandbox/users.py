"""A user for one run, and the maps that say who is who in a user namespace."""

from __future__ import annotations

import os


def private_uid() -> int:
    """A user that nobody is; in a container one of those that it has."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        top = max(int(first) + int(count) for first, _, count in map(str.split, file))
    base, span = (0x70000000, 4 << 20) if top > 0x7F000000 else (50000, 15000)
    return base + os.getpid() % span


def write_maps(pid: int, uid: int | None) -> None:
    """Let the new user namespace of `pid` know us, and `uid` if there is one.

    Raises:
        OSError: the kernel refused; for a second user it wants CAP_SETUID.
    """
    ids = [(os.geteuid(), os.getegid())]
    if uid is None:
        _write(f"/proc/{pid}/setgroups", "deny")
    else:
        ids.append((uid, uid))
    for index, name in enumerate(("uid_map", "gid_map")):
        lines = [f"{pair[index]} {pair[index]} 1" for pair in ids]
        _write(f"/proc/{pid}/{name}", "\n".join(lines))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())  # at once: the kernel takes one write
    finally:
        os.close(fd)
