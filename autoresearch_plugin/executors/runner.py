"""Starts one command, and ends it with everything it has started.

    python -I runner.py '{"command": ["python", "-m", "core"], "lifeline": 5, ...}'

A process of its own between pytest and a training command, because only a parent can
promise that nothing is left: it makes itself the *subreaper*, so whatever the command
leaves behind (daemons that forked twice and called setsid too) becomes its child, and
it kills and reaps until the kernel says that there is no child any more.

It is told what to do through `lifeline`, the reading end of a pipe. The byte `t` asks
politely first (SIGTERM, some seconds of grace, SIGABRT for a stack dump). End of file
means: end all of it now. pytest holds the other end, so when pytest is killed, even by
SIGKILL, the pipe closes and the trial dies as well. The report, one JSON line on
`status`, says how the command ended.

Standard library only; `executors.child` imports the /proc readers from here. Systems
without prctl and /proc (macOS) get the process group of the command killed instead,
which a daemon can escape.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

ABORT_GRACE = 0.3  # seconds for faulthandler to write its stack dump after SIGABRT
SWEEP_LIMIT = 5.0  # seconds; a process stuck in a driver call may not die at all

_PROC = Path("/proc")
_TICK = 1 / os.sysconf("SC_CLK_TCK")


# --------------------------------------------------------------------- reading /proc


def descendants(root: int) -> list[int]:
    """Pids of all living descendants of `root`; empty on a system without /proc."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def tree_cpu_seconds(root: int) -> float | None:
    """CPU seconds of everything `root` has started, alive or reaped, without its own.

    None on a system without /proc. Living processes are read from their own CPU clock,
    which counts nanoseconds; `stat` counts ticks of 10 ms. Processes whose parent
    ignores SIGCHLD are lost when they end.
    """
    fields = _stat(root)
    if fields is None:
        return None
    total = _waited_for(fields)
    for pid in descendants(root):
        if fields := _stat(pid):
            total += _waited_for(fields) + _own_cpu(pid, fields)
    return total


def _own_cpu(pid: int, fields: list[bytes]) -> float:
    try:
        # Linux numbers the CPU clock of a whole process so (CPUCLOCK_SCHED = 2).
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return (int(fields[11]) + int(fields[12])) * _TICK


def _waited_for(fields: list[bytes]) -> float:
    return (int(fields[13]) + int(fields[14])) * _TICK


def _pids() -> list[int]:
    try:
        return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from `state` on; the name before may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()


# ------------------------------------------------------------------------ the runner


class Runner:
    """Runs one order: a command, descriptors to pass on, the lifeline, the status."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._lifeline: int = order["lifeline"]
        self._command = 0
        self._exit: int | None = None
        self._prctl = _prctl()
        self._prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        # Handlers that do nothing, not SIG_IGN: exec would pass SIG_IGN on.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def run(self) -> dict[str, Any]:
        """Start the command, wait for its end or for the order to end it, clean up."""
        try:
            self._start()
        except OSError as error:
            return {
                "failed": f"{error.strerror}: {error.filename or '(working folder)'}"
            }
        self._watch()
        left = self._sweep()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "exit": self._exit,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20),
            "left": left,
        }

    def _start(self) -> None:
        runner = os.getpid()

        def before_exec() -> None:
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != runner:
                os._exit(1)  # the runner died before the line above could matter
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if self._order.get("cpu") is not None:
                with contextlib.suppress(OSError):  # gone offline meanwhile
                    os.sched_setaffinity(0, {self._order["cpu"]})

        process = subprocess.Popen(
            self._order["command"],
            stdin=subprocess.DEVNULL,
            pass_fds=self._order["pass"],
            start_new_session=True,
            preexec_fn=before_exec,
        )
        process.returncode = 0  # it is reaped below, among all the others
        self._command = process.pid

    def _watch(self) -> None:
        """Return when the command has ended or shall be killed at once."""
        due: list[tuple[float, Callable[[], None]]] = []
        while self._exit is None:
            wait = max(0.0, due[0][0] - time.monotonic()) if due else None
            ready, _, _ = select.select([self._lifeline, self._wake], [], [], wait)
            if self._wake in ready and signal.SIGTERM in os.read(self._wake, 512):
                return
            if self._lifeline in ready:
                if not os.read(self._lifeline, 1):
                    return
                due = due or self._polite_end()
            self._reap()
            if due and time.monotonic() >= due[0][0]:
                due.pop(0)[1]()
                if not due:
                    return

    def _polite_end(self) -> list[tuple[float, Callable[[], None]]]:
        """SIGTERM now; what to do when, if that does not help."""
        self._signal_all(signal.SIGTERM)
        abort_at = time.monotonic() + self._order["grace"]
        return [
            (abort_at, lambda: _send(self._command, signal.SIGABRT)),
            (abort_at + ABORT_GRACE, lambda: None),
        ]

    def _signal_all(self, number: int) -> None:
        """Signal the tree, each process once: a second SIGTERM would cut short what
        the first one has it say. SIGKILL goes to the group as well, which catches
        whoever forks meanwhile."""
        pids = descendants(os.getpid())
        for pid in reversed(pids):  # children first: who watches them may end them
            _send(pid, number)
        if number == signal.SIGKILL or not pids:
            with contextlib.suppress(OSError):
                os.killpg(self._command, number)

    def _reap(self) -> bool:
        """Take the dead off; False when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._command:
                self._exit = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> list[int]:
        """Kill and reap until no child is left; pids of those that do not die."""
        give_up = time.monotonic() + SWEEP_LIMIT
        while self._reap():
            self._signal_all(signal.SIGKILL)
            if time.monotonic() > give_up:
                return descendants(os.getpid())
            time.sleep(0.001)
        if not _PROC.is_dir():
            self._signal_all(signal.SIGKILL)
        return []


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _prctl() -> Callable[[int, int], None]:
    """The system call, or one that does nothing where there is none."""
    import ctypes

    try:
        function = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return lambda option, value: None
    return lambda option, value: function(option, value, 0, 0, 0)


def main() -> None:
    """Run the order in the first argument."""
    order = json.loads(sys.argv[1])
    report = Runner(order).run()
    with contextlib.suppress(BrokenPipeError):  # pytest is gone; nobody listens
        os.write(order["status"], json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
