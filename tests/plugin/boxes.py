"""Runs small programs inside the sandbox, for the tests of it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch_plugin.sandbox import policy
from autoresearch_plugin.sandbox.probe import Sandbox, probe

TIMEOUT = 60.0
# What to leave out, for every kind of sandbox that this machine can be brought to.
KINDS = {
    "full": (),
    "no namespaces": ("userns",),
    "no Landlock": ("landlock",),
    "no namespaces, no Landlock": ("userns", "landlock"),
    "nothing": ("userns", "landlock", "seccomp", "uid"),
}
_PROBED: dict[str, Sandbox] = {}


def sandbox(kind: str) -> Sandbox:
    """What the probe finds here with something left out; asked once."""
    if kind not in _PROBED:
        _PROBED[kind] = probe(KINDS[kind])
    return _PROBED[kind]


@dataclass(frozen=True)
class Run:
    """How a program ended: what enter said, and what the program printed."""

    code: int
    out: str
    err: str
    report: dict[str, Any]


class Box:
    """A directory for the sandbox and one, `out`, for the programs in it."""

    def __init__(self, held_in: Sandbox, folder: Path, **limits: Any) -> None:
        self.sandbox = held_in
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir()
        self.prefix = policy.prefix(held_in, folder, **limits)
        self.token = secrets.token_hex(8)

    def words(self, code: str, *options: str, write: bool = True) -> list[str]:
        """The command line that runs Python `code`, which carries our token."""
        options = (*options, *(("--write", str(self.out)) if write else ()))
        python = (sys.executable, "-I", "-c", f"# {self.token}\n{code}")
        return [*self.prefix, *options, "--", *python]

    def run(
        self,
        code: str,
        *options: str,
        keep: Sequence[int] = (),
        env: dict[str, str] | None = None,
        stdin: str = "",
        write: bool = True,
    ) -> Run:
        """Run Python `code` inside to its end."""
        with tempfile.TemporaryFile() as report:
            options = (*options, "--report", str(report.fileno()))
            done = subprocess.run(
                self.words(code, *options, write=write),
                input=stdin,
                capture_output=True,
                text=True,
                env={**os.environ, **(env or {})},
                pass_fds=[report.fileno(), *keep],
                timeout=TIMEOUT,
            )
            report.seek(0)
            told = json.loads(report.read() or b"{}")
        return Run(done.returncode, done.stdout, done.stderr, told)

    def survivors(self) -> list[int]:
        """Pids of what runs a program of this box and is not over yet."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                mine = self.token.encode() in path.read_bytes()
                state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mine and state != "Z":
                found.append(int(path.parent.name))
        return found

    def wait_for_the_end(self, seconds: float) -> list[int]:
        """What survives for so long."""
        until = time.monotonic() + seconds
        while (left := self.survivors()) and time.monotonic() < until:
            os.sched_yield()
        return left
