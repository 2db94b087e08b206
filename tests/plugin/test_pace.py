"""What a step of a candidate costs, in steps of its parent."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.executors.local import LocalExecutor
from autoresearch_plugin.executors.pace import WIDEST, from_costs, measure
from autoresearch_plugin.executors.transcript import Ending, Transcript
from tests.plugin.toy_trials import (
    COMMAND,
    CPU,
    LINUX,
    alive,
    line,
    spec_for,
    with_knobs,
)


@LINUX
@pytest.mark.parametrize(("cost", "low", "high"), [(4.0, 2.6, 5.4), (0.25, 0.15, 0.5)])
def test_a_dearer_step_has_a_higher_pace(tmp_path, cost, low, high):
    """Measured from outside, by CPU time; busy machines blur it, so wide bounds."""
    pace = LocalExecutor(COMMAND, tmp_path).pace(
        spec_for(tmp_path / "a", with_knobs(STEP_COST=2.0)),
        spec_for(tmp_path / "b", with_knobs(STEP_COST=2.0 * cost)),
        CPU,
        steps=4,
    )
    assert pace.failed is None
    assert low < pace.ratio < high
    assert 4 <= pace.steps <= 20
    assert pace.raw == pytest.approx(pace.candidate_seconds / pace.parent_seconds)


@LINUX
@pytest.mark.parametrize(
    ("parent", "candidate", "culprit", "outcome"),
    [
        ("", "crash", "candidate", "error"),
        ("", "exit-0", "candidate", "error"),
        ("", "forge-steps", "candidate", "integrity"),
        ("", "hang", "candidate", "timeout-train"),
        ("crash", "", "parent", "error"),
    ],
)
def test_a_pace_that_fails_says_whose_fault_it_is(
    tmp_path, mark, parent, candidate, culprit, outcome
):
    """The failing run's own result; both are gone."""
    theirs = spec_for(tmp_path / "other", with_knobs(MISBEHAVE=candidate))
    pace = LocalExecutor(COMMAND, tmp_path).pace(
        spec_for(tmp_path / "scratch", with_knobs(MISBEHAVE=parent)),
        replace(theirs, limits={**theirs.limits, "train": 0.5}),
        CPU,
        steps=2,
    )
    assert alive(mark) == []
    assert (pace.culprit, pace.failed.outcome, pace.ratio) == (culprit, outcome, 1.0)


class Stepper:
    """A child whose steps take what a list says, on a clock that all share."""

    ended = False

    def __init__(self, name, costs, world, limit=100.0):
        self.name, self.costs, self.world = name, list(costs), world
        self.transcript = Transcript(
            spec_for(Path("/tmp"), phase="pace", limits={"start": limit}),
            now=world["now"],
        )
        self.goes, self.used = 0, 1.0

    def go(self):
        self.goes += 1
        self.world["turns"] += self.name

    def pump(self):
        cost = self.costs[self.goes % len(self.costs)]
        self.used += cost
        self.world["now"] += cost
        return self.transcript.hear_events(line("step", step=1), self.world["now"])

    def cpu_seconds(self):
        return self.used

    def close(self):
        self.world["turns"] += "."

    def stop(self, stop):
        self.ended, self.reason = True, stop

    def result(self):
        return self.transcript.result(Ending(exit_code=0), self.reason, 0.0)


def pace_of(parent, candidate, steps=4, limit=100.0, **words):
    """The pace of two steppers, and the order of their turns."""
    world = {"now": 0.0, "turns": ""}
    pace = measure(
        lambda: Stepper("p", parent, world, limit),
        lambda: Stepper("c", candidate, world),
        lambda stepper: stepper.transcript.overdue(world["now"]),
        steps=steps,
        clock=lambda: world["now"],
        **words,
    )
    return pace, world["turns"]


def test_two_children_take_turns_after_a_start_that_is_not_counted():
    """Parent, candidate, candidate, parent, in two rounds with another one first."""
    pace, turns = pace_of([1.0], [2.5])
    assert turns == "ppp" + "ccc" + "pccp" + ".." + "ccc" + "ppp" + "pccp" + ".."
    assert (pace.ratio, pace.steps) == (2.5, 4)
    assert (pace.parent_seconds, pace.candidate_seconds) == (4.0, 10.0)


@pytest.mark.parametrize(
    ("cost", "ratio", "rounds"), [(1.0, 1.0, 1), (0.975, 1.0, 1), (0.96, 0.96, 2)]
)
def test_one_round_will_do_where_the_price_is_about_one(cost, ratio, rounds):
    """As long as nothing rests on it; a price that may be another one is made exact."""
    pace, _ = pace_of([1.0], [cost], rough=True)
    assert (pace.ratio, pace.rounds) == (ratio, rounds)
    assert pace.is_exact == (rounds == 2)


def test_a_rough_price_becomes_exact_with_the_round_that_is_missing():
    """The candidate first, and the steps of both rounds count."""
    rough, _ = pace_of([1.0], [0.975], rough=True)
    pace, turns = pace_of([1.0], [0.955], known=rough)
    assert turns == "ccc" + "ppp" + "pccp" + ".."
    assert (pace.steps, pace.is_exact) == (4, True)
    assert pace.raw == pace.ratio == pytest.approx(0.965)


def test_unsteady_steps_are_repeated():
    """Up to three times as many, while the standard error is large."""
    pace, _ = pace_of([1.0], [1.0, 3.0])
    assert (pace.steps, pace.is_good) == (12, False)
    assert pace.ratio == pytest.approx(2.0)


def test_while_one_steps_the_others_deadline_does_not_run():
    """A parent with a limit of 8 s outlives its candidate's slow steps."""
    assert pace_of([1.0], [4.0], limit=8.0)[0].failed is None
    failed, turns = pace_of([1.0], [4.0], limit=4.5)
    assert (failed.culprit, failed.failed.outcome) == ("parent", "timeout-start")
    assert turns.count("p") == 5


@pytest.mark.parametrize(
    ("costs", "ratio"),
    [
        ([1.01] * 20, 1.0),
        ([0.981] * 20, 1.0),
        ([1.03] * 20, 1.03),
        ([2.0] * 20, 2.0),
        ([0.5, 1.5] * 9 + [1.08, 1.0], 1.0),
        ([0.1, 2.1] * 10, 1.1),
    ],
)
def test_a_price_within_the_dead_zone_counts_as_one(costs, ratio):
    """Two percent, or two standard errors where those are more, but never over five."""
    pace = from_costs([1.0] * 20, costs)
    assert pace.ratio == pytest.approx(ratio)
    assert pace.is_good == (len(set(costs)) == 1)


@given(st.lists(st.floats(0.001, 10), min_size=2, max_size=30))
def test_a_pace_is_the_quotient_of_the_sums(costs):
    """Outside the widest dead zone it is as measured; equal costs make one."""
    assert from_costs(costs, costs).ratio == 1.0
    pace = from_costs([1.0] * len(costs), costs)
    assert pace.raw == pytest.approx(sum(costs) / len(costs))
    assert pace.ratio in (1.0, pace.raw)
    assert abs(pace.raw - 1) <= WIDEST + 1e-9 or pace.ratio == pace.raw
