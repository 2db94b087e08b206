"""The seccomp filter as a program: run here by a small BPF interpreter."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.sandbox import kernel, seccomp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")

ALLOW, KILL = seccomp.ALLOW, seccomp.KILL
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h",),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),  # arm64 uses the generic table
}
# By name, what the numbers in the tables stand for.
DENIED = """
    ptrace process_vm_readv process_vm_writev kcmp kexec_load kexec_file_load
    init_module finit_module delete_module mount umount2 pivot_root chroot setns unshare
    bpf perf_event_open userfaultfd add_key request_key keyctl name_to_handle_at
    open_by_handle_at quotactl reboot swapon swapoff acct settimeofday clock_settime
    clock_adjtime adjtimex personality syslog vhangup fanotify_init migrate_pages
    move_pages shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd
    msgrcv msgctl mq_open mq_unlink
"""
DENIED_EVERYWHERE = """
    io_uring_setup io_uring_enter io_uring_register pidfd_getfd process_madvise
    open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr quotactl_fd
    memfd_secret
"""
NO_METADATA = """
    fchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
"""
PRETENDED = "fchmod fchmodat utimensat"
X86_ONLY = " iopl ioperm"
X86_METADATA = " chown lchown"
X86_PRETENDED = " chmod utime utimes futimesat"


def verdict(
    steps: list[seccomp.Step],
    number: int,
    arguments: Mapping[int, int] | None = None,
    mark: int = seccomp.MACHINES["x86_64"].mark,
) -> int:
    """What the program returns for one system call."""
    data = {0: number, 4: mark}
    for index, value in (arguments or {}).items():
        data[16 + 8 * index] = value & 0xFFFFFFFF
        data[20 + 8 * index] = value >> 32
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = steps[position]
        position += 1
        if code == seccomp.LOAD:
            accumulator = data.get(value, 0)
        elif code == seccomp.RETURN:
            return value
        else:
            holds = {
                seccomp.EQUAL: accumulator == value,
                seccomp.AT_LEAST: accumulator >= value,
                seccomp.ANY_BIT: bool(accumulator & value),
            }[code]
            position += if_true if holds else if_false


def words_as_numbers(*words: str) -> set[int]:
    """The numbers of a table."""
    return {int(word) for word in " ".join(words).split()}


def error(number: int) -> int:
    """The verdict that makes a call fail with `number`."""
    return seccomp.ERRNO | number


@pytest.fixture(params=seccomp.MACHINES)
def machine(request):
    """Each architecture in turn."""
    return request.param


def numbers(machine: str) -> dict[str, int]:
    """Names and numbers from the kernel's header files."""
    path = next((Path(p) for p in HEADERS[machine] if Path(p).exists()), None)
    if path is None:
        pytest.skip(f"no header with the system calls of {machine}")
    text = path.read_text()
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b"
    return {name: int(number) for name, number in re.findall(pattern, text)}


def test_the_tables_say_what_they_mean(machine):
    """Each number is that of the call it stands for, by the kernel's own headers."""
    known = numbers(machine)
    table = seccomp.MACHINES[machine]
    x86 = machine == "x86_64"
    for text, names in (
        (table.denied, DENIED + X86_ONLY * x86),
        (table.no_metadata, NO_METADATA + X86_METADATA * x86),
        (table.pretended, PRETENDED + X86_PRETENDED * x86),
    ):
        assert words_as_numbers(text) == {known[name] for name in names.split()}
    for name in ("clone", "socket", "socketpair", "ioctl", "memfd_create"):
        assert getattr(table, name) == known[name]
    assert table.sigaction == known["rt_sigaction"]
    steps = seccomp.program(table, mounts=True, memfd=True)
    for name in DENIED_EVERYWHERE.split():
        if name in known:  # an older header
            found = verdict(steps, known[name], mark=table.mark)
            assert found == error(errno.EPERM), name


@given(
    number=st.integers(0, 600),
    arguments=st.dictionaries(st.integers(0, 5), st.integers(0, 2**64 - 1)),
    mounts=st.booleans(),
    memfd=st.booleans(),
)
def test_the_program_against_its_description(number, arguments, mounts, memfd):
    """For any call the program decides as the words in its documentation do."""
    table = seccomp.MACHINES["x86_64"]
    steps = seccomp.program(table, mounts=mounts, memfd=memfd)
    low = {index: value & 0xFFFFFFFF for index, value in arguments.items()}
    denied = words_as_numbers(table.denied, seccomp._DENIED)
    metadata = words_as_numbers(table.no_metadata, seccomp._NO_METADATA)
    pretended = words_as_numbers(table.pretended, seccomp._PRETENDED)
    expected = ALLOW
    if number in denied:
        expected = error(errno.EPERM)
    elif number == 435 or (number == table.memfd_create and not memfd):
        expected = error(errno.ENOSYS)
    elif number in metadata and not mounts:
        expected = error(errno.EOPNOTSUPP)
    elif number in pretended and not mounts:
        expected = error(0)
    elif (number == table.socket and not mounts) or (
        number in (table.socket, table.socketpair) and low.get(0, 0) != 1
    ):
        expected = error(errno.EACCES)
    elif not mounts and number in (table.truncate, table.prlimit):
        named = number == table.truncate or low.get(0, 0) != 0
        expected = error(errno.EACCES) if named else ALLOW
    elif not mounts and number in (others := dict(seccomp._pairs(table.of_others))):
        expected = error(0) if low.get(others[number], 0) else ALLOW
    elif (
        (number == table.clone and low.get(0, 0) & kernel.NAMESPACES)
        or (number == table.clone and low.get(0, 0) & kernel.CLONE_NEWCGROUP)
        or (number == table.ioctl and low.get(1, 0) in seccomp._IOCTLS)
    ):
        expected = error(errno.EPERM)
    elif number == table.sigaction and low.get(0, 0) == 17 and arguments.get(1, 0):
        expected = error(0)
    assert verdict(steps, number, arguments) == expected


@pytest.mark.parametrize("action", [1, 1 << 32, 0x7FFF12345678])
def test_sigchld_keeps_its_action(machine, action):
    """A new action for SIGCHLD is forgotten; asking, and other signals, pass."""
    table = seccomp.MACHINES[machine]
    steps = seccomp.program(table, mounts=True, memfd=True)

    def change(signal, action):
        return verdict(steps, table.sigaction, {0: signal, 1: action}, table.mark)

    assert change(17, action) == error(0)
    assert change(17, 0) == ALLOW
    assert change(15, action) == ALLOW


@pytest.mark.parametrize("command", seccomp._IOCTLS)
def test_dangerous_ioctls(command):
    """Typing into a terminal and changing file flags are denied, others pass."""
    steps = seccomp.program(seccomp.MACHINES["x86_64"], mounts=True, memfd=True)
    assert verdict(steps, 16, {1: command}) == error(errno.EPERM)
    assert verdict(steps, 16, {1: command | 1 << 40}) == error(errno.EPERM)
    assert verdict(steps, 16, {1: 0x5401}) == ALLOW


@pytest.mark.parametrize("bit", range(32))
def test_clone_flags(bit):
    """Exactly the flags for new namespaces are denied."""
    steps = seccomp.program(seccomp.MACHINES["x86_64"], mounts=True, memfd=True)
    new = {17, 25, 26, 27, 28, 29, 30}  # mount, cgroup, uts, ipc, user, pid, net
    expected = error(errno.EPERM) if bit in new else ALLOW
    assert verdict(steps, 56, {0: 1 << bit}) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed(mark, number):
    """A call through the 32-bit entry never gets a number compared."""
    table = seccomp.MACHINES["x86_64"]
    steps = seccomp.program(table, mounts=False, memfd=False)
    if mark != table.mark:
        assert verdict(steps, number, mark=mark) == KILL


@given(st.integers(0x40000000, 2**32 - 1))
def test_x32_is_denied(number):
    """Numbers of the x32 interface, which repeat the others, are refused."""
    steps = seccomp.program(seccomp.MACHINES["x86_64"], mounts=True, memfd=True)
    assert verdict(steps, number) == error(errno.EPERM)


def test_a_program_stays_within_the_kernels_limits(machine):
    """At most 4096 steps, jumps of a byte, all of them forward and inside."""
    table = seccomp.MACHINES[machine]
    steps = seccomp.program(table, mounts=False, memfd=False)
    assert len(steps) <= 4096
    for position, (_, if_true, if_false, _) in enumerate(steps):
        assert 0 <= max(if_true, if_false) < min(256, len(steps) - position)
    assert steps[-1] == (seccomp.RETURN, 0, 0, ALLOW)
