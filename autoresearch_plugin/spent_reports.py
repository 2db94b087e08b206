"""pytest keeps every report to its end; thousands of candidates would fill the memory.

What their reports hold was written to JUnit and to the terminal when they came. The
closing summary needs the outcome, the name and the reason of an expected failure, and
the rest only where somebody asks to see it again (`-rP`, `-rX`, `-rA`, `--xfail-tb`).
"""

from __future__ import annotations

from typing import Any

import pytest

SHOWN_AGAIN = frozenset("PXA")  # letters of -r


class SpentReports:
    """Takes what is not needed any more out of the reports of decided candidates."""

    def __init__(self, option: object) -> None:
        letters = set(getattr(option, "reportchars", "") or "")
        self._off = bool(letters & SHOWN_AGAIN or getattr(option, "xfail_tb", False))
        self._open: dict[str, list[pytest.TestReport]] = {}

    def take(self, report: pytest.TestReport) -> None:
        """Note a report that everybody has seen; empty a test's after its teardown."""
        mine = self._open.setdefault(report.nodeid, [])
        mine.append(report)
        if report.when != "teardown":
            return
        del self._open[report.nodeid]
        if not self._off and any(map(_is_decided, mine)) and not any(map(_fails, mine)):
            for one in mine:
                _empty(one)


def _is_decided(report: pytest.TestReport) -> bool:
    return report.when == "call" and verdict_of(report) is not None


def verdict_of(report: pytest.TestReport) -> Any:
    """What became of a candidate; None for other tests, whose properties may be
    anything."""
    for one in getattr(report, "user_properties", ()):
        if isinstance(one, tuple | list) and len(one) == 2 and one[0] == "verdict":
            return one[1]
    return None


def _fails(report: pytest.TestReport) -> bool:
    """Whether the summary shows all of it."""
    return report.failed or (report.skipped and not hasattr(report, "wasxfail"))


def _empty(report: pytest.TestReport) -> None:
    report.sections = []
    report.keywords = {}
    report.longrepr = None
    if report.when != "call":  # there they tell how the outcome is called
        report.user_properties = []
