"""Runs a command as if on another machine: another user, Docker's rights, less kernel.

    python elsewhere.py TRAIT... -- COMMAND...

Traits, applied in this order (all but `no-landlock` and `no-userns` need root):

    open         every user can reach this Python and the project
    masked-proc  parts of /proc are covered, as in containers: no fresh one is allowed
    user         uid 12345, who has no passwd entry
    no-userns    the kernel allows no further user namespace
    docker       Docker's default capabilities, and its refusal of namespaces and mounts
    no-landlock  the kernel has no Landlock
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path

from autoresearch_plugin.sandbox import kernel, seccomp

PROJECT = Path(__file__).parents[2]
USER = 12345
# chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
# net_raw, sys_chroot, mknod, audit_write, setfcap
DOCKER_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
NAMESPACE_CALLS = "165 166 155 272 308 442"  # mount ... mount_setattr, on x86-64
_NONE = 1 << 29  # no system call has this number
LANDLOCK_CALLS = (444, 445, 446)


def main(words: list[str]) -> None:
    """Take on the traits and become the command."""
    split = words.index("--")
    traits, command = words[:split], words[split + 1 :]
    for name, become in TRAITS.items():
        if name in traits:
            become()
    os.execvp(command[0], command)


def open_paths() -> None:
    """Replace closed directories by ones that show only what everybody needs."""
    needed = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, PROJECT)]
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    stash = tempfile.mkdtemp()
    kernel.mount("tmpfs", stash, "tmpfs")
    for closed in sorted({p for path in needed if (p := _closed_above(path))}):
        below = [path for path in needed if path.startswith(closed + "/")]
        for number, path in enumerate(below):
            Path(f"{stash}/{number}").mkdir()
            kernel.mount(path, f"{stash}/{number}", flags=kernel.MS_BIND)
        kernel.mount("tmpfs", closed, "tmpfs", data="mode=755")
        for number, path in enumerate(below):
            Path(path).mkdir(parents=True)
            kernel.mount(f"{stash}/{number}", path, flags=kernel.MS_BIND)


def _closed_above(path: str) -> str:
    """The topmost directory on the way to `path` that others may not pass."""
    parents = [str(parent) for parent in reversed(Path(path).parents)]
    return next((p for p in parents if not Path(p).stat().st_mode & 1), "")


def mask_proc() -> None:
    """Cover a part of /proc; the kernel then mounts no other that would show it."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/proc/sys", "tmpfs")


def become_user() -> None:
    """Give up root."""
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def forbid_namespaces() -> None:
    """Enter a user namespace that may have none below it."""
    user, group = os.geteuid(), os.getegid()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/uid_map", f"{user} {user} 1"),
        ("/proc/self/gid_map", f"{group} {group} 1"),
        ("/proc/sys/user/max_user_namespaces", "0"),
    ):
        Path(name).write_text(text)


def become_docker() -> None:
    """What `docker run` gives by default to root."""
    for number in range(41):
        if number not in DOCKER_CAPABILITIES:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    machine = seccomp.MACHINES[os.uname().machine]
    changes = {"denied": NAMESPACE_CALLS, "socket": _NONE, "socketpair": _NONE}
    docker = type(machine)(**{**vars(machine), **changes})
    seccomp.load(seccomp.program(docker, mounts=True, memfd=True))


def forbid_landlock() -> None:
    """Answer its system calls as an old kernel does."""
    check = [
        step
        for number in LANDLOCK_CALLS
        for step in (
            (seccomp.EQUAL, 0, 1, number),
            (seccomp.RETURN, 0, 0, seccomp.ERRNO | errno.ENOSYS),
        )
    ]
    allow = (seccomp.RETURN, 0, 0, seccomp.ALLOW)
    seccomp.load([(seccomp.LOAD, 0, 0, 0), *check, allow])


TRAITS = {
    "open": open_paths,
    "masked-proc": mask_proc,
    "user": become_user,
    "no-userns": forbid_namespaces,
    "docker": become_docker,
    "no-landlock": forbid_landlock,
}

if __name__ == "__main__":
    main(sys.argv[1:])
