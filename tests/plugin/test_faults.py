"""Faults from outside while a session runs: no idea is blamed and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin.executors import suspension
from autoresearch_plugin.executors.suspension import GAP, LOOK, Suspension

SLOW = {"STEP_COST": 120.0, "LR": 0.8}  # a run of two seconds and more; a harm


class Clock:
    """Time that goes on when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


# ------------------------------------------------------------------------ suspension


def test_a_machine_that_slept_is_noticed() -> None:
    """By the clock that goes on while it sleeps."""
    slept = Clock()
    suspended = Suspension(Clock(), slept)
    assert suspended.seen(0.0, None) is None
    slept.now = 31.0
    assert suspended.seen(0.0, None) == "the machine slept for 31 s"


def test_a_pytest_that_was_stopped_notices_it() -> None:
    """A short wait that took long; a busy machine makes no such gaps."""
    suspended = Suspension(Clock(), lambda: 0.0)
    assert suspended.seen(GAP - 0.1, None) is None
    assert suspended.seen(30.0, None) == "pytest was stopped for 30 s"


def test_a_command_that_is_stopped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second look: a stop that is over at once has done no harm."""
    clock, states = Clock(), iter([True, False, True, True])
    monkeypatch.setattr(suspension, "is_stopped", lambda pid: next(states))
    suspended = Suspension(clock, lambda: 0.0)
    said = []
    for _ in range(4):
        said += [suspended.seen(0.0, 1), suspended.seen(0.0, 1)]
        clock.now += LOOK
    assert said == [*([None] * 6), "its process was stopped (SIGSTOP)", None]


# --------------------------------------------------------- in the middle of a session


class Broken:
    """A session in whose slow candidate's first run something breaks in."""

    def __init__(self, project: Any) -> None:
        self.project = project
        project.commit()
        words = project.script(slow=SLOW)
        self.process = project.start("--autoresearch", words, "-pno:xdist")
        self.out = ""

    def command(self) -> int:
        """The process that the runner of the slow candidate's run has started."""
        path = self.project.path / ".autoresearch" / "ledger.db"
        self.project.until(lambda: path.exists() and path.stat().st_size > 0)
        self.project.until(self._is_running)
        found: list[int] = []

        def look() -> list[int]:
            for pid, line in self.project.alive().items():
                if "runner.py" in line:
                    children = Path(f"/proc/{pid}/task/{pid}/children")
                    with contextlib.suppress(OSError):
                        found.extend(map(int, children.read_text().split()))
            return found

        self.project.until(look)
        return found[0]

    def _is_running(self) -> bool:
        row = self.project.ledger()._one(
            "SELECT count(*) AS n FROM trials JOIN candidates c ON c.id=candidate "
            "WHERE trials.state='running' AND c.title='slow'"
        )
        return bool(row and row["n"])

    def end(self) -> None:
        """Wait for its end."""
        self.out, _ = self.process.communicate(timeout=90)


@pytest.fixture
def broken(project: Any) -> Iterator[Broken]:
    """A session that has begun."""
    project.configure("--noise 0.0005 --no-evaluate")
    session = Broken(project)
    yield session
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session.process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(signal.SIGSTOP, "suspended"), (signal.SIGKILL, "killed")],
)
def test_a_run_that_something_broke_in_on_is_repeated_once(
    broken: Broken, number: int, outcome: str
) -> None:
    """It does not count, and the candidate has its verdict all the same."""
    os.kill(broken.command(), number)
    broken.end()

    assert broken.process.returncode == 0, broken.out
    assert "not counted, trying once more" in broken.out
    ledger = broken.project.ledger()
    rows = ledger.candidate_trials(ledger.candidates()[0]["id"])
    assert [row["outcome"] for row in rows] == [outcome, "ok"]
    assert {row["seed_index"] for row in rows} == {0}
    assert broken.project.states() == {"slow": "discard"}
