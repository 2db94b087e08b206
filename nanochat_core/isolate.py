"""Processes that load a candidate: what they are given, and how they end.

A harness that hands over words for a sandbox (docs/contract.md, section 8) has them put in front of each such command.
Without them, by hand, the process runs as it is.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nanochat_core.errors import Failure

HERE = Path(__file__).resolve().parent
PATIENCE = 15.0  # seconds for a tree of processes to be dead after it was told so


def stage(scratch, source, sha256=None):
    """Copy this package's code and the source into a directory of their own: all that a candidate needs to see.

    Return the path of the copied source. The text of the corpora stays behind.
    """
    try:
        raw = Path(source).read_bytes()
    except OSError as error:
        raise Failure("env", f"{source} cannot be read: {error.strerror}.") from None
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256:
        raise Failure("env", f"{source} has sha256 {found[:12]}, the spec says {sha256[:12]}: it changed meanwhile.")
    directory = Path(scratch) / "stage"
    package = directory / HERE.name
    shutil.rmtree(directory, ignore_errors=True)
    package.mkdir(parents=True)
    for path in HERE.glob("*.py"):
        shutil.copyfile(path, package / path.name)
    copy = directory / Path(source).name
    copy.write_bytes(raw)
    return copy


class Isolated:
    """A process with a candidate in it: it asks on its stdout, is answered on its stdin, and prints to stderr."""

    def __init__(self, module, job, source, sandbox, read=(), write=None, quiet=False):
        """Run `python -m module` with the words of `job` in a file beside the staged `source`.

        `read` are further files that it may read, `write` a directory that it may write. `quiet` drops what it prints.
        """
        directory = Path(source).parent
        path = directory / f"{module}.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-P", "-m", f"{HERE.name}.{module}", str(path)]
        self._sandbox, self._last = bool(sandbox), None
        self.proven_dead = not sandbox  # without one nothing is promised
        self._report, report = os.pipe()
        cwd = write or directory
        # A user's own site-packages would move with HOME.
        libraries = [x for x in sys.path if x.endswith(("site-packages", "dist-packages"))]
        python_path = os.pathsep.join([str(directory), *libraries])
        if sandbox:
            places = [word for x in (directory, *read) for word in ("--read", str(x))]
            places += ["--write", str(write)] if write else []
            # An installed package lies where Python looks for packages, its texts with it.
            places += ["--hide", str(HERE / "corpus")]
            places += ["--cwd", str(cwd), "--env", f"PYTHONPATH={python_path}", "--report", str(report)]
            command = [*sandbox, *places, "--", *command]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            cwd=None if sandbox else cwd,
            env={**os.environ, "PYTHONPATH": python_path},
            pass_fds=(report,) if sandbox else (),
        )
        os.close(report)
        self.stdin, self.stdout = self._process.stdin, self._process.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        os.close(self._report)

    def end(self):
        """Kill whatever is left of it. With a sandbox this returns when its last process is gone.

        Return its exit code, negative for a signal, and what the sandbox had against it ("" for nothing).
        """
        if self._sandbox:
            self._process.terminate()
        else:
            self._process.kill()
        return self.wait()

    def wait(self):
        """Wait for the end of a process that has nothing more to say; what `end` returns."""
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return self._told() or (code, "", "exit")

    def _told(self):
        """The sandbox' own account, if there is one."""
        try:
            os.set_blocking(self._report, False)
            told = json.loads(os.read(self._report, 65_536))
            self._last = told["exit"], told["message"], told["why"]
            self.proven_dead = not told["left"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return self._last
