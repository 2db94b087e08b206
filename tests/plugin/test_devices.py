"""Which devices trials may use, and who holds them."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.devices import (
    Device,
    cpu_devices,
    discover,
    environment,
    lease,
    runtime_directory,
)
from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.gpus import Gpu, NvidiaDriver, NvmlError, visible


class Driver:
    """A driver with the GPUs it is given."""

    def __init__(self, *gpus):
        self._gpus = gpus

    def gpus(self):
        return self._gpus


class NoDriver:
    """A machine without NVIDIA hardware."""

    def gpus(self):
        raise NvmlError("no NVIDIA driver: library not found")


def gpu(number, name="NVIDIA H100", slices=()):
    return Gpu(str(number), f"GPU-{number}{number}aa-bb", name, 80_000, 81_000, slices)


EIGHT = tuple(gpu(number) for number in range(8))
SLICES = tuple(Gpu(f"1.{i}", f"MIG-{i}c", "H100 MIG 3g", 39e3, 4e4) for i in range(2))
CUT = (gpu(0), gpu(1, slices=SLICES), gpu(2))
CPU0 = Device("cpu:0", "a core", "cpu")
GPU5 = Device("cuda:5", "NVIDIA H100", "cuda", visible="GPU-55aa-bb")


def labels(gpus, text):
    return [g.label for g in visible(gpus, {"CUDA_VISIBLE_DEVICES": text})]


def ids(environ, setting="auto", nvml=None):
    return [device.id for device in discover(environ, setting, nvml or Driver(*EIGHT))]


# ------------------------------------------------------------------------ visibility


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5,7", ["5", "7"]),
        ("7,5", ["7", "5"]),
        (" 2 , 3", ["2", "3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,99,2", ["1"]),
        ("0,-1,1", ["0"]),
        ("3,x,4", ["3"]),
        ("1,1", []),
        ("1,2,1", []),
        ("GPU-55aa-bb,GPU-00aa-bb", ["5", "0"]),
        ("GPU-5", ["5"]),
        ("GPU-", []),
        ("GPU-5,GPU-nothere,GPU-6", ["5"]),
        ("GPU-55aa-bb,GPU-5", []),
        ("GPU-5,6", ["5"]),
        ("5,GPU-6", ["5"]),
        ("MIG-0c", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(text, expected):
    """Order counts, the first invalid entry ends the list, a repeated one empties."""
    assert labels(EIGHT, text) == expected


def test_all_gpus_are_visible_without_the_variable():
    """Unset is not the same as empty."""
    assert visible(EIGHT, {}) == list(EIGHT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ["1.0", "1.1"]),
        ("0,1", ["0", "1.0", "1.1"]),
        ("GPU-1", ["1.0", "1.1"]),
        ("MIG-1c,MIG-0c", ["1.1", "1.0"]),
        ("MIG-1", ["1.1"]),
        ("MIG-9", []),
    ],
)
def test_a_cut_gpu_is_its_instances(text, expected):
    """A GPU in MIG mode cannot be used whole."""
    assert labels(CUT, text) == expected


@given(st.lists(st.integers(0, 7), unique=True), st.text("x-_", min_size=1))
def test_what_follows_an_invalid_entry_does_not_matter(numbers, invalid):
    """The devices before it are there, in their order, and no others."""
    words = [str(number) for number in numbers]
    assert labels(EIGHT, ",".join([*words, invalid, "0", "1"])) == words


def test_numbers_are_refused_where_cuda_and_nvidia_smi_disagree():
    """On mixed GPUs CUDA counts the fastest first unless told otherwise."""
    mixed = (gpu(0, "NVIDIA T4"), gpu(1))
    with pytest.raises(SettingsError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        labels(mixed, "1")
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}
    assert [g.label for g in visible(mixed, order)] == ["1"]
    assert labels(mixed, "GPU-1") == ["1"]
    assert labels(mixed, "") == []


# ------------------------------------------------------------------------- discovery


def test_auto_takes_every_visible_gpu():
    """Each by its UUID, with its model and memory."""
    found = discover({"CUDA_VISIBLE_DEVICES": "5,7"}, nvml=Driver(*EIGHT))
    assert [device.id for device in found] == ["cuda:5", "cuda:7"]
    assert replace(found[0], threads=1) == Device(
        "cuda:5", "NVIDIA H100", "cuda", 80_000, 81_000, "GPU-55aa-bb"
    )


def test_gpus_share_the_cores_evenly():
    """Whether we may use the other GPUs or not, somebody may."""
    cores = len(cpu_devices())
    alone = discover({}, nvml=Driver(gpu(0)))[0]
    crowded = discover({"CUDA_VISIBLE_DEVICES": "0"}, nvml=Driver(*EIGHT))[0]
    assert (alone.threads, crowded.threads) == (cores, max(1, cores // 8))


@pytest.mark.parametrize("variables", [{}, {"CUDA_VISIBLE_DEVICES": "0"}])
def test_auto_falls_back_to_the_cpu_without_a_driver(variables):
    """No library, no driver, no GPU: not an error."""
    found = discover(variables, nvml=NoDriver())
    cores = [(device.id, device.kind) for device in cpu_devices()]
    assert [(device.id, device.kind) for device in found] == cores


def test_hidden_gpus_stay_hidden():
    """An empty CUDA_VISIBLE_DEVICES means the CPU."""
    assert discover({"CUDA_VISIBLE_DEVICES": ""}, nvml=Driver(*EIGHT))[0].kind == "cpu"


def test_the_setting_cpu_asks_no_driver():
    """`cpu` works beside GPUs that others use."""
    assert {device.kind for device in discover({}, "cpu", Driver(*EIGHT))} == {"cpu"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("5", ["cuda:5"]),
        ("7, 5", ["cuda:7", "cuda:5"]),
        ("cuda:5", ["cuda:5"]),
        ("GPU-77aa-bb", ["cuda:7"]),
        ("cpu:0", ["cpu:0"]),
        ("5,cpu:0", ["cuda:5", "cpu:0"]),
    ],
)
def test_a_list_names_devices_as_nvidia_smi_does(setting, expected):
    """Numbers, UUIDs and cores; the order is kept."""
    assert ids({"CUDA_VISIBLE_DEVICES": "5,7"}, setting) == expected


def test_a_cut_gpu_is_named_by_its_number_or_by_instance():
    """`1` means all its instances, `1.1` the second one."""
    assert ids({}, "1", Driver(*CUT)) == ["cuda:1.0", "cuda:1.1"]
    assert ids({}, "1.1", Driver(*CUT)) == ["cuda:1.1"]


@pytest.mark.parametrize("setting", ["0", "cpu:99", "GPU-", "tpu", "", "5,", "auto,5"])
def test_a_device_that_is_not_visible_is_refused(setting):
    """The message shows the word and what could be said instead."""
    with pytest.raises(SettingsError, match=r"no device .* Visible here: ") as caught:
        ids({"CUDA_VISIBLE_DEVICES": "5,7"}, setting)
    assert repr(setting.split(",")[-1 if setting == "5," else 0]) in str(caught.value)


def test_a_named_gpu_without_a_driver_says_why():
    """The driver's own words are in the message."""
    with pytest.raises(SettingsError, match="library not found"):
        discover({}, "0", NoDriver())


@pytest.mark.parametrize("setting", ["5,5", "5,GPU-5", "cpu:0,cpu:0"])
def test_a_device_is_named_once(setting):
    """Also when it is called by two names."""
    with pytest.raises(SettingsError, match="more than once"):
        ids({}, setting)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,2", ["hip:0", "hip:2"]), ("", None), ("-1", None), ("3,3", ["hip:3"])],
)
def test_amd_gpus_are_what_hip_visible_devices_says(text, expected):
    """They are taken at their word, and only where no NVIDIA driver answers."""
    found = ids({"HIP_VISIBLE_DEVICES": text}, nvml=NoDriver())
    assert found == (expected or [device.id for device in cpu_devices()])
    assert ids({"HIP_VISIBLE_DEVICES": text})[0] == "cuda:0"


def test_a_process_sees_its_device_alone():
    """The variables of each kind; a CPU trial sees no GPU at all."""
    amd = Device("hip:2", "AMD GPU", "cuda", visible="2")
    assert environment(GPU5)["CUDA_VISIBLE_DEVICES"] == "GPU-55aa-bb"
    assert environment(CPU0) == {
        "CUDA_VISIBLE_DEVICES": "",
        "HIP_VISIBLE_DEVICES": "-1",
    }
    assert environment(amd) == {"HIP_VISIBLE_DEVICES": "2"}


# --------------------------------------------------------------------------- CPU cores


def system(tmp_path, siblings, quota=""):
    for cpu, text in enumerate(siblings):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text(quota)
    return tmp_path


@pytest.mark.parametrize(
    ("cpus", "quota", "count"),
    [
        ([0, 1, 2, 3], "max 100000", 2),
        ([0, 2], "max 100000", 1),
        ([1, 2], "", 2),
        ([0, 1, 2, 3], "100000 100000", 1),
        ([0, 1, 2, 3], "50000 100000", 1),
        ([0, 1, 2, 3], "900000 100000", 2),
    ],
)
def test_threads_of_a_core_count_once_and_quotas_count(tmp_path, cpus, quota, count):
    """Two cores of two threads, seen through an affinity and a container's quota."""
    fake = system(tmp_path, ["0,2", "1,3", "0,2", "1,3"], quota)
    found = cpu_devices(cpus, fake)
    assert [device.id for device in found] == [f"cpu:{i}" for i in range(count)]
    assert {device.threads for device in found} == {1}


def test_cores_are_counted_where_the_kernel_does_not_describe_them(tmp_path):
    """Without topology files each CPU is a core."""
    assert len(cpu_devices([0, 1, 5], tmp_path)) == 3


# ------------------------------------------------------------------------- the driver


def fake_library(cut=()):
    """nvidia-ml-py with two GPUs, as far as we use it; `cut` ones are in MIG mode."""

    class NVMLError(Exception):
        pass

    def mig_handle(handle, i):
        if i > 1:
            raise NVMLError("empty place")
        return f"{handle}.{i}"

    def mode(handle):
        if handle == "gpu1" and handle not in cut:
            raise NVMLError("not supported")
        return (int(handle in cut), 0)

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex="gpu{}".format,
        nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=mig_handle,
        nvmlDeviceGetMemoryInfo=lambda h: SimpleNamespace(free=2**20, total=2**21),
        nvmlDeviceGetName=lambda handle: "H100",
        nvmlDeviceGetUUID=lambda handle: f"uuid of {handle}",
    )


def test_the_driver_is_read_with_its_instances(monkeypatch):
    """GPUs in order, a cut one with its instances, empty places left out."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_library(cut=("gpu0",)))
    first, second = NvidiaDriver().gpus()
    assert [part.label for part in first.slices] == ["0.0", "0.1"]
    assert first.slices[1].uuid == "uuid of gpu0.1"
    assert second == Gpu("1", "uuid of gpu1", "H100", 1.0, 2.0)


def test_a_driver_that_fails_is_one_kind_of_error(monkeypatch):
    """Absent library, absent driver, a driver that stops answering."""
    library = fake_library()

    def fail():
        raise library.NVMLError("gone")

    monkeypatch.setitem(sys.modules, "pynvml", library)
    for function in ("nvmlDeviceGetCount", "nvmlInit"):
        monkeypatch.setattr(library, function, fail)
        with pytest.raises(NvmlError, match="gone"):
            NvidiaDriver().gpus()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError, match="not installed"):
        NvidiaDriver().gpus()


def test_the_real_library_answers_or_says_why_not():
    """Whatever this machine is, there is a list or an NvmlError."""
    words = ""
    try:
        words = " ".join(gpu.uuid for gpu in NvidiaDriver().gpus())
    except NvmlError as error:
        words = str(error)
    assert "GPU-" in words or "NVIDIA" in words


# ----------------------------------------------------------------------------- leases


def test_a_leased_gpu_is_refused_to_the_next(tmp_path):
    """The error names the device, the pid and the way out; release frees it."""
    held = lease(GPU5, directory=tmp_path)
    with pytest.raises(InfrastructureError, match="--autoresearch-devices") as caught:
        lease(GPU5, directory=tmp_path)
    assert f"cuda:5 (NVIDIA H100) is leased by process {os.getpid()}" in str(
        caught.value
    )
    held.release()
    held.release()
    with lease(GPU5, directory=tmp_path) as again:
        assert again.device is GPU5
    assert again.fd is None


def test_devices_are_leased_one_by_one(tmp_path):
    """Another GPU, or an AMD GPU with the same number, is free."""
    others = [
        Device("cuda:6", "H100", "cuda", visible="5"),
        Device("hip:5", "AMD", "cuda", visible="5"),
        CPU0,
    ]
    held = [lease(device, directory=tmp_path) for device in (GPU5, *others)]
    assert [one.shared_with for one in held] == [None] * 4
    for one in held:
        one.release()


def test_a_gpu_can_be_waited_for(tmp_path):
    """The callback hears who holds it; the lease comes when that one lets go."""
    held = lease(GPU5, directory=tmp_path)
    heard = []
    with lease(
        GPU5,
        wait=True,
        on_wait=heard.append,
        directory=tmp_path,
        sleep=lambda seconds: held.release(),
    ) as mine:
        assert mine.fd is not None
    assert heard == [os.getpid()]


def test_waiting_ends_when_the_callback_says_so(tmp_path):
    """Its reason is in the error."""
    with (
        lease(GPU5, directory=tmp_path),
        pytest.raises(InfrastructureError, match="Gave up waiting: the session ends"),
    ):
        lease(
            GPU5,
            wait=True,
            on_wait=lambda pid: "the session ends",
            directory=tmp_path,
        )


def test_a_held_core_is_shared_but_not_silently(tmp_path):
    """Two plain runs may use one core; the second knows. With `wait` it waits."""
    first = lease(CPU0, directory=tmp_path)
    with lease(CPU0, directory=tmp_path) as second:
        assert second.shared_with == os.getpid()
    with lease(
        CPU0, wait=True, directory=tmp_path, sleep=lambda seconds: first.release()
    ) as third:
        assert third.shared_with is None


def sleeper(lock):
    """A process that has inherited a lock."""
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    process = subprocess.Popen(command, pass_fds=[lock.fd], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_device_stays_leased_while_its_training_lives(tmp_path):
    """Letting go of the lease, or dying, does not free a GPU that is in use."""
    mine = lease(GPU5, directory=tmp_path)
    with sleeper(mine) as process:
        mine.release()
        with pytest.raises(InfrastructureError, match="or a training it started"):
            lease(GPU5, directory=tmp_path)
        process.send_signal(signal.SIGKILL)
    lease(GPU5, directory=tmp_path).release()


def test_a_lock_that_cannot_be_made_says_how_to_go_on(tmp_path):
    """A link in place of the lock file is not followed."""
    (tmp_path / "GPU-55aa-bb.lock").symlink_to("/etc/hostname")
    with pytest.raises(InfrastructureError, match="AUTORESEARCH_RUNTIME_DIR"):
        lease(GPU5, directory=tmp_path)


def test_locks_lie_where_every_session_of_the_user_looks(tmp_path, monkeypatch):
    """One directory per user, whatever TMPDIR says; another one on request."""
    monkeypatch.delenv("AUTORESEARCH_RUNTIME_DIR", raising=False)
    usual = runtime_directory()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert runtime_directory() == usual
    assert usual.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("AUTORESEARCH_RUNTIME_DIR", str(tmp_path / "locks"))
    assert runtime_directory() == Path(tmp_path / "locks")


@pytest.mark.parametrize("chosen", ["file", "file/below"])
def test_a_directory_for_locks_that_cannot_be_made_says_how_to_go_on(
    tmp_path, monkeypatch, chosen
):
    """A file where it should be, or above it; the message of a lock in the way."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUTORESEARCH_RUNTIME_DIR", str(tmp_path / chosen))
    with pytest.raises(InfrastructureError, match="AUTORESEARCH_RUNTIME_DIR") as caught:
        lease(CPU0)
    assert f"cannot open the device lock {tmp_path / chosen}: " in str(caught.value)
