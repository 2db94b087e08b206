"""The e-value against numerical integration that was written independently."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autoresearch_plugin import judge
from autoresearch_plugin.evidence import Noise, Question, Run, e_value, log_mills

np = pytest.importorskip("numpy")
integrate = pytest.importorskip("scipy.integrate")
special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")

GAINS = (-8.0, -3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
KAPPAS = (0.1, 0.3, 0.7, 1.5, 3.0, 5.0)
DFS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 20.0, 60.0, 200.0)


def quad(f, low, high):
    return integrate.quad(f, low, high, epsabs=0, epsrel=1e-9, limit=400)[0]


def by_mixture(t, kappa, df):
    """The mean over r ~ chi(df + 1) of the ratio with a known sigma, by quadrature."""
    y = t / math.sqrt(df + t * t)
    whole = special.gammaln((df + 1) / 2) + (df - 1) / 2 * math.log(2)

    def log_product(r):
        z = y * r - 1 / kappa
        mills = special.log_ndtr(z) + z * z / 2 + math.log(2 * math.pi) / 2
        return df * np.log(r) - r * r / 2 - whole + mills

    grid = np.geomspace(1e-6, 30 * math.sqrt(df + 1) + 30 * kappa, 4001)
    heights = log_product(grid)
    peak = grid[heights.argmax()]
    inside = grid[heights > heights.max() - 50]
    ends = [inside[0], (inside[0] + peak) / 2, peak, 2 * peak, inside[-1]]
    pieces = pairwise(x for x in ends if x <= inside[-1])
    top = heights.max()
    area = sum(quad(lambda r: math.exp(log_product(r) - top), *x) for x in pieces)
    return area * math.exp(top) / kappa


def by_densities(t, kappa, df):
    """The noncentral over the central Student t density, the gain integrated out."""

    def product(gain):
        return stats.nct.pdf(t, df, gain) * math.exp(-gain / kappa) / kappa

    middle = max(t, 1.0)
    ends = [0.0, middle / 2, middle, 2 * middle, 2 * middle + 12]
    mixed = sum(quad(product, *piece) for piece in pairwise(ends))
    return mixed / stats.t.pdf(t, df)


class TestOracle:
    @pytest.mark.parametrize("df", DFS)
    @pytest.mark.parametrize("kappa", KAPPAS)
    def test_it_is_the_chi_mixture(self, kappa, df):
        """Six digits agree with adaptive quadrature over the unknown sigma."""
        for t in GAINS:
            expected = by_mixture(t, kappa, df)
            assert e_value(t, kappa, df) == pytest.approx(expected, rel=1e-6, abs=1e-9)

    @pytest.mark.parametrize("df", [2.0, 5.0, 20.0, 100.0])
    @pytest.mark.parametrize("kappa", [0.3, 0.7, 2.0])
    @pytest.mark.parametrize("t", [-2.0, 0.0, 1.0, 3.0, 6.0])
    def test_it_is_a_ratio_of_student_densities(self, t, kappa, df):
        """Six digits agree with scipy's noncentral t, the gain integrated out."""
        expected = by_densities(t, kappa, df)
        assert e_value(t, kappa, df) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("kappa", [0.1, 0.7, 2.0, 5.0])
    @pytest.mark.parametrize("df", [1.0, 3.0, 8.0, 60.0])
    def test_its_mean_without_an_effect_is_at_most_one(self, kappa, df):
        """Integrated over Student's t; what the limits of `t` take away is missing."""

        def product(t):
            return e_value(t, kappa, df) * stats.t.pdf(t, df)

        ends = (-math.inf, -30.0, -3.0, 0.0, 3.0, 10.0, 30.0, math.inf)
        pieces = pairwise(ends)
        mean = sum(integrate.quad(product, *piece, limit=200)[0] for piece in pieces)
        assert 0.99 < mean < 1 + 1e-6

    @pytest.mark.parametrize("z", [-400.0, -30.0, -5.001, -4.999, -1.0, 0.0, 3.0, 30.0])
    def test_mills_ratio(self, z):
        """Both branches of log(Phi/phi) agree with scipy, to eleven digits."""
        exact = special.log_ndtr(z) + z * z / 2 + math.log(2 * math.pi) / 2
        assert log_mills(z) == pytest.approx(exact, rel=1e-9, abs=1e-11)

    @pytest.mark.parametrize(
        ("kappa", "df", "seed"), [(0.3, 4.0, 1), (0.7, 1.0, 2), (0.7, 8.0, 3)]
    )
    def test_chance_seldom_looks_like_evidence(self, kappa, df, seed):
        """Over Student draws the mean is at most one, and 20 comes once in twenty."""
        rng = random.Random(seed)
        draws = []
        for _ in range(3000):
            sigma = math.sqrt(rng.gammavariate(df / 2, 2) / df)
            draws.append(e_value(rng.gauss(0, 1) / sigma, kappa, df))
        mean = math.fsum(draws) / len(draws)
        variance = math.fsum((x - mean) ** 2 for x in draws) / len(draws)
        assert mean <= 1 + 3 * math.sqrt(variance / len(draws))
        for bound in (2.0, 5.0, 20.0):
            assert sum(x >= bound for x in draws) <= len(draws) / bound


class TestNumericalEdges:
    @given(st.floats(allow_nan=False), st.floats(0.01, 20), st.floats(1, 1e6))
    @hypothesis_settings(deadline=None)
    def test_it_is_always_a_positive_number(self, t, kappa, df):
        """No gain, however large or infinite, overflows."""
        assert 0 < e_value(t, kappa, df) < math.inf

    @given(st.floats(0.1, 5), st.floats(1, 200))
    def test_nan_counts_as_the_worst_loss(self, kappa, df):
        """A gain that is no number is evidence against, never for."""
        assert e_value(math.nan, kappa, df) == e_value(-math.inf, kappa, df) < 1

    @given(st.floats(-29, 29), st.floats(0.1, 5), st.floats(1, 500))
    def test_it_is_smooth(self, t, kappa, df):
        """A gain that is larger by a millionth is more evidence, by a little."""
        low, high = e_value(t, kappa, df), e_value(t + 1e-6, kappa, df)
        assert low * (1 - 1e-10) <= high <= low * (1 + 1e-4)


value = st.floats(-3, 3)
runs_of = st.lists(value, min_size=1, max_size=6)
shifts = st.sampled_from([0.0, 7.0, -200.0])
units = st.sampled_from([1e-6, 0.5, 1.0, 3e5])


def shared(candidate, head, unit=1.0, shift=0.0, seeds=range(100)):
    """A question in any unit, about runs that may be compared seed by seed."""

    def runs(values):
        return tuple(
            Run(shift + unit * x, seed, "h", 512.0)
            for x, seed in zip(values, seeds, strict=False)
        )

    noise = Noise(unit, 9.0), Noise(0.5 * unit, 7.0)
    return Question(runs(candidate), {"h": runs(head)}, *noise)


def e_of(question):
    return judge.decide(question).e_value


class TestInvariance:
    @given(runs_of, runs_of, st.floats(0, 5))
    def test_more_gain_in_pairs_is_never_less_evidence(self, candidate, head, gain):
        """Lowering every run of a candidate raises its e-value, or leaves it."""
        better = [x - gain for x in candidate]
        assert e_of(shared(better, head)) >= e_of(shared(candidate, head)) * (1 - 1e-9)

    @given(runs_of, runs_of, units, shifts)
    def test_unit_and_origin_of_the_metric_do_not_matter(
        self, candidate, head, unit, shift
    ):
        """Paired or not, the e-value knows neither the scale nor the zero."""
        plain = e_of(shared(candidate, head))
        moved = e_of(shared(candidate, head, unit, shift * unit))
        assert moved == pytest.approx(plain, rel=1e-9)

    @given(runs_of, runs_of, st.randoms(use_true_random=False))
    def test_order_of_the_runs_does_not_matter(self, candidate, head, rng):
        """Runs of the candidate and of its head may come in any order."""
        question = shared(candidate, head)
        mine, base = list(question.candidate), list(question.heads["h"])
        rng.shuffle(mine)
        rng.shuffle(base)
        mixed = replace(question, candidate=tuple(mine), heads={"h": tuple(base)})
        assert e_of(mixed) == pytest.approx(e_of(question), rel=1e-9)

    @given(runs_of, runs_of, st.permutations(range(8)), st.integers(1, 2**30))
    def test_seeds_only_say_who_belongs_to_whom(self, candidate, head, order, factor):
        """Other seeds for the same pairs are the same evidence."""
        other = [1 + factor * seed for seed in order]
        plain = e_of(shared(candidate, head, seeds=range(8)))
        assert e_of(shared(candidate, head, seeds=other)) == plain

    @given(runs_of, runs_of, st.integers(0, 5), st.sampled_from(["nan", "inf", "-inf"]))
    def test_a_run_without_a_number_never_wins(self, candidate, head, place, bad):
        """NaN and infinities end a candidate, wherever among its runs they are."""
        candidate.insert(place, float(bad))
        verdict = judge.decide(shared(candidate, head))
        assert (verdict.decision, verdict.proven_lower) == ("discard", False)
