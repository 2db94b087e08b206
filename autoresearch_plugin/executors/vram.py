"""GPU memory of a run, as its driver counts it: a candidate's own count is a claim."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from autoresearch_plugin.devices import Device
from autoresearch_plugin.gpus import Gpu, Nvml, NvmlError

PERIOD = 2.0  # seconds between two looks; what torch has reserved it keeps


class Meter:
    """The most memory in use on a leased GPU above what was in use before.

    `peak_mb` is None where no driver tells: on a CPU, and on AMD GPUs.
    """

    def __init__(
        self, device: Device, driver: Nvml, clock: Callable[[], float]
    ) -> None:
        self._uuid = device.visible if device.kind == "cuda" else ""
        self._driver, self._clock = driver, clock
        self.before, self._next = self._used(), clock()
        self.peak_mb: float | None = None if self.before is None else 0.0

    def look(self) -> None:
        """Ask the driver, if the last time was long enough ago."""
        now = self._clock()
        if self.before is None or self.peak_mb is None or now < self._next:
            return
        self._next = now + PERIOD
        used = self._used()
        if used is not None:
            self.peak_mb = max(self.peak_mb, used - self.before)

    def _used(self) -> float | None:
        if not self._uuid:
            return None
        with contextlib.suppress(NvmlError):
            for gpu in self._driver.gpus():
                for one in gpu.usable:
                    if one.uuid == self._uuid:
                        return _used_mb(one)
        return None


def _used_mb(gpu: Gpu) -> float:
    return gpu.total_mb - gpu.free_mb
