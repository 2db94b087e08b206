"""NVIDIA GPUs: what the driver lists, and which of them this process may use.

The driver library (nvidia-ml-py) stands behind `Nvml`, a protocol of one method. It
numbers GPUs by PCI bus, as nvidia-smi does. CUDA numbers the fastest first unless
CUDA_DEVICE_ORDER=PCI_BUS_ID; on machines with GPUs of one model the two agree.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from autoresearch_plugin.errors import SettingsError


class NvmlError(Exception):
    """The driver or its library is not there or does not answer."""


@dataclass(frozen=True)
class Gpu:
    """One GPU or one MIG instance, as the driver describes it.

    `label` is its number, for an instance `5.1`; `slices` are a GPU's instances.
    """

    label: str
    uuid: str
    name: str
    free_mb: float
    total_mb: float
    slices: tuple[Gpu, ...] = field(default=())

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """What a process can be given: a GPU cut into instances is only these."""
        return self.slices or (self,)


class Nvml(Protocol):
    """The driver."""

    def gpus(self) -> Sequence[Gpu]:
        """All GPUs in PCI order.

        Raises:
            NvmlError: there is no driver or it does not answer.
        """


# ------------------------------------------------------------------------- visibility


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES leaves of `gpus`, in its order, as CUDA reads it.

    Unset: all. Empty: none. The list ends at its first invalid entry, entries of the
    other sort (numbers, UUIDs) included; a repeated device leaves none at all. UUIDs
    may be shortened while they stay unique.

    Raises:
        SettingsError: numbers that mean different GPUs to CUDA and to nvidia-smi.
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return [slice for gpu in gpus for slice in gpu.usable]
    words = [word.strip() for word in text.split(",")]
    by_number = not words[0].startswith(("GPU-", "MIG-"))
    if by_number and text.strip():
        _check_order(gpus, environ, text)
    found: list[Gpu] = []
    for word in words:
        chosen = _by_number(gpus, word) if by_number else _by_uuid(gpus, word, words[0])
        if not chosen:
            break
        if chosen[0] in found:
            return []
        found += chosen
    return found


def _by_number(gpus: Sequence[Gpu], word: str) -> tuple[Gpu, ...]:
    number = re.match(r"\+?(\d+)", word)
    if not number or int(number[1]) >= len(gpus):
        return ()
    return gpus[int(number[1])].usable


def _by_uuid(gpus: Sequence[Gpu], word: str, first: str) -> tuple[Gpu, ...]:
    sort = first[:4]
    if sort == "GPU-":
        found = [gpu for gpu in gpus if word and gpu.uuid.startswith(word)]
    else:
        all_slices = [slice for gpu in gpus for slice in gpu.slices]
        found = [slice for slice in all_slices if word and slice.uuid.startswith(word)]
    if not word.startswith(sort) or len(found) != 1:
        return ()
    return found[0].usable


def _check_order(gpus: Sequence[Gpu], environ: Mapping[str, str], text: str) -> None:
    mixed = len({gpu.name for gpu in gpus}) > 1
    if mixed and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise SettingsError(
            f"CUDA_VISIBLE_DEVICES={text} is ambiguous on a machine with GPUs of "
            "different models: CUDA counts the fastest first, nvidia-smi does not. Set "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID as well, or name the GPUs by UUID "
            "(nvidia-smi -L)."
        )


# --------------------------------------------------------------------------- the driver


class NvidiaDriver:
    """The real driver, through nvidia-ml-py."""

    def gpus(self) -> list[Gpu]:
        """All GPUs in PCI order; raises NvmlError."""
        with _library() as nvml:
            count = nvml.nvmlDeviceGetCount()
            return [self._gpu(nvml, number) for number in range(count)]

    def _gpu(self, nvml: Any, number: int) -> Gpu:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        slices = tuple(self._slices(nvml, handle, number))
        return _describe(nvml, handle, str(number), slices)

    def _slices(self, nvml: Any, handle: Any, number: int) -> Iterator[Gpu]:
        try:
            if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
                return
            count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
        except nvml.NVMLError:  # a GPU that cannot be cut
            return
        for i in range(count):
            with contextlib.suppress(nvml.NVMLError):  # places may be empty
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i)
                yield _describe(nvml, part, f"{number}.{i}")


def _describe(nvml: Any, handle: Any, label: str, slices: tuple[Gpu, ...] = ()) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
    return Gpu(label, uuid, name, memory.free / 2**20, memory.total / 2**20, slices)


@contextlib.contextmanager
def _library() -> Iterator[Any]:
    try:
        import pynvml as nvml
    except ImportError:
        raise NvmlError("nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlError(f"no NVIDIA driver: {error}") from None
    try:
        yield nvml
    except nvml.NVMLError as error:
        raise NvmlError(f"the NVIDIA driver does not answer: {error}") from None
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
