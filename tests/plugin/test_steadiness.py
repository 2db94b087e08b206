"""A baseline run that the machine disturbed is repeated once, and does not count."""

from __future__ import annotations

import pytest

from autoresearch_plugin import steadiness
from tests.plugin.conftest import Project

STEPS = [{"num_steps": 1000}, {"num_steps": 1004}, {"num_steps": 998}]


def test_a_steady_run_is_no_news() -> None:
    """Within one percent of the others, and hardly a wait."""
    assert steadiness.disturbance({"num_steps": 1009}, STEPS, 300.0) is None
    assert steadiness.disturbance({"num_steps": 1000}, [], 300.0) is None
    assert steadiness.disturbance({}, STEPS, 300.0) is None


@pytest.mark.parametrize("steps", [980, 1020])
def test_steps_that_are_off_are_a_disturbance(steps: int) -> None:
    """Fewer or more than the median of the same commit's runs by over one percent."""
    found = steadiness.disturbance({"num_steps": steps}, STEPS, 300.0)
    assert found == f"{steps} steps where others made 1000"


def test_waiting_is_a_disturbance() -> None:
    """More than one percent of the budget, by the run's own account."""
    said = {"num_steps": 1000, "stalled_seconds": 3.1}
    assert steadiness.disturbance(said, STEPS, 300.0) == "its steps waited for 3.1 s"
    assert (
        steadiness.disturbance({**said, "stalled_seconds": 2.9}, STEPS, 300.0) is None
    )


def test_a_candidates_run_that_drifts_is_marked() -> None:
    """Against its own earlier runs: its speed may well differ from the baseline's."""
    assert steadiness.drift({"num_steps": 1005}, STEPS) is None
    assert steadiness.drift({"num_steps": 930}, []) is None
    assert steadiness.drift({"num_steps": 930}, STEPS) == (
        "-7 % steps against its earlier runs (930, not 1000): its device is not as it "
        "was"
    )


def test_disturbed_baseline_runs_are_repeated_and_do_not_count(
    project: Project,
) -> None:
    """Under a budget in seconds; at most twice, for some machines are never steady."""
    project.configure("--unit seconds --amount 0.05 --stall 1 --noise 0.002")
    project.candidate("width", 'set("WIDTH", 9)', strict=False)
    project.commit()
    result = project.research("--autoresearch-max-runs=4")
    assert result.ret == 0
    ledger = project.ledger()
    head = ledger.session(1)["first_head"]
    waited = ledger.waited_trials(head)
    assert len(waited) == steadiness.PATIENCE
    assert all(trial["value"] is None for trial in waited)
    assert {trial["message"] for trial in waited} == {"its steps waited for 1.0 s"}
    assert not {t["id"] for t in waited} & {t["id"] for t in ledger.head_trials(head)}


def test_steps_need_no_steady_machine(project: Project) -> None:
    """A budget in steps does not look at the clock."""
    project.configure("--stall 1")
    project.candidate("width", 'set("WIDTH", 9)', strict=False)
    project.commit()
    project.research()
    assert not project.ledger().waited_trials(project.ledger().session(1)["first_head"])


def test_a_changed_machine_retires_what_was_measured(project: Project) -> None:
    """The old runs stay in the ledger, and nothing is compared with them."""
    project.candidate("width", 'set("WIDTH", 9)', strict=False)
    project.commit()
    project.research()
    ledger = project.ledger()
    head = ledger.session(1)["first_head"]
    before = len(ledger.own_head_trials(head))
    assert before
    ledger.retire_head_trials(head, "cpu:0")
    assert ledger.own_head_trials(head) == []
    assert len(ledger.waited_trials(head)) == before
