"""Starts one command, and ends it with everything it has started.

A process of its own between pytest and a training command, because only a parent can
promise that nothing is left: it is a *subreaper* (see there), and kills and reaps until
it has no child any more. It is started for every phase of a trial, so it has to start
fast: standard library only, and see `sandbox.quick`.

It is told what to do through `lifeline`, the reading end of a pipe. The byte `t` asks
politely first (SIGTERM, some seconds of grace, SIGABRT for a stack dump). End of file
means: end all of it now. pytest holds the other end, so when pytest is killed, even by
SIGKILL, the pipe closes and the trial dies as well. The report, one JSON line on
`status`, says how the command ended.

Systems without prctl and /proc (macOS) get the process group of the command killed
instead, which a daemon can escape.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time

from autoresearch_plugin.sandbox import kernel, subreaper
from autoresearch_plugin.sandbox.processes import descendants
from autoresearch_plugin.sandbox.quick import MYPY, dumps, loads, signal
from autoresearch_plugin.sandbox.subreaper import send

if MYPY:
    from collections.abc import Callable, Mapping
    from typing import Any

ABORT_GRACE = 0.3  # seconds for faulthandler to write its stack dump after SIGABRT


class Runner:
    """Runs one order: a command, its CPU, the lifeline, the status."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._lifeline: int = order["lifeline"]
        self._command = 0
        self._exit: int | None = None
        try:
            subreaper.become()
        except OSError:  # refused: the process group has to do
            pass
        self._wake = subreaper.listen(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def run(self) -> dict[str, str | float | None]:
        """Start the command, wait for its end or for the order to end it, clean up.

        The report: `exit`, `cpu` seconds, `peak_mb` of the largest process, and the
        pids that are `left` in a string; or `failed` alone.
        """
        try:
            self._start()
        except OSError as error:
            return {"failed": f"{error.strerror}: {self._order['command'][0]}"}
        self._watch()
        left = self._sweep()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "exit": self._exit,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20),
            "left": " ".join(map(str, left)),
        }

    # ---------------------------------------------------------------------- starting

    def _start(self) -> None:
        """Fork and exec.

        Raises:
            OSError: the system's, from either.
        """
        for fd in (self._lifeline, self._order["status"]):
            os.set_inheritable(fd, False)
        runner = os.getpid()
        failed, tell = os.pipe()  # closed by a successful exec
        self._command = os.fork()
        if not self._command:
            self._become(self._order["command"], runner, tell)
        os.close(tell)
        with open(failed, "rb") as file:
            if reason := file.read():
                os.waitpid(self._command, 0)
                raise OSError(None, reason.decode())

    def _become(self, argv: list[str], runner: int, tell: int) -> None:
        """In the forked child: never returns."""
        try:
            self._die_with_parent()
            if os.getppid() == runner:  # or it died before that could matter
                os.setsid()
                for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
                    signal.signal(number, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                self._pin()
                os.execvp(argv[0], argv)
        except OSError as error:
            os.write(tell, f"{error.strerror}".encode())
        except BaseException as error:
            os.write(tell, f"{error}".encode() or b"it was interrupted")
        finally:
            os._exit(1)

    def _die_with_parent(self) -> None:
        if sys.platform == "linux":
            try:
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            except OSError:  # refused: what is left is found by its mark
                return

    def _pin(self) -> None:
        """To the one CPU that the order names, unless that has gone offline."""
        if self._order["cpu"] is not None:
            try:
                os.sched_setaffinity(0, {self._order["cpu"]})
            except OSError:
                return

    # ----------------------------------------------------------------------- watching

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

    # ------------------------------------------------------------------------- ending

    def _polite_end(self) -> list[tuple[float, Callable[[], None]]]:
        """SIGTERM now; what to do when, if that does not help."""
        self._signal_all(signal.SIGTERM)
        abort_at = time.monotonic() + self._order["grace"]
        return [
            (abort_at, lambda: send(self._command, signal.SIGABRT)),
            (abort_at + ABORT_GRACE, lambda: None),
        ]

    def _signal_all(self, number: int) -> None:
        """Signal the tree, each process once: a second SIGTERM would cut short what
        the first one has it say. SIGKILL goes to the group as well, which catches
        whoever forks meanwhile."""
        pids = descendants(os.getpid())
        for pid in reversed(pids):  # children first: who watches them may end them
            send(pid, number)
        if number == signal.SIGKILL or not pids:
            try:
                os.killpg(self._command, number)
            except OSError:
                return

    def _reap(self) -> bool:
        return subreaper.reap(self._took)

    def _took(self, pid: int, status: int) -> None:
        if pid == self._command:
            self._exit = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> list[int]:
        left = subreaper.sweep(self._took, lambda: self._signal_all(signal.SIGKILL))
        if not os.path.isdir("/proc"):
            self._signal_all(signal.SIGKILL)
        return left


def main(text: str) -> None:
    """Run the order, in JSON, and report."""
    order = loads(text)
    report = Runner(order).run()
    try:
        os.write(order["status"], dumps(report).encode() + b"\n")
    except BrokenPipeError:  # pytest is gone; nobody listens
        return
