"""The devices that trials run on: which there are, which we may use, who holds them.

`discover` honours what the caller has been given: CUDA_VISIBLE_DEVICES is read as CUDA
reads it, and a GPU is never named by the number of a worker. AMD GPUs are taken from
HIP_VISIBLE_DEVICES alone. Without a GPU each physical core is a device.

`lease` holds a device against other sessions of the same user on this host. Sessions of
other users are not seen, nor those in containers, unless both share a directory through
AUTORESEARCH_RUNTIME_DIR.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.gpus import Gpu, NvidiaDriver, Nvml, NvmlError, visible

_UUID = ("GPU-", "MIG-")
POLL = 0.5  # seconds between two tries for a held device


@dataclass(frozen=True)
class Device:
    """Something a trial runs on.

    `id` is for people and the ledger (`cpu:0`, `cuda:5`), `name` the model, `visible`
    what the environment variable of its `kind` of runtime must say to see it alone,
    `threads` the CPU threads that a trial on it may use.
    """

    id: str
    name: str
    kind: str
    free_mb: float = 0.0
    total_mb: float = 0.0
    visible: str = ""
    threads: int = 1


# ------------------------------------------------------------------------- discovery


def discover(
    environ: Mapping[str, str],
    setting: str = "auto",
    nvml: Nvml | None = None,
) -> list[Device]:
    """The devices trials may use, never none.

    `setting` is `auto` (the visible GPUs, else the CPU), `cpu`, or a list like `0,2`
    (numbers of nvidia-smi), `GPU-8f2e...,cpu:1`.

    Raises:
        SettingsError: a device is named that is not there or not visible.
    """
    if setting.strip() == "cpu":
        return cpu_devices()
    if setting.strip() == "auto":
        return _gpus(environ, nvml)[0] or cpu_devices()
    words = [word.strip() for word in setting.split(",")]
    found = [device for word in words for device in _named(word, environ, nvml)]
    if len(set(found)) < len(found):
        raise SettingsError(
            f"autoresearch_devices {setting!r} names a device more than once. "
            "One device runs one trial at a time; name each once."
        )
    return found


def _named(word: str, environ: Mapping[str, str], nvml: Nvml | None) -> list[Device]:
    problem = ""
    if word.startswith("cpu:"):
        known = cpu_devices()
    else:
        known, problem = _gpus(environ, nvml)
    found = [device for device in known if _is_called(device, word)]
    if not found or (word.startswith(_UUID) and len(found) > 1):
        names = ", ".join(device.id for device in known) or "none"
        raise SettingsError(
            f"autoresearch_devices: no device {word!r}{problem and f' ({problem})'}. "
            f"Visible here: {names}. Use auto, cpu or a list of these."
        )
    return found


def _is_called(device: Device, word: str) -> bool:
    number = device.id.split(":")[1]
    if word.startswith(_UUID):
        return device.visible.startswith(word)
    return word in (device.id, number, number.split(".")[0])


def _gpus(environ: Mapping[str, str], nvml: Nvml | None) -> tuple[list[Device], str]:
    """The visible GPUs, and why there are none if the driver is to blame."""
    try:
        gpus = (nvml or NvidiaDriver()).gpus()
    except NvmlError as error:
        return _amd(environ), str(error)
    share = max(1, len(cpu_devices()) // max(1, len(gpus)))  # of the cores, per GPU
    return [_gpu_device(gpu, share) for gpu in visible(gpus, environ)], ""


def _gpu_device(gpu: Gpu, threads: int) -> Device:
    return Device(
        id=f"cuda:{gpu.label}",
        name=gpu.name,
        kind="cuda",
        free_mb=gpu.free_mb,
        total_mb=gpu.total_mb,
        visible=gpu.uuid,
        threads=threads,
    )


def _amd(environ: Mapping[str, str]) -> list[Device]:
    """What HIP_VISIBLE_DEVICES grants, word for word: we cannot look for AMD GPUs."""
    words = [w.strip() for w in environ.get("HIP_VISIBLE_DEVICES", "").split(",")]
    good = [word for word in words if word.isdecimal() or word.startswith("GPU-")]
    return [
        Device(id=f"hip:{word}", name="AMD GPU", kind="cuda", visible=word)
        for word in dict.fromkeys(good)
    ]


def environment(device: Device) -> dict[str, str]:
    """The variables that make a process see `device` and no other."""
    if device.id.startswith("hip:"):
        return {"HIP_VISIBLE_DEVICES": device.visible}
    hidden = {"HIP_VISIBLE_DEVICES": "-1"}
    return {"CUDA_VISIBLE_DEVICES": device.visible, **hidden}


def cpu_devices(
    cpus: Iterable[int] | None = None, system: Path = Path("/sys")
) -> list[Device]:
    """One device of one thread for each physical core that this process may use.

    Threads that share a core count once; a container's CPU quota limits the number.
    """
    allowed = set(_affinity() if cpus is None else cpus)
    cores = {_siblings(system, cpu) or str(cpu) for cpu in allowed}
    count = max(1, min(len(cores), _quota(system)))
    free, total = _memory_mb()
    name = _cpu_model()
    return [Device(f"cpu:{i}", name, "cpu", free, total) for i in range(count)]


def _affinity() -> Iterable[int]:
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # macOS
        return range(os.cpu_count() or 1)


def _siblings(system: Path, cpu: int) -> str:
    return _text(system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")


def _quota(system: Path) -> int:
    """Whole CPUs that the container's quota grants."""
    words = _text(system / "fs/cgroup/cpu.max").split()
    if len(words) != 2 or not words[0].isdecimal():
        return 10**6
    return int(words[0]) // int(words[1])


def _memory_mb() -> tuple[float, float]:
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * page
    except ValueError:  # macOS does not tell
        free = 0.0
    return free, os.sysconf("SC_PHYS_PAGES") * page


def _cpu_model() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "CPU"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


# ---------------------------------------------------------------------------- leases


class Lease:
    """An exclusive hold of one device; released by `release` or at the end of `with`.

    `fd` is the open lock: a process that inherits it keeps the device leased after we
    have let go. `shared_with` is the pid of another holder of a CPU core, if there is
    one: cores are shared rather than refused.
    """

    def __init__(self, device: Device, fd: int, shared_with: int | None = None) -> None:
        self.device = device
        self.shared_with = shared_with
        self._fd: int | None = fd

    @property
    def fd(self) -> int | None:
        """The lock's file descriptor; None after `release`."""
        return self._fd

    def release(self) -> None:
        """Let go. Closed, not unlocked: a training that still runs keeps its device."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lease(
    device: Device,
    *,
    wait: bool = False,
    on_wait: Callable[[int], str | None] | None = None,
    directory: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Hold `device` against every other session of this user on this host.

    A held GPU is refused, or with `wait` waited for: `on_wait` is called twice a second
    with the holder's pid and ends the waiting by returning a reason. A held CPU core is
    shared at once (`shared_with` says with whom) unless `wait`.

    Raises:
        InfrastructureError: another process holds it, or the lock cannot be made.
    """
    path = _lock_path(device, directory or runtime_directory())
    fd = _open(path)
    try:
        while not _try_lock(fd):
            pid = _holder(fd)
            if not wait and device.kind == "cpu":
                return Lease(device, fd, shared_with=pid)
            reason = on_wait(pid) if wait and on_wait else None
            if reason or not wait:
                raise InfrastructureError(_held(device, pid, path, reason))
            sleep(POLL)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(fd)
        raise
    return Lease(device, fd)


def runtime_directory() -> Path:
    """Where the locks of this user are: AUTORESEARCH_RUNTIME_DIR or one below /tmp.

    Not XDG_RUNTIME_DIR or TMPDIR: a login shell and a service may see different ones,
    and then two sessions would not see each other's locks.

    Raises:
        InfrastructureError: it cannot be made, or belongs to somebody else.
    """
    if chosen := os.environ.get("AUTORESEARCH_RUNTIME_DIR"):
        return _make(Path(chosen), 0o777)
    base = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    path = _make(base / f"autoresearch-{os.getuid()}", 0o700)
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.getuid():
        raise InfrastructureError(
            f"{path} belongs to somebody else, so device locks in it mean nothing. "
            "Remove it or set AUTORESEARCH_RUNTIME_DIR."
        )
    return path


def _make(path: Path, mode: int) -> Path:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_lock(path, error) from None
    return path


def _lock_path(device: Device, directory: Path) -> Path:
    key = device.visible or device.id
    safe = "".join(ch if ch.isalnum() or ch in "-." else "_" for ch in key)
    prefix = "hip-" if device.id.startswith("hip:") else ""
    return directory / f"{prefix}{safe}.lock"


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _no_lock(path, error) from None


def _no_lock(path: Path, error: OSError) -> InfrastructureError:
    return InfrastructureError(
        f"cannot open the device lock {path}: {error.strerror}. Make the directory "
        "writable or set AUTORESEARCH_RUNTIME_DIR."
    )


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise InfrastructureError(f"cannot lock a device: {error.strerror}.") from None
    return True


def _holder(fd: int) -> int:
    """Pid in the lock file; 0 if its holder has not written it yet."""
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _held(device: Device, pid: int, path: Path, reason: str | None) -> str:
    who = f"process {pid} or a training it started" if pid else "another process"
    end = f"Gave up waiting: {reason}." if reason else "Wait for it to end,"
    end += "" if reason else " or choose other devices with --autoresearch-devices."
    return f"{device.id} ({device.name}) is leased by {who} ({path}). {end}"
