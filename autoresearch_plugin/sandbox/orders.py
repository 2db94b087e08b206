"""What the sandbox program is told, policy file and command line, read strictly.

Standard library only and little of it: this is on the way of every start.
"""

from __future__ import annotations

import os

from autoresearch_plugin.sandbox.quick import MYPY, loads

if MYPY:
    from typing import Any

SCOPED = 6  # the Landlock ABI that keeps signals and abstract sockets inside

_POLICY: dict[str, type | tuple[type, ...]] = {
    "namespaces": bool,
    "landlock": int,  # the ABI that must be there, 0 for none
    "seccomp": bool,
    "private_uid": bool,
    "box": str,
    "read": list,
    "devices": list,
    "memory_mb": (int, float, type(None)),
    "processes": int,
    "disk_mb": int,
}


class OrderError(Exception):
    """The policy or the command line cannot be used; nothing was started."""


class Policy:
    """What a sandbox consists of; see `sandbox.policy`, which writes it."""

    def __init__(self, path: str) -> None:
        values = _read(path)
        self.namespaces: bool = values["namespaces"]
        self.landlock: int = values["landlock"]
        self.seccomp: bool = values["seccomp"]
        self.private_uid: bool = values["private_uid"]
        self.box: str = values["box"]
        self.read: list[str] = values["read"]
        self.devices: list[str] = values["devices"]
        self.memory_mb: float | None = values["memory_mb"]
        self.processes: int = values["processes"]
        self.disk_mb: int = values["disk_mb"]
        for name in [self.box, *self.read, *self.devices]:
            _absolute(name)


class Order:
    """One command to run, as the command line says it."""

    def __init__(self) -> None:
        self.policy = ""
        self.argv: list[str] = []
        self.read: list[str] = []
        self.write: list[str] = []
        self.hide: list[str] = []
        self.keep: list[int] = []
        self.cwd = ""
        self.env: dict[str, str] = {}
        self.report = -1
        self.wall: float | None = None
        self.grace = 0.0

    def read_words(self, words: list[str]) -> None:
        """Take the command line in; the report's descriptor first, to tell all else.

        Raises:
            OrderError: something in it cannot be used.
        """
        end = words.index("--") if "--" in words else len(words)
        self.policy, *options = words[:end] or [""]
        self.argv = words[end + 1 :]
        pairs = list(zip(options[::2], options[1::2], strict=False))
        for name, value in sorted(pairs, key=lambda pair: pair[0] != "--report"):
            self._option(name, value)
        if len(options) % 2:
            raise OrderError(f"{options[-1]} needs a value.")
        if not self.argv:
            raise OrderError("there is no command. Give one after --.")

    def _option(self, name: str, value: str) -> None:
        try:
            if name == "--read":
                self.read.append(_own(value))
            elif name == "--write":
                self.write.append(_own(value))
            elif name == "--hide":
                self.hide.append(os.path.realpath(_absolute(value)))
            elif name == "--pass":
                self.keep.append(_open(int(value)))
            elif name == "--cwd":
                self.cwd = _absolute(value)
            elif name == "--env":
                key, _, text = value.partition("=")
                self.env[key] = text
            elif name == "--report":
                self.report = _open(int(value))
            elif name == "--wall":
                self.wall = float(value)
            elif name == "--grace":
                self.grace = float(value)
            else:
                raise OrderError(f"there is no option {name}.")
        except ValueError:
            raise OrderError(f"{name} {value!r} is not a number.") from None


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = loads(file.read())
    except (OSError, ValueError) as error:
        raise OrderError(f"the policy {path} cannot be read: {error}.") from None
    if not isinstance(values, dict) or set(values) != set(_POLICY):
        raise OrderError(f"the policy {path} does not have exactly the known keys.")
    for key, kind in _POLICY.items():
        value = values[key]
        wrong = isinstance(value, bool) and kind is not bool
        if wrong or not isinstance(value, kind):
            raise OrderError(f"the policy {path} has {key} {value!r}, of another type.")
        if kind is list and not all(isinstance(item, str) for item in values[key]):
            raise OrderError(f"the policy {path} has {key} with more than strings.")
    return dict(values)


def _absolute(path: str) -> str:
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise OrderError(f"{path!r} is not an absolute, normal path.")
    return path


def _open(fd: int) -> int:
    try:
        os.fstat(fd)
    except OSError:
        raise OrderError(f"descriptor {fd} is not open.") from None
    return fd


def _own(path: str) -> str:
    """A path of the caller; what a candidate made of it must not lead elsewhere."""
    if os.path.islink(_absolute(path)):
        raise OrderError(f"{path} is a symbolic link. Name the directory itself.")
    if not os.path.lexists(path):
        raise OrderError(f"{path} does not exist.")
    return path
