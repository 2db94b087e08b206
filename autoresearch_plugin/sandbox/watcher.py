"""The watcher: starts one command inside a sandbox, outlives it, leaves nothing behind.

It is a `subreaper` (see there).
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time

from autoresearch_plugin.sandbox import (
    files,
    inside,
    kernel,
    processes,
    subreaper,
    users,
)
from autoresearch_plugin.sandbox.environment import environment
from autoresearch_plugin.sandbox.environment import fixed as fixed_by_harness
from autoresearch_plugin.sandbox.orders import SCOPED, Order, OrderError, Policy
from autoresearch_plugin.sandbox.quick import MYPY, dumps, signal
from autoresearch_plugin.sandbox.subreaper import send

if MYPY:
    from typing import Any

SETUP_FAILED = 125
POLL = 0.1  # seconds between two looks at the tree
DISK_EVERY = 5  # looks at the tree between two at the disk
REAP_LIMIT = 0.5  # seconds for init to do it
MARKER = "AUTORESEARCH_TRIAL"  # the harness finds orphans of a killed runner by it

_STOP = {
    signal.SIGTERM: "SIGTERM",
    signal.SIGINT: "SIGINT",
    signal.SIGHUP: "SIGHUP",
}
_PARENT_DIED = signal.SIGUSR1


class Watcher:
    """One command, from its start to the end of all that it has started."""

    def __init__(self, policy: Policy, order: Order, parent: int) -> None:
        self._policy = policy
        self._order = order
        self._parent = parent
        self._run = f"{policy.box}/{os.getpid()}"
        self._began = time.monotonic()
        self._deadline = self._began + (order.wall or float("inf"))
        self._main = 0
        self._exit: int | None = None
        self._why, self._message = "exit", ""
        self._cpu = self._peak = 0.0
        self._looks = 0
        self._uid: int | None = None
        self._wake = subreaper.listen(*_STOP, _PARENT_DIED, signal.SIGABRT)

    def run(self) -> dict[str, Any]:
        """Everything; returns the report."""
        left: list[int] = [0]  # until it is known
        try:
            self._prepare()
            self._start()
            self._watch()
        except (OSError, OrderError) as error:
            self._why, self._message, self._exit = "setup", str(error), None
        finally:
            left = self._sweep()
            self._clean(bool(left))
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
        return {
            "exit": None if self._why == "setup" else self._exit,
            "why": self._why,
            "message": self._message,
            "cpu": max(self._cpu, usage.ru_utime + usage.ru_stime),
            "peak_mb": max(self._peak, peak),
            "left": len(left),
        }

    # ---------------------------------------------------------------------- starting

    def _prepare(self) -> None:
        box = f"{os.path.realpath(self._policy.box)}/"
        for path in self._order.write:
            if box.startswith(f"{os.path.realpath(path)}/"):
                raise OrderError(f"the box lies in {path}, which may be written.")
        os.makedirs(self._run, mode=0o700)
        if self._policy.private_uid and self._may_switch():
            self._uid = users.private_uid()
            for path in [self._run, *self._order.write]:
                files.give(path, self._uid, self._uid)
        self._disk = [*self._order.write, self._run]
        self._disk_before = files.used_mb(self._disk)

    def _may_switch(self) -> bool:
        """Whether another user can read what the command needs."""
        walks = not self._policy.namespaces  # then the way there counts as well
        read = [p for p in self._policy.read if os.path.exists(p)] + self._order.read
        closed = [path for path in read if not files.readable(path)]
        if walks:
            places = [*read, *self._order.write, self._run]
            closed += [path for path in places if not files.passable(path)]
        if closed and walks and self._policy.landlock < SCOPED:
            raise OrderError(f"{closed[0]} is closed to other users. Allow o+rx on it.")
        return not closed

    def _start(self) -> None:
        entrance = inside.Entrance(self._policy, self._order, self._run, self._uid)
        environ = self._environment(entrance.private)
        pid = os.fork()
        if not pid:
            entrance.go(environ)
        self._main = pid
        for fd in (entrance.tell, entrance.hear, entrance.ended, *self._order.keep):
            os.close(fd)
        self._ending = entrance.ending
        with open(entrance.told, "rb") as lines:
            for line in lines:
                self._hear(line.decode(errors="replace").rstrip("\n"), entrance.answer)
        os.close(entrance.answer)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # the command alone holds its pipes
            os.dup2(null, fd)

    def _hear(self, line: str, answer: int) -> None:
        word, _, rest = line.partition(" ")
        if word == "maps":
            users.write_maps(self._main, self._uid)
            os.write(answer, b"g")
        elif word == "pid":
            os.waitpid(self._main, 0)
            self._main = int(rest)
            os.write(answer, b"g")
        else:
            raise OrderError(rest)

    def _environment(self, private: str) -> dict[str, str]:
        ours = {MARKER, *fixed_by_harness(1, "")}
        return {
            **environment(os.environ),
            **{name: value for name, value in os.environ.items() if name in ours},
            **inside.fixed(private, compile_alone=not self._policy.namespaces),
            **self._order.env,
        }

    # ---------------------------------------------------------------------- watching

    def _watch(self) -> None:
        """Return when the command has ended or shall be killed."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while self._exit is None:
            if poll.poll(1000 * POLL):
                self._obey(os.read(self._wake, 512))
            self._reap()
            if self._exit is None and (self._why != "exit" or self._is_over()):
                return

    def _obey(self, numbers: bytes) -> None:
        if signal.SIGABRT in numbers:  # a Python command prints where it hangs
            self._abort()
        for number in _STOP:
            if number in numbers:
                self._deadline = min(
                    self._deadline, time.monotonic() + self._order.grace
                )
                self._asked = _STOP[number]

    _asked = ""

    def _abort(self) -> None:
        pid = self._main
        if self._policy.namespaces:  # init's first child is the command
            pid = next(iter(processes.descendants(pid)), pid)
        send(pid, signal.SIGABRT)

    def _is_over(self) -> bool:
        """Whether a limit is exceeded; says which."""
        tree = processes.descendants(os.getpid())
        cpu, memory = processes.usage(tree)
        self._cpu, self._peak = max(self._cpu, cpu), max(self._peak, memory)
        self._looks += 1
        found = (
            self._parent_is_gone()
            or self._time_is_up()
            or self._too_many(len(tree))
            or self._too_big(tree, memory)
            or (self._looks % DISK_EVERY == 0 and self._disk_is_full(tree))
        )
        return bool(found)

    def _stop(self, why: str, message: str) -> bool:
        self._why, self._message = why, message
        return True

    def _parent_is_gone(self) -> bool:
        gone = os.getppid() != self._parent
        return gone and self._stop("parent", "the process that wanted this is gone")

    def _time_is_up(self) -> bool:
        if time.monotonic() < self._deadline:
            return False
        if self._asked:
            return self._stop("signal", f"stopped by {self._asked}")
        return self._stop("wall", f"ran longer than {self._order.wall:g} s")

    def _too_many(self, count: int) -> bool:
        limit = self._policy.processes + self._policy.namespaces
        if count <= limit:
            return False
        return self._stop("processes", f"{count} processes; the limit is {limit}")

    def _too_big(self, tree: list[int], memory: float) -> bool:
        limit = self._policy.memory_mb
        if limit is None or memory <= limit:
            return False
        memory = processes.shared_fairly_mb(tree)
        if memory <= limit:
            return False
        return self._stop("memory", f"{memory:.0f} MB; the limit is {limit:.0f} MB")

    def _disk_is_full(self, tree: list[int]) -> bool:
        """Count files only when the file system has grown by more than is allowed."""
        limit = self._policy.disk_mb
        used = files.used_mb(self._disk)
        if used - self._disk_before <= limit:
            return False
        ours = files.size_mb(self._disk, limit) + processes.deleted_open_mb(tree)
        if ours <= limit:
            self._disk_before = used - ours  # others have grown
            return False
        return self._stop("disk", f"wrote {ours:.0f} MB; the limit is {limit} MB")

    # ------------------------------------------------------------------------- ending

    def _reap(self) -> bool:
        return subreaper.reap(self._took)

    def _took(self, pid: int, status: int) -> None:
        if pid == self._main:
            self._exit = os.waitstatus_to_exitcode(status)
            if self._policy.namespaces and not self._exit:
                self._exit = int(os.read(self._ending, 64) or b"0")

    def _sweep(self) -> list[int]:
        if self._policy.namespaces:
            self._let_init_reap()
        elif self._uid is not None:
            self._kill_user(self._uid)
        return subreaper.sweep(self._took, lambda: subreaper.kill_all(self._main))

    def _let_init_reap(self) -> None:
        """Kill all but init, and give it a moment to take them off: what they have used
        of the CPU is lost when the kernel clears the namespace away."""
        end = time.monotonic() + REAP_LIMIT
        while self._exit is None and time.monotonic() < end and self._reap():
            for pid in processes.descendants(self._main):
                send(pid, signal.SIGKILL)
            time.sleep(subreaper.PAUSE)

    def _kill_user(self, uid: int) -> None:
        """All processes of our private user at one stroke: no fork bomb outruns it."""
        if not os.fork():
            try:
                os.setresuid(uid, uid, uid)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)

    def _clean(self, somebody_left: bool) -> None:
        """Take back what was given, and remove what is private.

        Not while somebody lives who could put a link in the place of a directory.
        """
        if self._uid is not None and not somebody_left:
            for path in self._order.write:
                try:
                    files.give(path, os.geteuid(), os.getegid())
                except OSError:
                    continue
            if not (self._policy.landlock or self._policy.namespaces):
                files.remove_owned(self._uid)
        files.remove(self._run)


def main(words: list[str]) -> int:
    """Run the order on the command line; returns the exit code."""
    parent = os.getppid()
    order = Order()
    try:
        order.read_words(words)
        policy = Policy(order.policy)
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, _PARENT_DIED)
        subreaper.become()
        error = os.dup(2)
        report = Watcher(policy, order, parent).run()
    except (OSError, OrderError) as problem:
        error = 2
        report = {"exit": None, "why": "setup", "message": str(problem), "cpu": 0.0}
        report |= {"peak_mb": 0.0, "left": 0}
    if order.report >= 0:
        _tell(order.report, dumps(report))
    code = report["exit"]
    if report["why"] == "setup" or not isinstance(code, int):
        _tell(error, f"sandbox: nothing was run: {report['message']}")
        return SETUP_FAILED
    return code if code >= 0 else 128 - code


def _tell(fd: int, text: str) -> None:
    try:
        os.write(fd, text.replace("\n", " ").encode() + b"\n")
    except OSError:
        pass
