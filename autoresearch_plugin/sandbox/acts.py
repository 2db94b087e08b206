"""What the canary does inside the sandbox: forbidden acts, on planted things alone.

Runs as `python -I -S -c SOURCE '{"secret": ...}'` and prints, as JSON, which acts
succeeded. It imports nothing of this package: none of it can be read in there.
"""

from __future__ import annotations

import _socket
import ctypes
import json
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator

MYPY = False
if MYPY:
    from typing import Any

NEW_USER = 0x10000000
PTRACE_SEIZE = 0x4206
IO_URING_SETUP = 425
KEYCTL = {"x86_64": 250, "aarch64": 219}

target = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)


def acts() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and deed; one that is denied raises OSError or returns something false."""
    victim, folder = target["victim"], target["folder"]
    yield "read", lambda: target["token"] in _text(target["secret"])
    yield "list", lambda: os.listdir(folder)
    yield "write", lambda: os.mkdir(folder + "/made")
    yield "git", lambda: _text(target["git"], "a+")
    yield "chmod", lambda: os.chmod(target["secret"], 0o640)
    yield "xattr", lambda: os.setxattr(target["secret"], "user.canary", b"x")
    yield "environ", lambda: target["token"] in _text(f"/proc/{victim}/environ")
    yield "memory", lambda: os.close(os.open(f"/proc/{victim}/mem", os.O_RDONLY))
    yield "watcher", lambda: target["token"] in _text(f"/proc/{os.getppid()}/environ")
    yield "ptrace", lambda: _call("ptrace", PTRACE_SEIZE, victim, 0, 0)
    yield "tcp", lambda: _connect(_socket.AF_INET, ("127.0.0.1", target["tcp"]))
    yield "udp", lambda: _send(("127.0.0.1", target["udp"]))
    yield "unix", lambda: _connect(_socket.AF_UNIX, target["unix"])
    yield "abstract", lambda: _connect(_socket.AF_UNIX, "\0" + target["token"])
    yield "sysv", lambda: _call("shmget", target["key"], 4096, 0o1666)
    yield "userns", _new_namespace
    yield "io_uring", lambda: _reached("syscall", IO_URING_SETUP, 1, None)
    yield "keyring", lambda: _call("syscall", KEYCTL[os.uname().machine], 0, -4, 1)
    yield "limits", _raise_limits
    yield "capabilities", _capabilities
    yield "tmp", lambda: all(map(_leave, target["leave"]))
    yield "open", lambda: set(os.listdir("/proc/self/fd")) - {"0", "1", "2", "3"}
    yield "variables", lambda: target["token"] in str(dict(os.environ))
    yield "node", lambda: os.mknod("node", stat.S_IFCHR | 0o600, 0)
    yield "user", lambda: os.getuid() == target["uid"]
    yield "visible", _is_visible
    yield "kill", lambda: os.kill(victim, 9)


def _text(path: str, mode: str = "r") -> str:
    """What a file holds; with mode `a+` a line more than before."""
    with open(path, mode, encoding="utf-8", errors="replace") as file:
        if mode == "a+":
            file.write("[core]\n")
        return str(file.read())


def _call(name: str, *arguments: object) -> bool:
    return int(getattr(libc, name)(*arguments)) >= 0


def _reached(name: str, *arguments: object) -> bool:
    """Whether the kernel looked at the arguments, which are wrong on purpose."""
    return _call(name, *arguments) or ctypes.get_errno() in (14, 22)


def _connect(family: int, address: Any) -> bool:
    peer = _socket.socket(family)
    peer.settimeout(1)
    peer.connect(address)
    return True


def _send(address: Any) -> bool:
    peer = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    return peer.sendto(b"x", address) == 1


def _new_namespace() -> bool:
    if not (pid := os.fork()):
        os._exit(0 if _call("unshare", NEW_USER) else 1)
    return os.waitpid(pid, 0)[1] == 0


def _raise_limits() -> bool:
    kinds = (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
    for kind in kinds:
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY:
            return True
        try:
            resource.setrlimit(kind, (hard, hard + 1))
        except (OSError, ValueError):
            continue
        return True
    return False


def _capabilities() -> bool:
    lines = _text("/proc/self/status").splitlines()
    held = [line for line in lines if line.startswith(("CapPrm", "CapEff", "CapAmb"))]
    return any(int(line.split()[1], 16) for line in held)


def _leave(path: str) -> bool:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return True


def _is_visible() -> bool:
    try:
        os.kill(target["victim"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def succeeded(deed: Callable[[], object]) -> bool:
    """Whether it worked; None, as of a call that returns nothing, is success."""
    try:
        result = deed()
    except (OSError, KeyError):
        return False
    return result is None or bool(result)


print(json.dumps([name for name, deed in acts() if succeeded(deed)]))
