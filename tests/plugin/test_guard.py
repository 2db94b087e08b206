"""The judge on guard: grades of keeps, the alarm, and what simplifications may cost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import judge
from autoresearch_plugin.judge import Noise, Question, Run

SIGMA = 0.001
HEAD = (1.001, 1.000, 0.999, 1.000, 1.000)
TENTATIVE, PROBABLE, FIRM, STRONG = 2.2, 3.5, 7.0, 15.0
e_values = st.lists(st.floats(2, 50), max_size=12)


def ask(gain, n=3, **more):
    """A question about `n` runs that are each better by `gain` sigma."""
    runs = tuple(Run(1.0 - gain * SIGMA, 100 + i, "h") for i in range(n))
    head = tuple(Run(value, i, "h") for i, value in enumerate(HEAD))
    return Question(runs, {"h": head}, Noise(SIGMA, 20), **more)


class TestGrades:
    @pytest.mark.parametrize(
        ("e", "name"),
        [
            (math.inf, "strong"),
            (10.0, "strong"),
            (9.99, "firm"),
            (5.0, "firm"),
            (4.99, "probable"),
            (3.0, "probable"),
            (2.99, "tentative"),
            (0.0, "tentative"),
            (math.nan, "ungraded"),
        ],
    )
    def test_bounds(self, e, name):
        """A grade begins at its bound; without an e-value there is none."""
        assert judge.grade(e) == name

    def test_every_keep_of_the_rule_has_a_grade(self):
        """The weakest keep of the default rule is tentative, on guard probable."""
        rule = judge.DEFAULT
        assert judge.grade(rule.keep_e) == "tentative"
        assert judge.grade(rule.on_guard([TENTATIVE]).keep_e) == "probable"


class TestExpectedFalse:
    def test_no_keeps_are_no_harm(self):
        """A session without keeps has no false ones."""
        assert judge.expected_false([]) == 0.0

    def test_it_is_the_mean_share_of_the_grades(self):
        """One tentative keep in ten is false, one strong one in two hundred."""
        assert judge.expected_false([TENTATIVE]) == 0.10
        mean = (0.10 + 0.05 + 0.015 + 0.005) / 4
        kept = [TENTATIVE, PROBABLE, FIRM, STRONG]
        assert judge.expected_false(kept) == pytest.approx(mean)

    def test_keeps_without_an_e_value_do_not_count(self):
        """Another rule's keeps say nothing, alone or among others."""
        assert judge.expected_false([math.nan, math.nan]) == 0.0
        assert judge.expected_false([math.nan, FIRM]) == 0.015

    @given(e_values, st.floats(2, 50), st.floats(0, 50))
    def test_firmer_keeps_are_never_more_suspect(self, others, e, more):
        """Raising one keep's evidence never raises the expected share."""
        weaker = judge.expected_false([*others, e])
        assert judge.expected_false([*others, e + more]) <= weaker


class TestOnGuard:
    @pytest.mark.parametrize(
        ("kept", "keep_e"),
        [
            ([], 2.0),
            ([TENTATIVE], 3.0),
            ([TENTATIVE, STRONG], 3.0),  # 0.0525
            ([TENTATIVE, STRONG, STRONG], 2.0),  # 0.037
            ([PROBABLE] * 7, 2.0),  # at the alarm, not above it
            ([math.nan] * 5, 2.0),
        ],
    )
    def test_more_is_asked_while_keeps_are_weak(self, kept, keep_e):
        """Above one expected false keep in twenty the bound is 3, and 2 again later."""
        assert judge.DEFAULT.on_guard(kept).keep_e == keep_e

    @given(e_values)
    def test_nothing_else_changes(self, kept):
        """On guard the rule is the same rule, never a milder one."""
        guarded = judge.DEFAULT.on_guard(kept)
        assert guarded.keep_e >= judge.DEFAULT.keep_e
        assert (guarded.go_e, guarded.n_max) == (1.25, 8)
        assert judge.name_of(guarded) == judge.name_of(judge.DEFAULT)

    def test_a_stricter_rule_stays_as_strict(self):
        """A bound above the guarded one is not lowered by the alarm."""
        assert judge.Rule(keep_e=20.0).on_guard([TENTATIVE]).keep_e == 20.0

    def test_a_weak_gain_is_kept_once_and_repeated_on_guard(self):
        """The same runs are a keep in a firm session and undecided in a weak one."""
        calm = judge.decide(ask(1.2))
        alert = judge.decide(ask(1.2, kept=(TENTATIVE,)))
        assert 2.0 < calm.e_value < 3.0
        assert (calm.decision, alert.decision) == ("keep", "replicate")
        assert (alert.keep_e, alert.e_value) == (3.0, calm.e_value)
        assert (calm.proven_lower, alert.proven_lower) == (True, False)

    def test_losers_go_as_before(self):
        """The bound at which a candidate is dropped does not move."""
        verdict = judge.decide(ask(-1.0, n=1, kept=(TENTATIVE,)))
        assert (verdict.decision, verdict.go_e) == ("discard", 1.25)

    @given(st.floats(-2, 4), st.integers(1, 8), e_values)
    def test_on_guard_it_keeps_nothing_that_it_would_not_keep(self, gain, n, kept):
        """The alarm only turns keeps away."""
        calm, alert = judge.decide(ask(gain, n)), judge.decide(ask(gain, n, kept=kept))
        assert calm.decision == "keep" or alert.decision != "keep"


class TestMarginCreep:
    """Each simplification may be a little worse; all of them together, one sigma."""

    def hurdle(self, lines, conceded=0.0):
        """What a candidate must gain, in sigma; a line is worth a twentieth here."""
        question = ask(0.0, added_lines=lines, conceded=conceded * SIGMA)
        return judge.decide(question).hurdle / SIGMA

    @pytest.mark.parametrize(
        ("lines", "conceded", "hurdle"),
        [
            (-4, 0.0, -0.2),
            (-100, 0.0, -1.0),
            (-100, 0.6, -0.4),
            (-4, 0.9, -0.1),
            (-100, 1.0, 0.0),
            (-100, 7.0, 0.0),
            (4, 1.0, 0.2),
            (0, 0.5, 0.0),
        ],
    )
    def test_credit_is_what_is_left_of_one_sigma(self, lines, conceded, hurdle):
        """Deleted lines earn credit until a session has conceded a sigma."""
        assert self.hurdle(lines, conceded) == pytest.approx(hurdle, abs=1e-9)

    @given(st.integers(-200, 200), st.floats(0, 3), st.floats(0, 3))
    def test_what_was_conceded_never_lowers_the_bar(self, lines, conceded, more):
        """The more harm was granted, the less is granted."""
        assert self.hurdle(lines, conceded + more) >= self.hurdle(lines, conceded)

    def test_a_simplification_is_kept_only_while_there_is_credit(self):
        """The same harmless deletion is a keep at first and no keep at the end."""
        first = judge.decide(ask(0.3, added_lines=-20))
        last = judge.decide(ask(0.3, added_lines=-20, conceded=SIGMA))
        assert (first.decision, first.proven_lower) == ("keep", False)
        assert last.decision != "keep"

    def test_a_chain_of_deletions_cannot_creep(self):
        """Granted one after the other, they add up to no more than the credit."""
        conceded, granted = 0.0, 0
        for _ in range(40):  # each is worse by a twentieth of sigma
            question = ask(-0.05, n=8, added_lines=-20, conceded=conceded)
            verdict = judge.decide(question)
            if verdict.decision == "keep":
                conceded += max(0.0, verdict.d)
                granted += 1
        assert 0 < granted < 20
        assert conceded <= judge.DEFAULT.credit * SIGMA

    def test_a_proven_gain_needs_no_credit(self):
        """Deleting lines and being better is kept however much was conceded."""
        verdict = judge.decide(ask(2.5, added_lines=-20, conceded=5 * SIGMA))
        assert (verdict.decision, verdict.proven_lower) == ("keep", True)
