"""A candidate that misbehaves, run before the first real one.

It tries what a sandbox has to deny, on things planted for it. Where a trace would be
left, we look for the trace from outside instead of believing the program inside. So a
layer that is silently off is found before anything is trusted to it.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from autoresearch_plugin.errors import AutoresearchError
from autoresearch_plugin.sandbox import policy
from autoresearch_plugin.sandbox.probe import NAMESPACES, SECCOMP, UID, Sandbox

TIMEOUT = 20.0  # seconds for what takes 0.2
_NEVER = 9  # promised by no level as such, only by the layer


class Act(NamedTuple):
    """A forbidden act: in words, denied from which level on, and by which layers."""

    words: str
    level: int
    layers: str = ""


_FILES = "namespaces landlock uid"
ACTS = {
    "read": Act("read a secret file outside", 2, _FILES),
    "list": Act("listed a directory outside", 2, _FILES),
    "write": Act("made a directory outside", 2, _FILES),
    "git": Act("changed .git/config", 2, _FILES),
    "chmod": Act("changed the mode of a file outside", 2, "namespaces seccomp uid"),
    "xattr": Act("set an attribute of a file outside", 2, "namespaces seccomp uid"),
    "tmp": Act("left a file in /tmp or /dev/shm", 2, "namespaces landlock"),
    "environ": Act("read another process' environment", 2, _FILES),
    "memory": Act("opened another process' memory", 2, _FILES),
    "watcher": Act("read the watcher's environment", 0),
    "ptrace": Act("traced another process", 2, _FILES + " seccomp"),
    "kill": Act("killed another process", 3, "namespaces landlock6 uid"),
    "visible": Act("saw another process", 4, "namespaces"),
    "tcp": Act("connected over TCP", 2, "namespaces landlock4 seccomp"),
    "udp": Act("sent over UDP", 2, "namespaces seccomp"),
    "unix": Act("connected to a socket with a path", 2, "namespaces seccomp"),
    "abstract": Act("connected to an abstract socket", 2, "namespaces seccomp"),
    "sysv": Act("made System V shared memory", 2, "seccomp"),
    "userns": Act("made a user namespace", 2, "seccomp"),
    "io_uring": Act("reached io_uring", 2, "seccomp"),
    "keyring": Act("used the kernel's keyring", 2, "seccomp"),
    "node": Act("made a device node", 4, "landlock"),
    "user": Act("ran as our own user", _NEVER, "uid"),
    "limits": Act("raised a limit", 0),
    "capabilities": Act("held capabilities", 0),
    "open": Act("inherited an open file", 0),
    "variables": Act("found a variable that is not on the list", 0),
}


def check(sandbox: Sandbox, directory: Path) -> list[str]:
    """What `sandbox` promises to deny and did not, in words; empty is good.

    `directory` gets the policy and may be removed afterwards.
    """
    if not sys.platform.startswith("linux"):
        return []  # level 0 there, which promises nothing that could be tried
    try:
        done = succeeded(policy.prefix(sandbox, directory), directory)
        if not policy.switches_user(sandbox, directory):
            done.discard("user")
    except (AutoresearchError, OSError, ValueError) as error:
        return [f"could not be tried: {error}"]
    except subprocess.TimeoutExpired:
        return [f"could not be tried: no end after {TIMEOUT:.0f} s"]
    return broken_promises(sandbox, done)


def broken_promises(sandbox: Sandbox, done: Collection[str]) -> list[str]:
    """The acts among `done` that `sandbox` should have denied, in words."""
    return [
        act.words
        for name, act in ACTS.items()
        if name in done and _is_promised(act, sandbox)
    ]


def succeeded(prefix: list[str], directory: Path) -> set[str]:
    """Names of the acts that were possible behind `prefix`.

    Raises:
        ValueError: the program inside did not come to its end; the words say why.
    """
    with ExitStack() as stack:
        plant = stack.enter_context(_planted())
        victim = stack.enter_context(_victim(plant.token))
        claimed = _run(prefix, directory, plant, victim.pid)
        killed = {"kill"} if victim.poll() is not None else set()
        # What leaves a trace counts by the trace.
        return (claimed - Plant.TRACED) | plant.traces() | killed


def _is_promised(act: Act, sandbox: Sandbox) -> bool:
    layers = {
        "namespaces": NAMESPACES in sandbox.parts,
        "landlock": sandbox.landlock >= 1,
        "landlock4": sandbox.landlock >= 4,
        "landlock6": sandbox.landlock >= 6,
        "seccomp": SECCOMP in sandbox.parts,
        "uid": UID in sandbox.parts,
    }
    return sandbox.level >= act.level or any(
        layers[name] for name in act.layers.split()
    )


# ------------------------------------------------------------------- what is planted


class Plant:
    """Files, sockets and numbers that nobody inside may read, change or reach."""

    TRACED = frozenset(
        ("write", "git", "chmod", "xattr", "tmp", "tcp", "udp", "unix", "abstract")
    )

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.token = secrets.token_hex(16)
        self.folder = folder
        self.secret = folder / "secret"
        self.git = folder / ".git" / "config"
        self.git.parent.mkdir()
        for path in (self.secret, self.git):
            path.write_text(self.token)
            path.chmod(0o600)
        self.leave = [
            f"{top}/autoresearch-{self.token}"
            for top in ("/tmp", "/dev/shm")
            if os.path.isdir(top)
        ]
        self.key = secrets.randbits(31) | 1
        self.sockets: dict[str, socket.socket] = {
            name: stack.enter_context(socket.socket(family, kind))
            for name, (family, kind) in _SOCKETS.items()
        }
        self._listen()

    def _listen(self) -> None:
        fd = os.open(self.folder, os.O_PATH)  # the path itself may be too long
        try:
            self.sockets["unix"].bind(f"/proc/self/fd/{fd}/socket")
        finally:
            os.close(fd)
        self.sockets["abstract"].bind("\0" + self.token)
        for name, peer in self.sockets.items():
            if name in ("tcp", "udp"):
                peer.bind(("127.0.0.1", 0))
            if name != "udp":
                peer.listen()
            peer.setblocking(False)

    def targets(self) -> dict[str, object]:
        """What the program inside is told."""
        return {
            "token": self.token,
            "folder": str(self.folder),
            "secret": str(self.secret),
            "git": str(self.git),
            "leave": self.leave,
            "key": self.key,
            "tcp": self.sockets["tcp"].getsockname()[1],
            "udp": self.sockets["udp"].getsockname()[1],
            "unix": str(self.folder / "socket"),
            "uid": os.geteuid(),
        }

    def traces(self) -> set[str]:
        """Acts whose traces can be seen from here; they are removed."""
        seen = {name for name, peer in self.sockets.items() if _was_reached(peer)}
        if (self.folder / "made").exists():
            seen.add("write")
        if self.git.read_text() != self.token:
            seen.add("git")
        if self.secret.stat().st_mode & 0o777 != 0o600:
            seen.add("chmod")
        with suppress(OSError):
            if os.listxattr(self.secret):
                seen.add("xattr")
        for path in map(Path, self.leave):
            if path.exists():
                seen.add("tmp")
                path.unlink()
        libc = ctypes.CDLL(None)
        if (shared := libc.shmget(self.key, 0, 0)) >= 0:
            seen.add("sysv")
            libc.shmctl(shared, 0, None)
        return seen


_SOCKETS = {
    "tcp": (socket.AF_INET, socket.SOCK_STREAM),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    "abstract": (socket.AF_UNIX, socket.SOCK_STREAM),
}


def _was_reached(peer: socket.socket) -> bool:
    try:
        if peer.type == socket.SOCK_DGRAM:
            peer.recv(1)
        else:
            peer.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@contextmanager
def _planted() -> Iterator[Plant]:
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="autoresearch-canary-")
        plant = Plant(Path(stack.enter_context(made)), stack)
        stack.callback(plant.traces)  # which removes what lies elsewhere
        yield plant


@contextmanager
def _victim(token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours with a secret in its environment, to be spied on and killed."""
    process = subprocess.Popen(
        ["sleep", str(2 * TIMEOUT)],
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "SECRET": token},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _run(prefix: list[str], directory: Path, plant: Plant, victim: int) -> set[str]:
    scratch = directory / "canary"
    scratch.mkdir()
    reader, writer = os.pipe()
    source = Path(__file__).with_name("acts.py").read_text(encoding="utf-8")
    targets = json.dumps({**plant.targets(), "victim": victim})
    command = [sys.executable, "-I", "-S", "-c", source, targets]
    try:
        done = subprocess.run(
            [*prefix, "--write", str(scratch), "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "CANARY_TOKEN": plant.token},
            pass_fds=[reader],
            timeout=TIMEOUT,
        )
    finally:
        os.close(reader)
        os.close(writer)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(words[-1])
    claimed: Any = json.loads(done.stdout)
    return set(claimed)
