"""The seccomp filter: system calls that no training needs, denied by the kernel.

`program` is pure: it builds the BPF program as a list, so tests can run it in a small
interpreter. Only system calls of the machine's own architecture pass; a call through
another one (32 bit) kills the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from types import SimpleNamespace as Machine

from autoresearch_plugin.sandbox import kernel
from autoresearch_plugin.sandbox.quick import signal

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_MODE_FILTER = 2

_NEW_NAMESPACES = kernel.NAMESPACES | kernel.CLONE_NEWCGROUP
_AF_UNIX = 1
_IOCTLS = (0x5412, 0x541C, 0x40086602, 0x401C5820)  # TIOCSTI, TIOCLINUX, file flags


# One instruction: its code, two jumps (steps to leave out if true, if false), a value.
Step = tuple[int, int, int, int]

_CLONE3 = 435
# io_uring (3), pidfd_getfd, process_madvise, mounting (7), quotactl_fd, memfd_secret:
# the same numbers everywhere.
_DENIED = "425 426 427 438 440 428 429 430 431 432 433 442 443 447"
_NO_METADATA = "463 466 469"  # setxattrat, removexattrat, file_setattr
_PRETENDED = "452"  # fchmodat2

# In order: ptrace, process_vm_*, kcmp; kexec and modules; mount, umount, pivot_root,
# chroot, setns, unshare; bpf, perf_event_open, userfaultfd; keys; file handles; quota,
# reboot, swap, acct; clocks; personality, syslog, vhangup; fanotify, page moving;
# System V shared memory, semaphores, messages; POSIX queues; (x86) iopl, ioperm.
# A machine: the kernel's mark for its architecture, and its system call numbers.
MACHINES: dict[str, Machine] = {
    "x86_64": Machine(
        mark=0xC000003E,
        denied="101 310 311 312 246 320 175 313 176 165 166 155 161 308 272 321 298 323"
        " 248 249 250 303 304 179 169 167 168 163 164 227 305 159 135 103 153 300 256"
        " 279 29 30 31 67 64 65 66 220 68 69 70 71 240 241 172 173",
        no_metadata="92 93 94 260 188 189 190 197 198 199",  # chown*, *xattr
        pretended="90 91 268 132 235 261 280",  # chmod*, utime*
        clone=56,
        socket=41,
        socketpair=53,
        ioctl=16,
        memfd_create=319,
        truncate=76,
        prlimit=302,
        sigaction=13,
        of_others="203:0 142:0 144:0 314:0 141:1 251:1",
    ),
    "aarch64": Machine(  # not run: no such machine at hand
        mark=0xC00000B7,
        denied="117 270 271 272 104 294 105 273 106 40 39 41 51 268 97 280 241 282"
        " 217 218 219 264 265 60 142 224 225 89 170 112 266 171 92 116 58 262 238"
        " 239 194 196 195 197 190 193 191 192 186 189 188 187 180 181",
        no_metadata="54 55 5 6 7 14 15 16",
        pretended="52 53 88",
        clone=220,
        socket=198,
        socketpair=199,
        ioctl=29,
        memfd_create=279,
        truncate=45,
        prlimit=261,
        sigaction=134,
        of_others="122:0 118:0 119:0 274:0 140:1 30:1",
    ),
}


def program(machine: Machine, *, mounts: bool, memfd: bool) -> list[Step]:
    """The filter.

    `mounts` says whether a mount and network namespace hides what belongs to others.
    Without it, changes of metadata, which Landlock lets through, are refused (chmod and
    utime pretend to succeed: copying and linking tools insist on them), and so is every
    socket. `memfd` allows files in memory, which no watchdog sees. What becomes of
    SIGCHLD cannot be changed, though a try seems to succeed.
    """
    steps = [
        (LOAD, 0, 0, _ARCHITECTURE),
        (EQUAL, 1, 0, machine.mark),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, _NUMBER),
        (AT_LEAST, 0, 1, _X32),
        _error(errno.EPERM),
    ]
    verdicts = dict.fromkeys(_numbers(machine.denied, _DENIED), errno.EPERM)
    verdicts[_CLONE3] = errno.ENOSYS  # its flags lie in memory; libraries use clone
    if not memfd:
        verdicts[machine.memfd_create] = errno.ENOSYS
    if not mounts:
        refused = _numbers(machine.no_metadata, _NO_METADATA)
        verdicts |= dict.fromkeys(refused, errno.EOPNOTSUPP)
        verdicts |= dict.fromkeys(_numbers(machine.pretended, _PRETENDED), 0)
        verdicts[machine.socket] = errno.EACCES
        verdicts[machine.truncate] = (
            errno.EACCES
        )  # by name; Landlock knows it from 3 on
    for number, verdict in sorted(verdicts.items()):
        steps += [(EQUAL, 0, 1, number), _error(verdict)]
    steps += _if_number(machine.clone, 0, _reject_bits(_NEW_NAMESPACES))
    for number in (machine.socket, machine.socketpair):
        steps += _if_number(number, 0, _require(_AF_UNIX))
    steps += _if_number(machine.ioctl, 1, _reject_values(_IOCTLS))
    # Who ignores SIGCHLD waits for nobody, and its children's CPU time counts nowhere.
    steps += _if_number(machine.sigaction, 0, _pretend_change(signal.SIGCHLD))
    if not mounts:  # limits and priorities of others, who can be seen
        steps += _if_number(machine.prlimit, 0, _require(0))
        for number, argument in _pairs(machine.of_others):
            steps += _if_number(number, argument, _pretend_unless(0))
    return [*steps, _allow()]


def install(*, mounts: bool, memfd: bool) -> None:
    """Hold this process and all its children to the filter, for good.

    Raises:
        OSError: the kernel refused, or there is no table for this architecture.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        raise OSError(errno.ENOSYS, f"no system call table for {os.uname().machine}")
    load(program(machine, mounts=mounts, memfd=memfd))


def load(steps: list[Step]) -> None:
    """Give the kernel a filter."""
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.create_string_buffer(head))


def _numbers(*words: str) -> list[int]:
    return [int(word) for word in " ".join(words).split()]


def _error(number: int) -> Step:
    return (RETURN, 0, 0, ERRNO | number)


def _allow() -> Step:
    return (RETURN, 0, 0, ALLOW)


def _if_number(number: int, argument: int, body: list[Step]) -> list[Step]:
    """`body`, which ends with a verdict, on one argument of one system call."""
    load = (LOAD, 0, 0, _ARGUMENTS + 8 * argument)
    return [(EQUAL, 0, len(body) + 1, number), load, *body]


def _reject_bits(bits: int) -> list[Step]:
    return [(ANY_BIT, 0, 1, bits), _error(errno.EPERM), _allow()]


def _require(value: int) -> list[Step]:
    return [(EQUAL, 1, 0, value), _error(errno.EACCES), _allow()]


def _pretend_unless(value: int) -> list[Step]:
    return [(EQUAL, 1, 0, value), _error(0), _allow()]


def _pretend_change(number: int) -> list[Step]:
    """On a signal and, in the next argument, the address of its new action, if any."""
    low, high = _ARGUMENTS + 8, _ARGUMENTS + 12
    return [
        (EQUAL, 1, 0, number),
        _allow(),
        (LOAD, 0, 0, low),
        (EQUAL, 0, 3, 0),
        (LOAD, 0, 0, high),
        (EQUAL, 0, 1, 0),
        _allow(),
        _error(0),
    ]


def _pairs(words: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in (word.split(":") for word in words.split())]


def _reject_values(values: tuple[int, ...]) -> list[Step]:
    checks = [
        step for value in values for step in ((EQUAL, 0, 1, value), _error(errno.EPERM))
    ]
    return [*checks, _allow()]
