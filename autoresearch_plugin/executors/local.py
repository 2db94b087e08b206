"""Runs trials on this machine, each phase in a process tree that leaves nothing behind.

Time limits come from `spec.limits`, one for each phase a run announces. Where a run
exceeds one it gets SIGTERM, two seconds, SIGABRT (a Python process then prints where it
hangs) and SIGKILL, and so does everything it has started.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoresearch_plugin import devices
from autoresearch_plugin.devices import Device, Lease
from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.executors import pace
from autoresearch_plugin.executors.child import (
    Child,
    Launch,
    beside,
    memory_mb,
    private_directory,
    writing,
)
from autoresearch_plugin.executors.pace import Pace
from autoresearch_plugin.executors.suspension import Suspension
from autoresearch_plugin.executors.transcript import Stop
from autoresearch_plugin.executors.vram import Meter
from autoresearch_plugin.gpus import NvidiaDriver, Nvml
from autoresearch_plugin.ledger import is_alive, this_process
from autoresearch_plugin.sandbox import files, policy
from autoresearch_plugin.sandbox.environment import environment, fixed
from autoresearch_plugin.sandbox.probe import Sandbox
from autoresearch_plugin.trial import Outcome, TrialResult, TrialSpec

OnEvent = Callable[[Mapping[str, Any]], None]
ShouldStop = Callable[[], str | None]

POLL = 0.1  # seconds between two questions to `should_stop`
CPU_POLL = 0.5  # seconds between two looks at the tree's CPU time
SHARE_OF_MEMORY = 0.8  # of the machine's, that one candidate may use
FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalExecutor:
    """Runs a training command (docs/contract.md) on one device at a time.

    `command` is split as a shell would, without a shell; `{python}` in it becomes
    `python`. The lock of `lease`, if one is set, is handed on to every process, so the
    device stays leased until the last of them is gone, even if pytest dies. Where a
    `sandbox` is set, candidates run in it: a command that `isolates` starts them there
    itself, any other is put into it as a whole.

    Raises:
        SettingsError: `command` is empty or its quotes do not close.
    """

    def __init__(
        self,
        command: str,
        root: Path,
        *,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        lease: Lease | None = None,
        driver: Nvml | None = None,
    ) -> None:
        self.lease = lease
        self.driver = driver or NvidiaDriver()
        self.sandbox: Sandbox | None = None
        self.isolates = False
        self._argv = _split(command, python)
        self._root = root
        self._environ = dict(os.environ if environ is None else environ)
        self._clock = clock

    def run(
        self,
        spec: TrialSpec,
        device: Device,
        *,
        evaluates: bool = True,
        on_event: OnEvent | None = None,
        should_stop: ShouldStop | None = None,
        cpu_limit: float | None = None,
    ) -> TrialResult:
        """Run one phase to its end and say what was seen.

        `evaluates` says whether a `train` leaves its result to a later `evaluate`.
        `on_event` gets every valid event; `should_stop` is asked ten times a second and
        ends the run with outcome `stopped` when it gives a reason; `cpu_limit` is in
        CPU seconds of the whole process tree. Whatever `on_event` or `should_stop`
        raise, and Ctrl-C, reaches the caller when the processes are gone.
        """
        check = _Check(should_stop, cpu_limit, self._clock)
        meter = Meter(device, self.driver, self._clock)
        with self._child(spec, device, evaluates) as child:
            while not child.ended:
                for event in child.pump(POLL):
                    if on_event:
                        on_event(event)
                meter.look()
                if not child.ended and (stop := check(child)):
                    child.stop(stop)
                    break
            return _measured(child.result(), meter)

    def trial(
        self,
        spec: TrialSpec,
        device: Device,
        *,
        evaluates: bool = True,
        on_event: OnEvent | None = None,
        should_stop: ShouldStop | None = None,
        cpu_limit: float | None = None,
    ) -> TrialResult:
        """Train and, if the command `evaluates`, score the checkpoint in a new process.

        One result for both: the outcome of the first phase that failed, the summary and
        curve of the training, the metrics of the evaluation, seconds added up. The
        `cpu_limit` is for both together.
        """
        trained = self.run(
            replace(spec, phase="train"),
            device,
            evaluates=evaluates,
            on_event=on_event,
            should_stop=should_stop,
            cpu_limit=cpu_limit,
        )
        if not (trained.ok and evaluates):
            return trained
        scored = self.run(
            replace(spec, phase="evaluate"),
            device,
            on_event=on_event,
            should_stop=should_stop,
            cpu_limit=None if cpu_limit is None else cpu_limit - trained.cpu_seconds,
        )
        return _merge(trained, scored)

    def verify(
        self,
        spec: TrialSpec,
        device: Device,
        positions: int,
        *,
        on_event: OnEvent | None = None,
        should_stop: ShouldStop | None = None,
    ) -> TrialResult:
        """Have the claims of an evaluation checked at so many secret positions."""
        spec = replace(spec, phase="verify", positions=positions)
        return self.run(spec, device, on_event=on_event, should_stop=should_stop)

    def pace(
        self,
        parent: TrialSpec,
        candidate: TrialSpec,
        device: Device,
        *,
        steps: int = 20,
        known: Pace | None = None,
        rough: bool = False,
        should_stop: ShouldStop | None = None,
    ) -> Pace:
        """What a step of the candidate costs in steps of its parent (contract 5).

        The two specs need scratch directories of their own. A child that fails makes it
        a `Pace` with `failed` set; while one child works, the other's time limits do
        not run. For `known` and `rough` see `pace.measure`.
        """
        return pace.measure(
            lambda: self._child(replace(parent, phase="pace"), device),
            lambda: self._child(replace(candidate, phase="pace"), device),
            _Check(should_stop, None, self._clock),
            steps=steps,
            clock=self._clock,
            known=known,
            rough=rough,
        )

    def taken_mb(self, device: Device) -> float | None:
        """Memory of a GPU that is in use now and was free when it was found; None
        where no driver tells."""
        used = Meter(device, self.driver, self._clock).before
        return None if used is None else used - (device.total_mb - device.free_mb)

    def _child(self, spec: TrialSpec, device: Device, evaluates: bool = True) -> Child:
        words = self._sandbox_words(spec, device)
        if self.isolates:
            spec = replace(spec, sandbox=tuple(words))
        launch = Launch(
            argv=self._argv,
            root=self._root,
            environ=self._environment(spec, device),
            lock_fd=self.lease.fd if self.lease else None,
            cpu=_one_cpu(device) if spec.phase == "pace" else None,
            sandbox=() if self.isolates else words,
        )
        return Child(spec, launch, evaluates=evaluates, clock=self._clock)

    def _sandbox_words(self, spec: TrialSpec, device: Device) -> list[str]:
        """What stands before a command with a candidate in it; nothing else has one."""
        if self.sandbox is None or spec.phase == "describe":
            return []
        if not sys.platform.startswith("linux"):
            return []  # level 0 without its program, which needs Linux' /proc
        if self.sandbox.walks:
            self._open_the_way(spec)
        gpus = [device.id] if device.kind == "cuda" else []
        memory = memory_mb()
        return policy.prefix(
            self.sandbox,
            private_directory(spec),
            devices=gpus,
            memory_mb=SHARE_OF_MEMORY * memory if memory else None,
        )

    def _open_the_way(self, spec: TrialSpec) -> None:
        """To the files of this run, for a user of its own; to the data if it reads them
        itself."""
        for directory in (Path(spec.scratch), private_directory(spec)):
            directory.chmod(0o711)
        Path(spec.data_dir).chmod(0o700 if self.isolates else 0o755)

    def _environment(self, spec: TrialSpec, device: Device) -> dict[str, str]:
        private = private_directory(spec) / "tmp"
        return {
            **environment(self._environ, downloads=spec.phase == "describe"),
            **fixed(spec.threads, str(private)),
            **devices.environment(device),
        }


class _Check:
    """Why a running child must be stopped now, if it must."""

    def __init__(
        self,
        should_stop: ShouldStop | None,
        cpu_limit: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._should_stop = should_stop
        self._cpu_limit = cpu_limit
        self._clock = clock
        self._next_ask = self._next_look = clock()
        self._suspension = Suspension(clock)

    def __call__(self, child: Child) -> Stop | None:
        if child.transcript.broken:
            return Stop(Outcome.INTEGRITY, child.transcript.broken)
        if suspended := self._suspension.seen(child.late, child.pid):
            return Stop(Outcome.SUSPENDED, suspended)
        now = self._clock()
        return (
            child.transcript.overdue(now) or self._asked(now) or self._cpu(child, now)
        )

    def _asked(self, now: float) -> Stop | None:
        if self._should_stop is None or now < self._next_ask:
            return None
        self._next_ask = now + POLL
        reason = self._should_stop()
        return Stop(Outcome.STOPPED, reason) if reason else None

    def _cpu(self, child: Child, now: float) -> Stop | None:
        if self._cpu_limit is None or now < self._next_look:
            return None
        self._next_look = now + CPU_POLL
        used = child.cpu_seconds() or 0.0
        if used <= self._cpu_limit:
            return None
        return child.transcript.timeout(
            f"used {used:.1f} s of CPU time; the limit is {self._cpu_limit:.1f} s"
        )


def _measured(result: TrialResult, meter: Meter) -> TrialResult:
    """With the memory that the driver saw in place of the one that was claimed."""
    if meter.peak_mb is None or not result.summary:
        return result
    return replace(result, summary={**result.summary, "peak_vram_mb": meter.peak_mb})


def _one_cpu(device: Device) -> int | None:
    """The CPU that both children of a pace share: another one has other neighbours."""
    if device.kind != "cpu" or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[int(device.id.partition(":")[2] or 0) % len(allowed)]


def _split(command: str, python: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"autoresearch_command {command!r} cannot be split into words "
            f"({error}). Close its quotes."
        ) from None
    if not words:
        raise SettingsError(
            "autoresearch_command is empty. Leave it out for the command that ships, "
            "or name yours: '{python} -m my_training'."
        )
    return tuple(word.replace("{python}", python) for word in words)


def _merge(trained: TrialResult, scored: TrialResult) -> TrialResult:
    seconds = dict(trained.seconds)
    for phase, value in scored.seconds.items():
        seconds[phase] = seconds.get(phase, 0.0) + value
    return replace(
        scored,
        summary=trained.summary,
        interim=trained.interim,
        curve=trained.curve,
        seconds=seconds,
        cpu_seconds=trained.cpu_seconds + scored.cpu_seconds,
        scoring_cpu=scored.cpu_seconds,
        log_tail="\n".join(filter(None, (trained.log_tail, scored.log_tail))),
    )


# -------------------------------------------------------------------------- scratch


@contextmanager
def scratch_dir(root: Path) -> Iterator[Path]:
    """A private, empty directory below `root`, removed at the end.

    What sessions that were killed left there is removed too.

    Raises:
        InfrastructureError: it cannot be made, or the disk is full while it is used.
    """
    parent = root / "scratch"
    with writing(parent):
        parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        parent.chmod(0o711)  # whatever the umask; its names cannot be guessed
        _remove_stale(parent)
        prefix = f"{this_process().replace(':', '.')}-"
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with writing(path, only=FULL):
            yield path
    finally:
        remove_tree(path)
        remove_tree(beside(path))


def _remove_stale(parent: Path) -> None:
    for path in parent.iterdir():
        with suppress(OSError):
            owner = scratch_owner(path.name)
            if owner and not is_alive(owner):
                remove_tree(path)


def scratch_owner(name: str) -> str:
    """Which process a directory in scratch/ belongs to, as the ledger names processes;
    empty if it is none of ours."""
    found = re.match(r"\d+(\.\d*\.\w*)?(?=-)", name)
    return found[0].replace(".", ":") if found else ""


def remove_tree(path: Path) -> None:
    """Remove a file or a directory, whatever rights were left in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if sys.platform.startswith("linux"):
        files.remove(str(path))  # however deep a candidate has nested it
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        take_back(path)
        shutil.rmtree(path, ignore_errors=True)


def take_back(path: Path) -> None:
    """Make every directory of a tree ours to read and write again."""
    path.chmod(0o700)
    for folder, names, _ in os.walk(path):
        for below in (Path(folder) / name for name in names):
            if not below.is_symlink():  # chmod would follow it out of the tree
                below.chmod(0o700)
