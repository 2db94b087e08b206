"""When report files are written: at once, unless there is too much to write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoresearch_plugin import reporting


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A writer on a clock of its own; writing takes `cost` seconds."""
    clock = SimpleNamespace(now=0.0, cost=0.0, times=[])

    def write(state: object) -> None:
        clock.times.append(clock.now)
        clock.now += clock.cost

    fake_time = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(reporting, "time", fake_time)
    monkeypatch.setattr(reporting, "write_files", write)
    monkeypatch.setattr(reporting, "choose_junit", lambda state: None)
    clock.reports = reporting.ReportingPlugin(SimpleNamespace())  # type: ignore[arg-type]
    return clock


def test_a_short_report_is_written_after_every_test(written: Any) -> None:
    """Whoever watches sees each result at once."""
    written.cost = 0.01
    for _ in range(5):
        written.reports._write()
    assert len(written.times) == 5


def test_a_long_report_is_not_written_after_every_test(written: Any) -> None:
    """Half a second for thousands of candidates: every ten seconds is enough."""
    written.cost = 0.5
    for second in range(60):
        written.now = max(written.now, float(second))
        written.reports._write()
    assert 5 <= len(written.times) <= 7


def test_the_last_report_does_not_wait(written: Any) -> None:
    """What is there at the end is complete."""
    written.cost = 0.5
    written.reports._write()
    written.reports._write(at_last=True)
    assert len(written.times) == 2
