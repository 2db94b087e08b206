"""Computing more than was charged for, before and after the training."""

from __future__ import annotations

from typing import Any

import pytest

from autoresearch_plugin import fairness


def run(
    cpu: float, scoring: float = 4.0, evaluate: float = 5.0, **summary: float
) -> Any:
    """What a trial's row says of its costs."""
    return {
        "cpu_seconds": cpu,
        "scoring_cpu": scoring,
        "seconds": {"evaluate": evaluate},
        "summary": summary,
    }


BASE = [run(20.0), run(21.0), run(22.0)]


def test_equal_costs_are_fair() -> None:
    """A busy machine makes CPU time vary by a third, and that is let pass."""
    assert fairness.overspent([run(27.0), run(28.0), run(26.0)], BASE, 1.0) is None


def test_steps_that_get_dearer_are_seen() -> None:
    """The median of its runs is far above the baseline's."""
    why = fairness.overspent([run(40.0), run(41.0), run(20.0)], BASE, 1.0)
    assert why is not None
    assert "40 s of CPU time, the baseline's 21 s" in why


def test_work_that_the_cpu_clock_does_not_show_takes_its_time() -> None:
    """Children that nobody waits for are lost to that clock, not to the other one."""
    base = [run(20.0, training_seconds=15.0)] * 3
    why = fairness.overspent([run(20.0, training_seconds=60.0)] * 3, base, 1.0)
    assert why is not None
    assert "its trainings took 60 s, the baseline's 15 s" in why
    assert fairness.overspent([run(20.0, training_seconds=30.0)] * 3, base, 1.0) is None


def test_training_while_being_loaded_is_seen() -> None:
    """Scoring takes longer than the price of its steps explains."""
    late = [run(25.0, scoring=14.0)] * 3
    why = fairness.overspent(late, BASE, 1.1)
    assert why is not None
    assert "scoring it took 14 s" in why
    assert fairness.overspent(late, BASE, 2.0) is None


@pytest.mark.parametrize(("evaluate", "fair"), [(12.0, True), (40.0, False)])
def test_on_a_gpu_the_clock_counts(evaluate: float, fair: bool) -> None:
    """A model that reads half as fast may take twice as long to be scored."""
    base = [run(300.0, total_tokens_M=400.0, training_seconds=300.0)]
    mine = [run(300.0, evaluate=evaluate, total_tokens_M=200.0, training_seconds=300.0)]
    ratio = fairness.slowdown(mine, base)
    assert ratio == pytest.approx(2.0)
    assert (fairness.scored_long(mine, base, ratio, wall=True) is None) is fair


def test_what_is_not_known_is_not_held_against_anybody() -> None:
    """Rows of older ledgers do not say what scoring took."""
    old = [{**run(20.0), "scoring_cpu": None, "seconds": {}}]
    assert fairness.overspent(old, BASE, 1.0) is None
    assert fairness.scored_long(old, old, 1.0, wall=True) is None
    assert fairness.slowdown(old, old) == 1.0
