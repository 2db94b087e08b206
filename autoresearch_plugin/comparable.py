"""Which runs of a baseline a candidate meets: those of devices as fast as its own.

Budgets in steps do not care (see `tempo.py`), nor does a lone device: all runs count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoresearch_plugin import tempo

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.measuring import Measuring


class Devices:
    """Which devices of a session are equally fast, as the ledger knows it now."""

    def __init__(self, measuring: Measuring) -> None:
        self.own = measuring.device.id
        self.counts: list[tempo.Count] | None = None
        if measuring.budget.unit == "seconds":
            rows = measuring.ledger.baseline_steps(measuring.fingerprint)
            self.counts = [tempo.Count(**row) for row in rows]
        self._equals: dict[str, frozenset[str]] = {}

    def equals(self, device: str) -> frozenset[str]:
        """The devices whose runs can be compared with those of `device`."""
        if device not in self._equals:
            self._equals[device] = tempo.equals(self.counts or (), device)
        return self._equals[device]

    def are_equal(self, one: str, other: str) -> bool:
        """Whether runs on the two can be compared."""
        return self.counts is None or other in self.equals(one)

    def group(self, device: str) -> str:
        """A name for all devices that are compared with the same runs."""
        if self.counts is None or self.equals(device) == self.equals(self.own):
            return ""
        return " ".join(sorted(self.equals(device)))

    @property
    def share(self) -> float:
        """Of the devices in use, how many are as fast as this lane's."""
        known = {count.device for count in self.counts or ()} | {self.own}
        return len(known & self.equals(self.own)) / len(known)

    @property
    def words(self) -> str | None:
        """What there is to say of this lane's device; None if it is like the others."""
        return tempo.words(self.counts or (), self.own)


def head_runs(
    measuring: Measuring, head: Head, devices: Devices | None = None
) -> list[Row]:
    """Good runs of a baseline that this lane may compare with; there may be none."""
    devices = devices or Devices(measuring)
    rows = measuring.ledger.head_trials(head.id)
    return [row for row in rows if devices.are_equal(devices.own, row["device"])]


def met_by(
    measuring: Measuring, head: Head, devices: Devices, device: str
) -> list[Row]:
    """What a run on `device` is compared with. All runs of the baseline, if it has none
    on such a device yet: that was not known when the candidate began."""
    rows = measuring.ledger.head_trials(head.id)
    return [row for row in rows if devices.are_equal(device, row["device"])] or rows


def running(measuring: Measuring, head: Head, devices: Devices) -> int:
    """Runs of a baseline under way, on devices that this lane may compare with."""
    under_way = measuring.ledger.running_head_trials(head.id)
    return sum(devices.are_equal(devices.own, device) for device in under_way)


def claim_head_run(measuring: Measuring, head: Head, wanted: int) -> Row | None:
    """A run that the baseline still lacks to have `wanted` of them for this lane."""
    ledger, devices = measuring.ledger, Devices(measuring)
    known = [row["device"] for row in ledger.head_trials(head.id)]
    known += ledger.running_head_trials(head.id)
    elsewhere = sum(not devices.are_equal(devices.own, device) for device in known)
    return ledger.claim_head_trial(
        measuring.session, head.id, wanted + elsewhere, devices.own
    )
