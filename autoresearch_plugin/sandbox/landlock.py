"""Landlock: which files a process and its children may touch, whoever they are.

From ABI 4 on it also denies TCP, from ABI 6 signals and abstract sockets to processes
outside. It does not cover chmod, utime, extended attributes, UDP, System V objects and
sockets with a path: those are seccomp's, or hidden by a mount namespace.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from autoresearch_plugin.sandbox import kernel
from autoresearch_plugin.sandbox.quick import MYPY

if MYPY:
    from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1  # flag of _CREATE: only tell the ABI
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE, _MAKE_FILES = 0x30, 0x1780  # no device nodes
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL

LOOK = _READ_FILE | _READ_DIR
READ = LOOK | _EXECUTE
WRITE = READ | _WRITE_FILE | _REMOVE | _MAKE_FILES | _REFER | _TRUNCATE
PLAIN_DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE
DEVICE = PLAIN_DEVICE | _IOCTL
EDIT = LOOK | _WRITE_FILE


def abi() -> int:
    """What this kernel can do.

    Raises:
        OSError: there is no Landlock here.
    """
    return kernel.syscall(_CREATE, None, 0, _VERSION)


def restrict(rules: Iterable[tuple[str, int]]) -> int:
    """Allow this process only what `rules`, pairs of path and rights, name.

    Paths that do not exist are left out. Returns how many rules hold.
    """
    version = abi()
    files = (1 << (13 + (version >= 2) + (version >= 3))) - 1
    files |= _IOCTL if version >= 5 else 0
    network, scope = 3, 3  # bind and connect; abstract sockets and signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("QQQ", files, network, scope)[:size]
    ruleset = kernel.syscall(_CREATE, attributes, size, 0)
    try:
        added = sum(_add(ruleset, path, rights & files) for path, rights in rules)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return added


def around(paths: Iterable[str], hidden: list[str]) -> list[tuple[str, int]]:
    """Rules to read `paths` without what is `hidden` in them (real paths).

    A right holds for all that lies below, and nothing takes it away again. So where
    something is hidden, a directory may only be listed, and its other entries be read.
    """
    rules, waiting = [], list(paths)
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path) if hidden else path
        if real in hidden:
            continue
        if any(name.startswith(f"{real}/") for name in hidden):
            rules.append((real, _READ_DIR))
            names = [f"{real}/{name}" for name in os.listdir(real)]
            waiting += [name for name in names if not os.path.islink(name)]
        else:
            rules.append((path, READ))
    return rules


def _add(ruleset: int, path: str, rights: int) -> bool:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd), 12)
        kernel.syscall(_ADD, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
    return True
