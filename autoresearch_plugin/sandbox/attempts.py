"""Tries each part of the sandbox in a child of its own; prints what holds, as JSON.

    python -I -S enter.py --try [PART TO LEAVE OUT]...

A program, because a fork of pytest itself would copy its threads' locks.
"""

from __future__ import annotations

import _socket  # `socket` takes longer to import than all the trials together
import errno
import os
import sys

from autoresearch_plugin.sandbox import files, kernel, landlock, mounts, seccomp, users
from autoresearch_plugin.sandbox.inside import PLAIN_DEVICES
from autoresearch_plugin.sandbox.orders import SCOPED
from autoresearch_plugin.sandbox.quick import MYPY, dumps, loads, signal

if MYPY:
    from collections.abc import Callable


def main(words: list[str]) -> int:
    """Print, for each part, True, a number, or the reason for which it was refused.

    The first word names directories, as JSON, that another user must be able to reach.
    """
    needed, without = loads(words[0]), words[1:]
    attempts: dict[str, Callable[[], int]] = {
        "userns": _userns,
        "landlock": _landlock,
        "seccomp": _seccomp,
        "uid": _uid,
        "reachable": lambda: _reachable(needed),
    }
    found: dict[str, str | float | None] = {"root": os.geteuid() == 0}
    for name, attempt in attempts.items():
        left_out = "uid" if name == "reachable" else name
        found[name] = "left out" if left_out in without else _in_child(attempt)
    if "scoped" in without and isinstance(found["landlock"], int):
        found["landlock"] = min(found["landlock"], SCOPED - 1)
    sys.stdout.write(dumps(found))
    return 0


def _in_child(attempt: Callable[[], int]) -> str | float:
    """What `attempt` returns in a child, or the words of its OSError."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            words: str | int = attempt() or True
        except OSError as error:
            words = errno.errorcode.get(error.errno or 0) or str(error)
        except BaseException as error:
            words = repr(error)
        os.write(writer, dumps({"": words}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return loads(text.decode())[""] if text else "the kernel killed the trial"


def _userns() -> int:
    """New namespaces, a second user in them, a root of our own with nothing old."""
    asking, ask = os.pipe()
    going, go = os.pipe()
    if not (pid := os.fork()):
        os.close(asking)
        os.close(go)
        _report(ask, lambda: _leave(ask, going))
    os.close(ask)
    os.close(going)
    answer = os.read(asking, 16)
    if answer == b"+":
        try:
            users.write_maps(pid, users.private_uid() if os.geteuid() == 0 else None)
        except OSError:
            users.write_maps(pid, None)
        os.write(go, b"+")
        answer = os.read(asking, 16)
    number = int(answer or errno.EIO)
    os.waitpid(pid, 0)
    if number:
        raise OSError(number, os.strerror(number))
    return 0


def _leave(ask: int, going: int) -> None:
    kernel.unshare(kernel.NAMESPACES)
    os.write(ask, b"+")
    os.read(going, 1)
    if pid := os.fork():
        os.waitpid(pid, 0)
        os._exit(0)
    _report(ask, _new_root)


def _new_root() -> None:
    mounts.new_root("/tmp", ["/usr"], [], [], PLAIN_DEVICES, tmp_mb=1)
    if os.getpid() != 1 or set(os.listdir("/")) != {"dev", "proc", "tmp", "usr"}:
        raise OSError(errno.ENOTSUP, "the namespaces have no effect")


def _report(fd: int, act: Callable[[], None]) -> None:
    """Write the errno of `act` and end."""
    try:
        act()
        os.write(fd, b"0")
    except OSError as error:
        os.write(fd, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(0)


def _landlock() -> int:
    version = landlock.abi()
    landlock.restrict([("/usr", landlock.READ)])
    os.listdir("/usr")
    _must_fail(lambda: os.listdir("/"), "a directory outside could be listed")
    return version


def _seccomp() -> int:
    seccomp.install(mounts=False, memfd=False)
    _must_fail(_socket.socket, "a socket could be made")
    _must_fail(lambda: kernel.unshare(kernel.CLONE_NEWUTS), "a namespace could be made")
    return 0


def _uid() -> int:
    """Become another user and own files as such; we must be able to kill it."""
    uid = users.private_uid()
    fd = os.memfd_create("probe")
    os.fchown(fd, uid, uid)
    ready, told = os.pipe()
    if not (pid := os.fork()):
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(told, b"+")
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    switched = os.read(ready, 1)
    if switched:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not switched:
        raise PermissionError(errno.EPERM, "setresuid")
    return 0


def _reachable(needed: list[str]) -> int:
    """Look at the directories of this Python as another user would."""
    uid = users.private_uid()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    for path in needed:
        if not (os.access(path, os.R_OK | os.X_OK) and files.passable(path)):
            raise OSError(f"{path} is closed to other users")
    return 0


def _must_fail(act: Callable[[], object], words: str) -> None:
    try:
        act()
    except PermissionError:
        return
    raise OSError(f"no effect: {words}")
