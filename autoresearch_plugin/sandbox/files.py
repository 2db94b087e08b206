"""Directories that another process has filled, handled without following its links."""

from __future__ import annotations

import os
import stat

from autoresearch_plugin.sandbox.quick import MYPY

if MYPY:
    from collections.abc import Iterator

SHARED = ("/tmp", "/var/tmp", "/dev/shm")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_EMPTY_FILE = 1024  # bytes that an entry costs at least


def walk(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below `top` with its lstat; what cannot be read is left out."""
    todo = [top]
    while todo:
        try:
            names = os.listdir(here := todo.pop())
        except OSError:
            continue
        for name in names:
            path = f"{here}/{name}"
            try:
                found = os.lstat(path)
            except OSError:
                continue
            yield path, found
            if stat.S_ISDIR(found.st_mode):
                todo.append(path)


def give(top: str, uid: int, gid: int) -> None:
    """Make a directory and all in it belong to `uid`, but no file with another name.

    Raises:
        OSError: not even `top` itself could be given.
    """
    os.chown(top, uid, gid, follow_symlinks=False)
    for path, found in walk(top):
        if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):
            try:
                os.chown(path, uid, gid, follow_symlinks=False)
            except OSError:
                continue


def remove(top: str) -> None:
    """Delete a directory, however deep and whatever its modes.

    Down by name and up by `..`, through descriptors: whoever swaps a directory for a
    link meanwhile leads us nowhere.
    """
    try:
        here = _enter(top)
    except OSError:
        return
    above: list[tuple[tuple[int, int], list[str], str]] = []
    names = os.listdir(here)
    try:
        while names or above:
            if names:
                name = names.pop()
                below = _unlink_or_enter(name, here)
                if below >= 0:
                    above.append((_identity(here), names, name))
                    os.close(here)
                    here, names = below, os.listdir(below)
                continue
            who, names, name = above.pop()
            up = os.open("..", _DIRECTORY, dir_fd=here)
            os.close(here)
            here = up
            if _identity(here) != who:
                return
            try:
                os.rmdir(name, dir_fd=here)
            except OSError:
                continue
    finally:
        os.close(here)
    try:
        os.rmdir(top)
    except OSError:
        pass


def _unlink_or_enter(name: str, where: int) -> int:
    """A descriptor of a directory; -1 for what is gone or cannot be entered."""
    try:
        os.unlink(name, dir_fd=where)
    except FileNotFoundError:
        return -1
    except OSError:  # a directory
        try:
            return _enter(name, where)
        except OSError:
            return -1
    return -1


def _enter(name: str, where: int | None = None) -> int:
    """A descriptor of a directory that is ours to empty, not of what it links to."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | _DIRECTORY, dir_fd=where)
    here = f"/proc/self/fd/{found}"
    try:
        os.chmod(here, 0o700)
        return os.open(here, _DIRECTORY)
    finally:
        os.close(found)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def remove_owned(uid: int) -> None:
    """Delete what a private user has left where everybody may write."""
    todo = list(SHARED)
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
                folder = stat.S_ISDIR(found.st_mode)
                if found.st_uid == uid:
                    remove(entry.path) if folder else os.unlink(entry.path)
                elif folder and found.st_mode & 0o2:
                    todo.append(entry.path)
            except OSError:
                continue


def size_mb(tops: list[str], enough: float) -> float:
    """Megabytes that lie below `tops`; stops counting at `enough`."""
    total = 0.0
    for top in tops:
        for _, found in walk(top):
            total += max(found.st_blocks * 512, _EMPTY_FILE) / 2**20
            if total > enough:
                return total
    return total


def used_mb(tops: list[str]) -> float:
    """Megabytes in use on the file systems that hold `tops`: a cheap upper bound."""
    systems = {}
    for top in tops:
        try:
            found = os.statvfs(top)
            device = os.stat(top).st_dev
        except OSError:
            continue
        blocks = (found.f_blocks - found.f_bfree) * found.f_frsize
        systems[device] = blocks + (found.f_files - found.f_ffree) * _EMPTY_FILE
    return sum(systems.values()) / 2**20


def readable(path: str) -> bool:
    """Whether any user may read `path`, if they get there."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    need = 0o5 if stat.S_ISDIR(mode) else 0o4
    return mode & need == need


def passable(path: str) -> bool:
    """Whether any user gets to `path`."""
    above = os.path.realpath(path)
    while above != "/":
        above = os.path.dirname(above)
        if not os.stat(above).st_mode & 1:
            return False
    return True
