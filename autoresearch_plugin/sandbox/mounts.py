"""A root directory of our own: an empty file system and what the policy binds into it.

Everything appears under its own name, so paths mean the same inside and outside. What
is not bound does not exist.
"""

from __future__ import annotations

import os

from autoresearch_plugin.sandbox.kernel import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    enter_root,
    mount,
    restrict_mount,
)
from autoresearch_plugin.sandbox.quick import MYPY

if MYPY:
    from collections.abc import Iterable

LINKS = 40  # symbolic links followed for one path, as the kernel's limit


def new_root(
    where: str,
    read: Iterable[str],
    write: Iterable[str],
    hide: Iterable[str],
    devices: Iterable[str],
    tmp_mb: int,
) -> None:
    """Build the root on the empty directory `where`, and enter it.

    To be called as the first process of new user, mount and pid namespaces.

    Raises:
        OSError: the kernel refused a mount, or a path is not there.
    """
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", where, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    for path in ("/tmp", "/dev/shm"):
        os.makedirs(where + path)
        size = f"size={tmp_mb}m,mode=1777"
        mount("tmpfs", where + path, "tmpfs", MS_NOSUID | MS_NODEV, size)
    read_only = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    binds = dict.fromkeys(read, read_only)
    binds |= dict.fromkeys(write, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    # Read-only: nobody changes a device's own mode; it can be written to all the same.
    binds |= dict.fromkeys(devices, MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY)
    for path, attributes in sorted(binds.items()):  # what lies below comes later
        _bind(where, path, attributes)
    for path in hide:
        if os.path.isdir(where + path):
            mount("tmpfs", where + path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k")
            restrict_mount(where + path, MOUNT_ATTR_RDONLY)
    _proc(where + "/proc")
    enter_root(where)
    restrict_mount("/", MOUNT_ATTR_RDONLY, below=False)


def _bind(root: str, path: str, attributes: int) -> None:
    real = _make_place(root, path)
    mount(real, root + real, flags=MS_BIND | MS_REC)
    restrict_mount(root + real, attributes)


def _make_place(root: str, path: str) -> str:
    """Make a mount point for `path`, and the symbolic links on the way to it.

    Returns the path without links.
    """
    done, todo = "", [part for part in path.split("/") if part]
    links = 0
    while todo:
        part = todo.pop(0)
        here = os.path.normpath(f"{done}/{part}")
        if os.path.islink(here):
            links += 1
            if links > LINKS:
                raise OSError(40, os.strerror(40), path)
            target = os.readlink(here)
            if not os.path.lexists(root + here):
                os.symlink(target, root + here)
            todo = [part for part in target.split("/") if part] + todo
            done = "" if target.startswith("/") else done
            continue
        done = "" if here == "/" else here
        if not os.path.lexists(root + here):
            _make(root + here, os.path.isdir(here) or bool(todo))
    return done or "/"


def _make(path: str, directory: bool) -> None:
    if directory:
        os.mkdir(path, 0o755)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _proc(where: str) -> None:
    """A fresh /proc; where a container hides parts of its own, that one."""
    os.mkdir(where)
    try:
        mount("proc", where, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        mount("/proc", where, flags=MS_BIND | MS_REC)
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs"):  # the kernel's own knobs
        if os.path.exists(here := f"{where}/{name}"):
            mount(here, here, flags=MS_BIND | MS_REC)
            restrict_mount(here, MOUNT_ATTR_RDONLY)
