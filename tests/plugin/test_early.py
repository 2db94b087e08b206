"""Ending losers early: what an interim score foretells, and when the rule lets go."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import early, judge
from autoresearch_plugin.early import Experience, stops
from autoresearch_plugin.judge import Noise, Question, Run

number = st.floats(-10, 10)
histories = st.lists(number, min_size=early.LEAST, max_size=40)
lucks = st.floats(0, 1, exclude_max=True)


def wrong(count, of):
    """A record of `of` spared losers, the last `count` of which turned out well."""
    return [False] * (of - count) + [True] * count


class TestForecast:
    @given(st.lists(number, max_size=early.LEAST - 1), number)
    def test_little_experience_says_nothing(self, residuals, interim):
        """Before a dozen completed runs there is no forecast."""
        assert Experience(residuals).forecast(interim, 1.0) is None

    def test_a_forecast_is_the_usual_way_down(self):
        """The median residual is taken off, then a margin of robust deviations."""
        residuals = [0.30, 0.31, 0.29, 0.30, 0.32, 0.28] * 2
        expected, hopeful = Experience(residuals).forecast(2.7, 0.01)
        assert expected == pytest.approx(2.4)
        deviation = statistics.median(abs(r - 0.30) for r in residuals)
        assert expected - hopeful == pytest.approx(1.5 * 1.4826 * deviation)

    @given(histories, number, st.floats(0, 3), st.booleans())
    def test_hope_is_never_below_a_tenth_of_the_noise(self, past, interim, sigma, wide):
        """Residuals that agree to the last digit do not make a forecast certain."""
        expected, hopeful = Experience(past).forecast(interim, sigma, wide)
        assert expected - hopeful >= 0.15 * sigma - 1e-12

    @given(histories, number, number, st.booleans())
    def test_shift_of_the_score_shifts_the_forecast(self, past, interim, shift, wide):
        """A score that is worse by some amount foretells an end worse by as much."""
        experience = Experience(past)
        here = experience.forecast(interim, 1.0, wide)
        there = experience.forecast(interim + shift, 1.0, wide)
        assert there == pytest.approx([x + shift for x in here], abs=1e-9)

    @given(histories, number, number)
    def test_shift_of_all_residuals_cancels(self, past, interim, shift):
        """A mid-run score that is always off by the same amount is as good."""
        here = Experience(past).forecast(interim, 1.0)
        moved = Experience([r + shift for r in past])
        assert moved.forecast(interim + shift, 1.0) == pytest.approx(here, abs=1e-9)

    @given(histories, number, st.floats(0.01, 100))
    def test_units_do_not_matter(self, past, interim, unit):
        """Score, residuals and noise in another unit give the forecast in that unit."""
        here = Experience(past).forecast(interim, 1.0)
        there = Experience([unit * r for r in past]).forecast(unit * interim, unit)
        assert there == pytest.approx([unit * x for x in here], rel=1e-9, abs=1e-9)

    @given(histories, number)
    def test_changes_that_cross_are_given_more_hope(self, past, interim):
        """A wide forecast expects the same end and hopes for a better one."""
        usual = Experience(past).forecast(interim, 1.0)
        wide = Experience(past).forecast(interim, 1.0, wide=True)
        assert wide.expected == usual.expected
        assert wide.hopeful < usual.hopeful

    @given(histories, number)
    def test_less_hope_is_needed_where_near_misses_are_bundled(self, past, interim):
        """The expected end is the same; changes that cross keep all their hope."""
        usual, bundled = Experience(past), Experience(past, hope=early.BUNDLED)
        there, here = usual.forecast(interim, 1.0), bundled.forecast(interim, 1.0)
        assert here.expected == there.expected
        assert there.hopeful < here.hopeful < here.expected
        wide = bundled.forecast(interim, 1.0, wide=True)
        assert wide == usual.forecast(interim, 1.0, wide=True)

    def test_only_the_latest_runs_count(self):
        """What was learned long ago is forgotten."""
        new = [0.1, 0.2, 0.3] * (early.LATEST // 3)
        assert Experience([9.0] * 500 + new).forecast(1.0, 0.1) == Experience(
            new
        ).forecast(1.0, 0.1)

    def test_one_run_far_off_changes_little(self):
        """Median and median deviation do not follow a run that blew up."""
        past = [0.28, 0.29, 0.30, 0.31, 0.32] * 5
        quiet = Experience(past).forecast(2.0, 0.01)
        assert Experience([*past, 1e6]).forecast(2.0, 0.01) == pytest.approx(
            quiet, abs=0.01
        )


class TestFactor:
    @pytest.mark.parametrize(
        ("spared", "factor"),
        [
            ([], early.FACTOR),
            (wrong(9, 9), early.FACTOR),  # too few to say anything
            (wrong(1, 10), early.FACTOR),
            (wrong(2, 10), early.WIDE),
            (wrong(3, 10), math.inf),
            (wrong(4, 40), early.FACTOR),
            (wrong(5, 40), early.WIDE),
            (wrong(8, 40), early.WIDE),
            (wrong(9, 40), math.inf),
            (wrong(20, 20) + wrong(0, 40), early.FACTOR),  # long ago
        ],
    )
    def test_wrong_stops_make_it_careful_then_stop_it(self, spared, factor):
        """Above one in ten the margin is wider, above one in five it is over."""
        assert Experience((), spared).factor == factor

    @given(st.lists(st.booleans(), max_size=60), st.data())
    def test_a_wrong_stop_never_makes_it_bolder(self, spared, data):
        """Turning one right stop into a wrong one never narrows the margin."""
        worse = list(spared)
        for place in data.draw(st.sets(st.integers(0, 59), max_size=5)):
            worse[place : place + 1] = [True] * len(worse[place : place + 1])
        assert Experience((), worse).factor >= Experience((), spared).factor

    @given(histories, number)
    def test_when_it_is_off_nothing_is_foretold(self, past, interim):
        """Then no run is stopped and none is spared."""
        forecast = Experience(past, wrong(5, 10)).forecast(interim, 1.0)
        assert forecast is None
        assert stops(forecast, lambda value: True, 0.5) == (False, False)

    @pytest.mark.parametrize("hope", [early.FACTOR, early.BUNDLED])
    def test_when_it_is_careful_all_changes_are_wide(self, hope):
        """After wrong stops the usual margin is the wide one."""
        past = [0.1, 0.2, 0.3, 0.4] * 3
        careful = Experience(past, wrong(2, 10), hope)
        assert careful.forecast(1.0, 0.1) == Experience(past).forecast(1.0, 0.1, True)


def is_out_of(head, sigma):
    """Whether the default rule drops a candidate whose first run ends at a value."""

    def is_out(value):
        base = tuple(Run(x, seed, "h") for seed, x in enumerate(head))
        question = Question((Run(value, 99, "h"),), {"h": base}, Noise(sigma, 8))
        return judge.decide(question).decision == judge.DISCARD

    return is_out


class TestStops:
    @given(number, number, lucks)
    def test_who_still_has_hope_is_not_stopped(self, expected, hopeful, luck):
        """A run is left alone when its hopeful end would not be discarded."""
        forecast = early.Forecast(expected, hopeful)
        assert stops(forecast, lambda value: False, luck) == (False, False)

    @given(histories, number, lucks)
    def test_the_rule_would_have_dropped_every_run_that_is_stopped(
        self, past, interim, luck
    ):
        """Stopped or spared: the rule itself discards its hopeful end, and worse."""
        is_out = is_out_of([0.0, 0.5, -0.5], 1.0)
        forecast = Experience(past).forecast(interim, 1.0)
        stopped, spared = stops(forecast, is_out, luck)
        assert (stopped or spared) == is_out(forecast.hopeful)
        if stopped or spared:
            assert is_out(forecast.expected)

    @given(histories, number, st.floats(0, 5), st.floats(early.SPARED, 0.99))
    def test_a_better_score_is_never_stopped_instead(self, past, interim, gain, luck):
        """Claiming a lower interim score can only avoid a stop."""
        is_out, experience = is_out_of([0.0, 0.5, -0.5], 1.0), Experience(past)
        better = stops(experience.forecast(interim - gain, 1.0), is_out, luck)[0]
        worse = stops(experience.forecast(interim, 1.0), is_out, luck)[0]
        assert worse or not better

    def test_one_loser_in_twenty_is_spared(self):
        """By luck that is spread evenly, exactly the share that is to be watched."""
        forecast = early.Forecast(1.0, 0.9)
        ends = [stops(forecast, lambda value: True, i / 1000) for i in range(1000)]
        assert sum(spared for _, spared in ends) == 1000 * early.SPARED
        assert all(stopped is not spared for stopped, spared in ends)
