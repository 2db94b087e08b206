"""The system calls of the sandbox that Python does not offer, through the C library.

Linux only. Every function raises OSError with the kernel's reason.
"""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
NAMESPACES = (
    CLONE_NEWUSER
    | CLONE_NEWNS
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWIPC
    | CLONE_NEWUTS
)

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
MNT_DETACH = 2

_MOUNT_SETATTR = 442  # numbers from 424 on are the same on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """A raw system call; integers are passed as longs, the rest as it is."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words))


def prctl(option: int, value: int = 0, pointer: object = 0) -> int:
    """Set one attribute of this process."""
    third = ctypes.c_ulong(pointer) if isinstance(pointer, int) else pointer
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(option, ctypes.c_ulong(value), third, zero, zero)
    return _checked(result)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _checked(_libc.unshare(flags))


def mount(
    source: str, target: str, kind: str = "", flags: int = 0, data: str = ""
) -> None:
    """mount(2)."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    result = _libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None)
    _checked(result, target)


def restrict_mount(target: str, attributes: int, *, below: bool = True) -> None:
    """Add `attributes` to the mount at `target`, and to all mounts below it."""
    values = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags, size = _AT_RECURSIVE if below else 0, ctypes.sizeof(values)
    syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, values, size)


def enter_root(path: str) -> None:
    """Make the mount at `path` the root directory and let go of the old one."""
    os.chdir(path)
    _checked(_libc.pivot_root(b".", b"."), path)
    _checked(_libc.umount2(b".", MNT_DETACH), path)
    os.chdir("/")


def drop_bounding_set() -> None:
    """Give up the right to gain capabilities by exec, as far as we may."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:  # past the last one, or not allowed: no_new_privs covers that
            return


def drop_capabilities() -> None:
    """Give up all capabilities."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def _checked(result: int, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
