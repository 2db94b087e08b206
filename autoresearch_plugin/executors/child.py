"""Our end of one running trial: its pipes, the orders we give, its CPU time.

Nothing here blocks for long. `pump` moves what has arrived into the transcript, so the
child can print without end and never waits for us; `kill` returns when everything that
the child had started is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.executors.transcript import Ending, Stop, Transcript
from autoresearch_plugin.sandbox.processes import tree_cpu_seconds
from autoresearch_plugin.trial import TrialResult, TrialSpec

GRACE = 2.0  # seconds between SIGTERM and the end
PATIENCE = 8.0  # seconds for the runner to clean up before it is killed itself
CHUNK = 64 * 1024
MARKER = "AUTORESEARCH_TRIAL"
RUNNER = Path(__file__).with_name("run.py")


@dataclass(frozen=True)
class Launch:
    """How to start a command: what is the same for every phase of a trial.

    `sandbox` are words to put before it; empty where it uses them itself, for the
    processes that load a candidate (docs/contract.md, section 8).
    """

    argv: Sequence[str]
    root: Path
    environ: Mapping[str, str]
    lock_fd: int | None = None
    cpu: int | None = None
    sandbox: Sequence[str] = ()


class Child:
    """One phase of a command under `run.py`. Use it as a context manager."""

    def __init__(
        self,
        spec: TrialSpec,
        launch: Launch,
        *,
        evaluates: bool,
        clock: Callable[[], float],
    ) -> None:
        self.transcript = Transcript(spec, evaluates=evaluates, now=clock())
        self.goes = 0
        self.late = 0.0  # seconds that our longest wait took too long
        self._clock = clock
        self._marker = f"{spec.trial_id}.{secrets.token_hex(4)}"
        self._ending = Ending()
        self._report = b""
        self._stop: Stop | None = None
        self._open: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._runner: subprocess.Popen[bytes] | None = None
        try:
            self._start(spec, launch)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------- starting

    def _start(self, spec: TrialSpec, launch: Launch) -> None:
        self._log, log = self._pipe()
        self._events, events = self._pipe()
        self._status, status = self._pipe()
        lifeline, self._lifeline = self._pipe()
        control = self._control = None
        if spec.phase == "pace":
            control, self._control = self._pipe()
        path = _write_spec(spec, events, control)
        command = [*launch.argv, "--spec", str(path)]
        if launch.sandbox:
            command = _inside(launch, spec, [events, control], command)
        order = {
            "command": command,
            "lifeline": lifeline,
            "status": status,
            "grace": GRACE,
            "cpu": launch.cpu,
        }
        passed = [lifeline, status, events, control, launch.lock_fd]
        try:
            self._spawn(order, launch, log, passed)
        except OSError as error:
            self._ending = Ending(failed=f"{error.strerror}: {error.filename}")
        for fd in (log, events, status, lifeline, control):
            self._shut(fd)
        for fd in (self._log, self._events, self._status):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)

    def _spawn(
        self,
        order: Mapping[str, Any],
        launch: Launch,
        log: int,
        passed: Sequence[int | None],
    ) -> None:
        self._runner = subprocess.Popen(
            [sys.executable, "-I", "-S", str(RUNNER), json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=launch.root,
            env={**launch.environ, MARKER: self._marker},
            pass_fds=[fd for fd in passed if fd is not None],
            start_new_session=True,
        )

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _shut(self, fd: int | None) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)

    # --------------------------------------------------------------------- listening

    @property
    def pid(self) -> int | None:
        """The runner, whose child the command is."""
        return self._runner.pid if self._runner else None

    @property
    def ended(self) -> bool:
        """Whether the runner has reported, that is: nothing of the trial is alive."""
        return self._status not in self._open

    def pump(self, seconds: float = 0.1) -> Iterator[dict[str, Any]]:
        """Wait at most `seconds` for something new; yield the events among it.

        One read empties a pipe (64 KiB), so when the status ends, which it does after
        everything else, the same round has taken the last words from the others.
        """
        due = self._clock() + seconds
        ready = self._selector.select(seconds)
        self.late = max(self.late, self._clock() - due)
        for key, _ in ready:
            yield from self._read(key.fd)

    def _read(self, fd: int) -> Iterator[dict[str, Any]]:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(fd)
            self._shut(fd)
        elif fd == self._log:
            self.transcript.hear_log(data)
        elif fd == self._status:
            self._report += data
        else:
            yield from self.transcript.hear_events(data, self._clock())

    # ----------------------------------------------------------------------- ordering

    def go(self) -> None:
        """Allow one step of a `pace` run."""
        self.goes += 1
        with contextlib.suppress(BrokenPipeError):
            os.write(self._control or -1, b"go\n")

    def stop(self, stop: Stop) -> None:
        """End it, politely or at once, and remember why (the first reason stays)."""
        self._stop = self._stop or stop
        if stop.politely:
            with contextlib.suppress(OSError):
                os.write(self._lifeline, b"t")
            self._wait(GRACE + PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End everything the child has started; returns when it is gone."""
        self._shut(self._lifeline)
        self._wait(PATIENCE)
        if self._runner and not self.ended:
            # Stopped or stuck. The command dies with it (PDEATHSIG), the rest by name.
            self._runner.kill()
            self._wait(1.0)
        if self._runner and not self._report:
            kill_marked(self._marker)

    def _wait(self, seconds: float) -> None:
        end = self._clock() + seconds
        while not self.ended and self._clock() < end:
            for _ in self.pump():
                pass

    def close(self) -> None:
        """Kill what runs and give back every descriptor; may be called twice."""
        try:
            if self._runner:
                self.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._runner.wait(PATIENCE)
        finally:
            for fd in tuple(self._open):
                self._shut(fd)
            self._selector.close()

    # ---------------------------------------------------------------------- measuring

    def cpu_seconds(self) -> float | None:
        """CPU time of the whole tree so far; None where the system does not tell."""
        return tree_cpu_seconds(self._runner.pid) if self._runner else None

    def result(self) -> TrialResult:
        """What it came to; only after the end."""
        return self.transcript.result(self._how_it_ended(), self._stop, self._clock())

    def _how_it_ended(self) -> Ending:
        try:
            report = json.loads(self._report)
        except ValueError:
            return self._ending
        if "failed" in report:
            return Ending(failed=report["failed"])
        return Ending(
            exit_code=report["exit"],
            cpu_seconds=report["cpu"],
            peak_mb=report["peak_mb"],
            memory_mb=memory_mb(),
            left=tuple(map(int, report["left"].split())),
        )


def _inside(
    launch: Launch, spec: TrialSpec, fds: Sequence[int | None], command: list[str]
) -> list[str]:
    """A whole command in the sandbox: it sees the project without its hidden files, and
    the files that its own words name."""
    places = [path for path in launch.root.iterdir() if path.name[0] != "."]
    places += [Path(word) for word in launch.argv[1:] if Path(word).is_absolute()]
    places = [path.resolve() for path in places if path.exists()]
    words = [word for path in places for word in ("--read", str(path))]
    words += ["--read", command[-1], "--read", spec.data_dir, "--write", spec.scratch]
    words += [word for fd in fds if fd is not None for word in ("--pass", str(fd))]
    words += ["--env", f"PYTHONPATH={launch.root}", "--cwd", str(launch.root)]
    return [*launch.sandbox, *words, "--", *command]


def _write_spec(spec: TrialSpec, events: int, control: int | None) -> Path:
    path = private_directory(spec) / f"{spec.phase}.json"
    with writing(path):
        path.unlink(missing_ok=True)
        # Another user may have to read it: it holds paths and numbers, no secret.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(spec.to_json(events, control))
    return path


def beside(scratch: Path) -> Path:
    """Where our own files for a trial lie."""
    return scratch.with_name(f"{scratch.name}.harness")


def private_directory(spec: TrialSpec) -> Path:
    """Our corner beside the trial's scratch, where no candidate writes: specs,
    policies, temporary files, compile caches."""
    path = beside(Path(spec.scratch))
    with writing(path):
        path.mkdir(mode=0o700, exist_ok=True)
        (path / "tmp").mkdir(exist_ok=True)
    return path


@contextlib.contextmanager
def writing(path: Path, only: Collection[int] = ()) -> Iterator[None]:
    """Within it an OSError, or one of the errnos in `only`, is the machinery's failure.

    Raises:
        InfrastructureError: what lies at `path` could not be written.
    """
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}. Make room on the disk, or the "
            "directory writable."
        ) from None


def kill_marked(marker: str) -> None:
    """SIGKILL what carries our mark in its environment: orphans of a killed runner."""
    entry = f"{MARKER}={marker}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(environ.parent.name))
            try:  # the handle keeps the number from being given to another process
                if entry in environ.read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def memory_mb() -> float:
    """What this machine, or the container around us, grants; 0 if it does not tell."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0.0
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / 2**20
