"""Whether a run was suspended: with the machine, with us, or by itself.

Its clock stood still or ran on without it, so what it measured says nothing. Only the
command is looked at, which is fixed code; a candidate in its sandbox that stops itself
wins nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GAP = 5.0  # seconds that a wait of a tenth of a second may take on a busy machine
SLEPT = 1.0  # seconds of the machine's own sleep
LOOK = 0.5  # seconds between two looks at the command


class Suspension:
    """Asked again and again while a child runs."""

    def __init__(
        self, clock: Callable[[], float], slept: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        self._slept = slept or machine_slept
        self._before = self._slept()
        self._next_look = clock()
        self._stopped_since: float | None = None

    def seen(self, late: float, runner: int | None) -> str | None:
        """What happened, in words; None if nothing did.

        `late` is how much longer than asked our own longest wait took; `runner` the
        process whose child the command is.
        """
        slept = self._slept() - self._before
        if slept > SLEPT:
            return f"the machine slept for {slept:.0f} s"
        if late > GAP:
            return f"pytest was stopped for {late:.0f} s"
        now = self._clock()
        if runner is None or now < self._next_look:
            return None
        self._next_look = now + LOOK
        if not is_stopped(runner):
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        else:
            return "its process was stopped (SIGSTOP)"
        return None


def machine_slept() -> float:
    """Seconds that the machine has slept since its boot; 0.0 where it does not tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(
        time.CLOCK_MONOTONIC
    )


def is_stopped(parent: int) -> bool:
    """Whether a child of `parent` is stopped; False where /proc does not tell."""
    with suppress(OSError):
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            stat = Path(f"/proc/{pid}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] == "T":
                return True
    return False
