"""Which sandbox this machine allows: every part is tried, nothing read from settings.

Levels, strongest first:

    L4  own namespaces with a root of their own, Landlock and seccomp
    L3  files, network, signals and secrets are closed; other processes can be seen
    L2  files, network and secrets are closed; the user's processes can be signalled
    L1  one layer alone: limits and, mostly, no network; files can be read
    L0  a scrubbed environment, limits, and a process tree that ends completely

Scores from below L2 are not to be trusted: the validation text can be read.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from autoresearch_plugin.sandbox.orders import SCOPED

NAMESPACES = "user, mount, pid, net, ipc namespaces"
LANDLOCK = "Landlock"
SECCOMP = "seccomp"
UID = "uid switch"
NO_CAPABILITIES = "uid 0 without capabilities"
TIMEOUT = 20.0  # seconds for a probe that takes 0.05


@dataclass(frozen=True)
class Sandbox:
    """What a candidate can be held in: a level, its parts, and why it is not more."""

    level: int
    parts: tuple[str, ...]
    why: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`L4` and the like."""
        return f"L{self.level}"

    @property
    def words(self) -> str:
        """One line for the reports."""
        return f"{self.label}: {'; '.join(self.parts) or 'limits only'}"

    @property
    def trusted(self) -> bool:
        """Whether a candidate's score can be believed."""
        return self.level >= 2

    @property
    def walks(self) -> bool:
        """Whether candidates are another user who needs a way to their files: nothing
        puts those into a place of their own, or does without that user."""
        alone = UID in self.parts and NAMESPACES not in self.parts
        return alone and self.landlock < SCOPED

    @property
    def landlock(self) -> int:
        """The ABI of Landlock, 0 without it."""
        words = (part.split() for part in self.parts if part.startswith(LANDLOCK))
        return next((int(word[1]) for word in words), 0)


def probe(without: Collection[str] = ()) -> Sandbox:
    """Try every part in a process of its own and choose the strongest level.

    `without` names parts to treat as absent: userns, landlock, scoped (a Landlock that
    is older than that), seccomp, uid.
    """
    if not sys.platform.startswith("linux"):
        return Sandbox(0, (), (f"no sandbox for {sys.platform}",))
    program = str(Path(__file__).with_name("enter.py"))
    needed = json.dumps(python_paths())
    words = [sys.executable, "-I", "-S", program, "--try", needed, *sorted(without)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=TIMEOUT, check=True)
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Sandbox(0, (), (f"the probe failed: {error}",))
    return choose(found)


def choose(found: dict[str, object]) -> Sandbox:
    """The level for what `attempts` found: a number or True, or why it is refused."""
    userns, seccomp, uid = (found[k] is True for k in ("userns", "seccomp", "uid"))
    abi = found["landlock"] if isinstance(found["landlock"], int) else 0
    reachable = uid and (userns or found["reachable"] is True)
    root = found["root"] is True
    parts = [NAMESPACES] if userns else []
    parts += [f"{LANDLOCK} {abi}"] if abi else []
    parts += [SECCOMP] if seccomp else []
    parts += [UID] if reachable else [NO_CAPABILITIES] if root else []
    why = tuple(
        f"no {_NAMES[name]}: {reason}"
        for name, reason in found.items()
        if name in _NAMES
        and isinstance(reason, str)
        and not (name == "reachable" and (userns or not uid))
    )
    level = _level(userns, abi, seccomp, reachable)
    return Sandbox(level, tuple(parts), why)


_NAMES = {
    "userns": "user namespace",
    "landlock": "Landlock",
    "seccomp": "seccomp",
    "uid": "uid switch",
    "reachable": "reach of another user to this Python",
}


def _level(userns: bool, abi: int, seccomp: bool, uid: bool) -> int:
    if not seccomp:
        return 1 if userns or abi or uid else 0
    if userns and abi:
        return 4
    if userns or abi >= SCOPED or (uid and abi):
        return 3
    return 2 if abi or uid else 1


def python_paths() -> list[str]:
    """What has to be readable for this Python to start and import."""
    names = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    ends = ("site-packages", "dist-packages")  # a user's own lie in the home directory
    names += [x for x in sys.path if x.endswith(ends) and os.path.isdir(x)]
    return list(dict.fromkeys([*map(os.path.normpath, names), sys.executable]))


@functools.cache
def cached_probe() -> Sandbox:
    """`probe()` once per process."""
    return probe()
