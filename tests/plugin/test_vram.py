"""GPU memory is what the driver says, not what a run says of itself."""

from dataclasses import replace

import pytest

from autoresearch_plugin.devices import Device
from autoresearch_plugin.executors.local import LocalExecutor
from autoresearch_plugin.executors.vram import PERIOD, Meter
from autoresearch_plugin.gpus import Gpu, NvmlError
from tests.plugin.toy_trials import CPU, TOY, spec_for

GPU = Device("cuda:1", "a GPU", "cuda", visible="GPU-1")


class Driver:
    """Says of GPU-1 one amount of used memory after the other, the last one for ever;
    None: it does not answer."""

    def __init__(self, *used):
        self.used, self.asked = list(used), 0

    def gpus(self):
        """GPU-0 is full; GPU-1 is ours."""
        self.asked += 1
        now = self.used.pop(0) if len(self.used) > 1 else self.used[0]
        if now is None:
            raise NvmlError("the NVIDIA driver does not answer")
        return [
            Gpu("0", "GPU-0", "a GPU", 0.0, 80_000.0),
            Gpu("1", "GPU-1", "a GPU", 80_000.0 - now, 80_000.0),
        ]


class Clock:
    """Time that goes on when told."""

    now = 0.0

    def __call__(self):
        return self.now


def metered(driver, looks, device=GPU):
    clock = Clock()
    meter = Meter(device, driver, clock)
    for _ in range(looks):
        meter.look()
        clock.now += PERIOD
    return meter.peak_mb


def test_the_peak_is_above_what_was_in_use_before():
    """Memory that somebody else holds is not the run's."""
    assert metered(Driver(500.0, 700.0, 2500.0, 900.0), 3) == 2000.0


def test_a_driver_that_falls_silent_leaves_what_was_seen():
    """One look that fails is a look less."""
    assert metered(Driver(0.0, 100.0, None), 4) == 100.0


@pytest.mark.parametrize(
    ("driver", "device"), [(Driver(None), GPU), (Driver(7.0), CPU)]
)
def test_nothing_is_measured_where_no_driver_tells(driver, device):
    """A CPU, a machine without a driver: None, and nobody is asked again."""
    assert metered(driver, 3, device) is None
    assert driver.asked <= 1


def test_the_driver_is_asked_seldom():
    """Ten looks within a period are one question."""
    driver = Driver(0.0, 10.0)
    meter = Meter(GPU, driver, Clock())
    for _ in range(10):
        meter.look()
    assert driver.asked == 2


@pytest.mark.parametrize(
    ("driver", "peak"), [(Driver(0.0, 4321.0), 4321.0), (None, None)]
)
def test_a_run_cannot_name_its_own_memory(driver, peak, tmp_path):
    """The summary's figure is replaced by the driver's where there is one."""
    spec = spec_for(tmp_path / "scratch", device="cuda")
    executor = LocalExecutor(f"{{python}} {TOY}", tmp_path, driver=driver)
    device = GPU if driver else replace(GPU, kind="cpu")
    result = executor.run(spec, device)
    assert result.ok
    assert result.summary.get("peak_vram_mb") == peak
