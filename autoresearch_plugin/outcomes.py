"""From a judgement to a pytest report: the one place where outcomes are mapped.

| what happened                                  | report                  |
|------------------------------------------------|-------------------------|
| keep                                           | passed, letter K        |
| generated (or strict=False): not kept          | expected failure, d     |
| hand-written: the same                         | failed, one line        |
| in the baseline, or decided before             | skipped with the reason |
| the session ends                               | skipped, aborted        |
| anything else                                  | failed                  |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin.errors import (
    AutoresearchError,
    NoTrialError,
    SessionStopping,
    TrialFailed,
)
from autoresearch_plugin.fixtures import Claim
from autoresearch_plugin.quoting import barred, visible

if TYPE_CHECKING:
    from autoresearch_plugin.loop import Research

CLAIM = pytest.StashKey[Claim]()


def map_report(
    item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport
) -> None:
    """Rewrite `report` in place for a candidate; leave other tests alone."""
    claim = item.stash.get(CLAIM, None)
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, SessionStopping):
        _skip(item, report, f"aborted, {error}")
    elif isinstance(error, AutoresearchError | pytest.UsageError):
        report.longrepr = str(error) + _where(report)
    if claim is None or report.when != "call":
        return
    if report.skipped and not hasattr(report, "wasxfail"):
        if claim.judgement is not None and str(error) == claim.judgement.reason:
            _skip(item, report, claim.judgement.reason)  # at the test's line, not ours
        return
    if claim.judgement is None:
        _without_judgement(report, error, claim)
    elif report.failed and isinstance(error, AssertionError | TrialFailed):
        _not_kept(item, report, claim)
    elif report.passed and claim.judgement.state not in ("keep", "before"):
        _passed_though_not_kept(item, report, claim)
    for text in _account(claim):
        report.sections.append(("Captured stdout call", text))
        item.add_report_section("call", "stdout", text)  # JUnit reads it at teardown


def _without_judgement(
    report: pytest.TestReport, error: BaseException | None, claim: Claim
) -> None:
    if error is None:
        report.outcome = "failed"
        report.longrepr = str(
            NoTrialError(
                "this candidate never ran: it takes gpu_budget but does not call "
                "gpu_budget.run(train_module), so nothing was measured."
            )
        )


def _not_kept(item: pytest.Item, report: pytest.TestReport, claim: Claim) -> None:
    assert claim.judgement is not None
    verdict = claim.judgement.verdict
    reason = claim.judgement.reason
    if verdict is not None and verdict.proven_lower:
        return  # proven better, but the test asserts more than that: its own failure
    if claim.strict or getattr(item.config.option, "runxfail", False):
        report.longrepr = reason + _where(report)
        return
    word = "crashed" if claim.judgement.state == "crash" else "discarded"
    report.outcome = "skipped"
    report.wasxfail = f"{word}: {reason.splitlines()[0].removeprefix('discard: ')}"


def _passed_though_not_kept(
    item: pytest.Item, report: pytest.TestReport, claim: Claim
) -> None:
    """A forgotten or a reversed assert must not turn a discard green."""
    report.outcome = "failed"
    _not_kept(item, report, claim)
    if report.outcome == "failed":
        report.longrepr = (
            f"the test passed, but the verdict is no keep: {report.longrepr}\n"
            "Assert that the result beats the baseline: result.METRIC < "
            "baseline.METRIC, or > for a metric that should rise."
        )


def _where(report: pytest.TestReport) -> str:
    path, line, _ = report.location
    return f"\n({path}:{(line or 0) + 1})"


def _skip(item: pytest.Item, report: pytest.TestReport, why: str) -> None:
    path, line, _ = item.reportinfo()
    report.outcome = "skipped"
    report.longrepr = (str(path), (line or 0) + 1, f"Skipped: {why}")


def _account(claim: Claim) -> Iterator[str]:
    """What JUnit shows as system-out, and the terminal below a failure."""
    if claim.judgement is None or claim.idea is None:
        return
    lines = [claim.title]
    if claim.hypothesis and claim.hypothesis != claim.title:
        lines.append(claim.hypothesis)
    lines.append(claim.judgement.reason)
    diff = next((note for note in claim.notes if note), "")
    yield barred("\n".join([*lines, diff]).rstrip()) + "\n"


def properties(research: Research, claim: Claim) -> list[tuple[str, object]]:
    """What goes into a testcase's `<properties>`."""
    judgement = claim.judgement
    if judgement is None:
        return []
    found: list[tuple[str, object]] = [
        ("candidate", judgement.number),
        ("verdict", judgement.state),
        ("reason", visible(judgement.reason)),
        ("parent", judgement.head.commit or judgement.head.id),
        ("device", research.device.name),
        ("sandbox", research.sandbox),
        ("fingerprint", research.fingerprint),
    ]
    verdict = judgement.verdict
    if verdict is not None:
        metric = research.metric
        for name, estimate in (
            ("baseline", verdict.baseline),
            (metric, verdict.candidate),
        ):
            for key in ("mean", "sd", "n"):
                found.append((f"{name}_{key}", getattr(estimate, key)))
        found += [("e_value", round(verdict.e_value, 4)), ("paired", verdict.paired)]
    if claim.commit:
        found.append(("commit", claim.commit))
    trials = research.ledger.candidate_trials(judgement.number)
    seconds = sum(row["finished"] - row["started"] for row in trials)
    found.append(("device_seconds", round(seconds, 1)))
    return found
