"""When report files are written, and what is kept of a report that was told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoresearch_plugin import reporting
from autoresearch_plugin.spent_reports import SpentReports


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
    state: Any = SimpleNamespace(config=SimpleNamespace(option=SimpleNamespace()))
    clock.reports = reporting.ReportingPlugin(state)
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


def reports_of(outcome: str, **words: Any) -> list[pytest.TestReport]:
    """The three reports of a candidate's test."""
    found = []
    for when in ("setup", "call", "teardown"):
        called = when == "call"
        report = pytest.TestReport(
            "test_x.py::test_x",
            ("test_x.py", 0, "test_x"),
            {"test_x": 1},
            outcome if called else "passed",  # type: ignore[arg-type]
            "why" if called else None,
            when,  # type: ignore[arg-type]
            [("Captured stdout call", "a diff")],
            user_properties=[("verdict", "discard")],
        )
        if called:
            vars(report).update(words)
        found.append(report)
    return found


def told(reports: list[pytest.TestReport]) -> list[Any]:
    """What is left in the three when all have been seen: their largest parts."""
    spent = SpentReports(SimpleNamespace(reportchars="wfExa", xfail_tb=False))
    for report in reports:
        spent.take(report)
    return [(r.longrepr, r.sections, r.keywords, r.user_properties) for r in reports]


VERDICT = [("verdict", "discard")]


@pytest.mark.parametrize(
    ("outcome", "words"), [("passed", {}), ("skipped", {"wasxfail": "reason: worse"})]
)
def test_a_report_that_was_told_is_emptied(outcome: str, words: Any) -> None:
    """A session has thousands; the name and the reason of each are shown at the end."""
    reports = reports_of(outcome, **words)
    empty: Any = (None, [], {}, [])
    assert told(reports) == [empty, (None, [], {}, VERDICT), empty]
    assert getattr(reports[1], "wasxfail", None) == words.get("wasxfail")


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_what_the_summary_shows_in_full_stays(outcome: str) -> None:
    """A failure with its log, a skip with its reason."""
    assert all(sections for _, sections, _, _ in told(reports_of(outcome)))


@pytest.mark.parametrize("option", [{"reportchars": "wP"}, {"xfail_tb": True}])
def test_reports_stay_where_they_are_shown_again(option: Any) -> None:
    """-rP or --xfail-tb."""
    spent = SpentReports(SimpleNamespace(**option))
    reports = reports_of("skipped", wasxfail="reason: worse")
    for report in reports:
        spent.take(report)
    assert [report.sections for report in reports] == [reports[0].sections] * 3
    assert reports[1].longrepr == "why"


def test_a_test_that_is_no_candidate_keeps_its_reports() -> None:
    """Other tests of the suite belong to other plugins too."""
    reports = reports_of("passed")
    for report in reports:
        report.user_properties = [("a", "b", "c"), ([], 1), "text"]  # type: ignore[list-item]
    assert all(sections for _, sections, _, _ in told(reports))
