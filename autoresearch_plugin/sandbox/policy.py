"""Writes the policy of a sandbox: what it consists of and what may be read in it.

Readable are the system's directories, this Python and its environment, and single files
of /etc. Never the project, a home directory, all of /etc, /tmp, the ledger or `.git`:
what a command needs of those its caller names, `--read` or `--write`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.sandbox.files import passable
from autoresearch_plugin.sandbox.orders import SCOPED
from autoresearch_plugin.sandbox.probe import (
    NAMESPACES,
    SECCOMP,
    UID,
    Sandbox,
    python_paths,
)

DISK_MB = 8192

_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/sys/devices/system",
)
_GPU = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


def prefix(
    sandbox: Sandbox,
    directory: Path,
    *,
    devices: Sequence[str] = (),
    memory_mb: float | None = None,
    processes: int = 256,
    extra_read: Sequence[str] = (),
) -> list[str]:
    """The words to put before `--read ... -- COMMAND` to run it in this sandbox.

    Writes `policy.json` below `directory`, which must exist, and makes its `box`, where
    each run gets a private directory for its time. `devices` are the GPUs that may be
    used (`cuda:0`, `0`); `memory_mb`, `processes` hold for all processes of a run
    together. Level 0 has the same program: it watches the limits and the process tree.

    Raises:
        InfrastructureError: see `switches_user`.
    """
    directory = directory.resolve()
    box = directory / "box"
    box.mkdir(mode=0o711, exist_ok=True)
    box.chmod(0o711)  # a private user has to get through
    nodes = _device_nodes(devices)
    text = json.dumps(
        {
            "namespaces": NAMESPACES in sandbox.parts,
            "landlock": sandbox.landlock,
            "seccomp": SECCOMP in sandbox.parts,
            "private_uid": switches_user(sandbox, directory),
            "box": str(box),
            "read": _readable(extra_read, gpu=bool(nodes)),
            "devices": nodes,
            "memory_mb": memory_mb,
            "processes": processes,
            "disk_mb": DISK_MB,
        },
        indent=1,
    )
    path = directory / "policy.json"
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    program = Path(__file__).with_name("enter.py")
    return [sys.executable, "-I", "-S", str(program), str(path)]


def switches_user(sandbox: Sandbox, directory: Path) -> bool:
    """Whether a user of its own can work below `directory`.

    Where it cannot get there, a recent Landlock does without.

    Raises:
        InfrastructureError: there is no such Landlock.
    """
    if UID not in sandbox.parts:
        return False
    if NAMESPACES in sandbox.parts or passable(str(directory / "box")):
        return True
    if sandbox.landlock >= SCOPED:
        return False
    raise InfrastructureError(
        f"{directory} is closed to other users, so the user of the sandbox cannot work "
        "there. Allow o+x on it and on the directories above it."
    )


def _readable(extra: Sequence[str], *, gpu: bool) -> list[str]:
    # CUDA looks for its devices all over /sys.
    system = [*_SYSTEM, "/sys"] if gpu else list(_SYSTEM)
    others = [os.path.abspath(path) for path in extra]
    return list(dict.fromkeys([*system, *python_paths(), *others]))


def _device_nodes(devices: Sequence[str]) -> list[str]:
    """Device files of NVIDIA GPUs; the granted ones alone. Not run: no GPU at hand."""
    numbers = [name.rpartition(":")[2].partition(".")[0] for name in devices]
    granted = [f"/dev/nvidia{n}" for n in numbers if n.isdecimal()]
    if not granted or any(name.startswith(("cpu", "hip")) for name in devices):
        return []
    return [path for path in (*_GPU, *granted) if os.path.exists(path)]
