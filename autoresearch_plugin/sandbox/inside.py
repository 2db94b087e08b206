"""The way in: from a fork of the watcher to the candidate's first instruction.

With namespaces there are two more processes: one that leaves the old namespaces and
ends, and `init`, the first process of the new ones. When `init` ends, the kernel kills
whatever is left in there.
"""

from __future__ import annotations

import errno
import os
import resource
import select

from autoresearch_plugin.sandbox import kernel, landlock, mounts, seccomp
from autoresearch_plugin.sandbox.orders import Order, Policy
from autoresearch_plugin.sandbox.processes import tasks_of
from autoresearch_plugin.sandbox.quick import MYPY, signal

if MYPY:
    from collections.abc import Mapping

FILE_MB, OPEN_FILES = 4096, 1024
TMP_MB = 1024
PLAIN_DEVICES = tuple(
    f"/dev/{n}" for n in ("null", "zero", "full", "random", "urandom")
)


class Entrance:
    """What one start needs: the order, the policy, and pipes to the watcher.

    `tell` carries lines to the watcher and ends with the start of the candidate, `hear`
    one byte back, `ended` the exit code seen by init. `uid` is None to keep our own.
    """

    def __init__(self, policy: Policy, order: Order, run: str, uid: int | None) -> None:
        self.policy = policy
        self.order = order
        self.run = run
        self.uid = uid
        self.watcher = os.getpid()
        self.told, self.tell = os.pipe()
        self.hear, self.answer = os.pipe()
        self.ending, self.ended = os.pipe()

    @property
    def private(self) -> str:
        """The directory, named as inside, of what is this run's alone."""
        return "/tmp" if self.policy.namespaces else self.run

    def go(self, environ: Mapping[str, str]) -> None:
        """In the forked child: never returns."""
        try:
            for fd in (self.told, self.answer, self.ending):
                os.close(fd)
            if self.policy.namespaces:
                self._leave()
            self._become(environ)
        except BaseException as error:
            os.write(self.tell, f"failed {error}\n".encode())
        finally:
            os._exit(125)

    # -------------------------------------------------------------------- namespaces

    def _leave(self) -> None:
        """Into new namespaces; returns in the process that shall become the command."""
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the maps could not be written
        kernel.unshare(kernel.NAMESPACES)
        os.write(self.tell, b"maps\n")
        if not os.read(self.hear, 1):
            os._exit(125)
        if pid := os.fork():
            os.write(self.tell, f"pid {pid}\n".encode())
            os._exit(0)
        # The death signal would also come from the process between. The watcher has
        # reaped that one when it answers, and is our parent then.
        if not os.read(self.hear, 1):
            os._exit(125)
        self._die_with_parent()
        self._mount()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        if child := os.fork():
            self._be_init(child)

    def _mount(self) -> None:
        policy, order = self.policy, self.order
        memory = int(policy.memory_mb or 2 * TMP_MB)
        mounts.new_root(
            self.run,
            read=[path for path in policy.read if os.path.exists(path)] + order.read,
            write=order.write,
            hide=order.hide,
            devices=[*PLAIN_DEVICES, *policy.devices],
            tmp_mb=max(1, min(TMP_MB, memory // 2)),
        )

    def _be_init(self, child: int) -> None:
        """Reap until the command has ended, kill the others, say how it ended."""
        signal.set_wakeup_fd(-1)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _close_all_but({self.ended})
        code = None
        while code is None:
            pid, status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
        try:
            os.kill(-1, signal.SIGKILL)
            while True:
                os.wait()
        except (ProcessLookupError, ChildProcessError):
            pass
        os.write(self.ended, f"{code}\n".encode())
        os._exit(0)

    # ------------------------------------------------------------------- the command

    def _become(self, environ: Mapping[str, str]) -> None:
        order, uid = self.order, self.uid
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        self._limit()
        kernel.drop_bounding_set()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        kernel.drop_capabilities()
        self._die_with_parent()  # a change of uid has forgotten it
        self._make_private(environ)
        os.chdir(order.cwd or (order.write or [environ["TMPDIR"]])[0])
        _close_all_but({0, 1, 2, self.tell, *order.keep})
        self._confine()
        try:
            os.execvpe(order.argv[0], order.argv, dict(environ))
        except OSError as error:
            reason = os.strerror(error.errno or errno.ENOENT)
            raise OSError(f"{order.argv[0]} cannot be started: {reason}") from None

    def _confine(self) -> None:
        policy = self.policy
        if policy.landlock:
            if landlock.abi() < policy.landlock:
                raise OSError(f"Landlock {policy.landlock} is not there any more")
            landlock.restrict(self._rules())
        if policy.seccomp:
            gpu = bool(policy.devices)
            seccomp.install(mounts=policy.namespaces, memfd=gpu)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)

    def _rules(self) -> list[tuple[str, int]]:
        policy, order = self.policy, self.order
        # CUDA names its threads through /proc/PID/task/TID/comm.
        threads = [("/proc/self/task", landlock.EDIT)] if policy.devices else []
        shared = ["/dev/shm"] if policy.namespaces else []
        return [
            *landlock.around(policy.read + order.read, order.hide),
            *((p, landlock.WRITE) for p in (*order.write, self.private, *shared)),
            *((path, landlock.PLAIN_DEVICE) for path in PLAIN_DEVICES),
            *((path, landlock.DEVICE) for path in policy.devices),
            ("/proc", landlock.LOOK),
            *threads,
        ]

    def _limit(self) -> None:
        policy = self.policy
        tasks = 2 * policy.processes  # a hard stop; the watcher kills earlier
        if self.uid is None and not policy.namespaces and os.getuid():
            tasks += tasks_of(os.getuid())  # those count too; nothing counts for root
        _lower(resource.RLIMIT_NPROC, tasks)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, FILE_MB << 20)
        _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
        if policy.memory_mb and not policy.devices:
            _lower(resource.RLIMIT_DATA, int(2 * policy.memory_mb) << 20)

    def _make_private(self, environ: Mapping[str, str]) -> None:
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
            if environ[name].startswith(self.private + "/"):
                os.makedirs(environ[name], mode=0o700, exist_ok=True)

    def _die_with_parent(self) -> None:
        """Have the kernel kill us with our parent, unless it is too late for that."""
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        poll = select.poll()
        poll.register(self.ended, 0)
        gone = poll.poll(0)  # an error: nobody reads what we write
        if gone or (not self.policy.namespaces and os.getppid() != self.watcher):
            os._exit(125)


def fixed(private: str, compile_alone: bool) -> dict[str, str]:
    """The variables that every run gets; `private` is its directory."""
    cache = f"{private}/cache"
    values = {
        "HOME": f"{private}/home",
        "TMPDIR": f"{private}/tmp",
        "XDG_CACHE_HOME": cache,
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
        "CUDA_CACHE_PATH": f"{cache}/cuda",
        "USER": "autoresearch",
        "LOGNAME": "autoresearch",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if compile_alone:  # a pool of compilers talks through sockets
        values["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return values


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError as error:  # the one that listed the others
                if error.errno != errno.EBADF:
                    raise
