"""The judge: e-value, noise, rules, and the words of a verdict."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoresearch_plugin import evidence, judge
from autoresearch_plugin.evidence import e_value, log_mills, threshold
from autoresearch_plugin.judge import Noise, Prior, Question, Run

SIGMA = 0.00034
HEAD = [0.9722, 0.9726, 0.9720, 0.9724, 0.9718]  # mean 0.9722


def runs(values, first_seed=0, head="h", tokens=None):
    return tuple(Run(v, first_seed + i, head, tokens) for i, v in enumerate(values))


def ask(candidate, head=HEAD, sigma=SIGMA, df=20.0, **more):
    """A question about unpaired runs: seeds of candidate and head never meet."""
    return Question(
        candidate=runs(candidate, 100),
        heads={"h": runs(head)},
        unpaired=Noise(sigma, df),
        **more,
    )


def pairs(candidate, head, sigma=0.01, sigma_pair=0.002, df=20.0, **more):
    """A question whose candidate and head share seeds and batches."""
    return Question(
        candidate=runs(candidate, tokens=512),
        heads={"h": runs(head, tokens=512)},
        unpaired=Noise(sigma, df),
        paired=Noise(sigma_pair, df),
        **more,
    )


def dot(xs, ys):
    return math.fsum(x * y for x, y in zip(xs, ys, strict=True))


class TestEValue:
    @given(st.floats(-6, 6), st.floats(0.2, 3))
    def test_with_known_noise_it_is_the_closed_form(self, t, kappa):
        """Many degrees of freedom give sqrt(2 pi)/kappa * exp(z**2/2) * Phi(z)."""
        z = t - 1 / kappa
        phi = 0.5 * math.erfc(-z / math.sqrt(2))
        closed = math.sqrt(2 * math.pi) / kappa * math.exp(z * z / 2) * phi
        assert e_value(t, kappa, 1e7) == pytest.approx(closed, rel=2e-3)

    @pytest.mark.parametrize(
        ("t", "kappa", "df"), [(1.7, 0.6, 3.0), (-1.0, 1.1, 8.0), (4.0, 0.9, 12.0)]
    )
    def test_it_is_a_ratio_of_student_densities(self, t, kappa, df):
        """A brute-force double integral over sigma and effect gives the same number."""

        def density(shift):
            grid = (0.002 * i for i in range(1, 3000))
            return sum(
                w**df * math.exp(-df * w * w / 2 - (t * w - shift) ** 2 / 2)
                for w in grid
            )

        step = 0.05
        tilted = sum(
            density(k * step) * math.exp(-k * step / kappa) * (0.5 if k == 0 else 1)
            for k in range(int(14 * kappa / step))
        )
        expected = tilted * step / kappa / density(0.0)
        assert e_value(t, kappa, df) == pytest.approx(expected, rel=5e-3)

    @given(st.floats(-40, 40), st.floats(0, 20), st.floats(0.2, 3), st.floats(1, 200))
    def test_more_gain_is_never_less_evidence(self, t, more, kappa, df):
        """It never falls as the gain grows, however poorly the noise is known."""
        low, high = e_value(t, kappa, df), e_value(t + more, kappa, df)
        assert high >= low * (1 - 1e-3)

    def test_its_mean_without_an_effect_is_one(self):
        """Over simulated null data the mean exceeds 1 by no more than chance."""
        rng = random.Random(5)
        values = []
        for _ in range(4000):
            sigma = math.sqrt(rng.gammavariate(4, 2) / 8)  # 8 degrees of freedom
            values.append(e_value(rng.gauss(0, 1) / sigma, 0.8, 8.0))
        mean = math.fsum(values) / len(values)
        sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        assert abs(mean - 1) <= 3 * sd / math.sqrt(len(values))

    @given(st.floats(1.05, 3), st.floats(0.4, 2), st.floats(5, 100))
    def test_threshold_is_its_inverse(self, bound, kappa, df):
        """The e-value at the threshold is the bound."""
        t = threshold(bound, kappa, df)
        assert e_value(t, kappa, df) == pytest.approx(bound, rel=1e-3)

    def test_threshold_may_be_out_of_reach(self):
        """With one degree of freedom no gain whatever is evidence of 20."""
        assert threshold(20.0, 0.7, 1.0) == math.inf

    @given(st.floats(-400, 400))
    def test_mills_is_safe_far_out(self, z):
        """log(Phi/phi) is finite and increasing from tail to tail."""
        assert math.isfinite(log_mills(z))
        assert log_mills(z) < log_mills(z + 1)

    @given(st.floats(-30, 5))
    def test_mills_is_exact(self, z):
        """Both of its formulas agree with the complementary error function."""
        exact = math.log(0.5 * math.erfc(-z / math.sqrt(2)))
        exact += z * z / 2 + math.log(math.sqrt(2 * math.pi))
        assert log_mills(z) == pytest.approx(exact, abs=1e-6)


class TestNoise:
    def test_pools_within_commits_only(self):
        """Differences between commits are no noise."""
        noise = judge.pooled_noise([[1.0, 1.2], [5.0, 5.2, 5.4]], 1.0, Prior(0.0, 2))
        assert noise.df == 5
        assert noise.sigma == pytest.approx(math.sqrt((0.02 + 0.08) / 5))

    def test_prior_alone(self):
        """Without runs the prior speaks, in units of the metric's level."""
        noise = judge.pooled_noise([[3.0]], -2.0, Prior(0.01, 4))
        assert (noise.sigma, noise.df) == (pytest.approx(0.02), 4)

    def test_unknown_prior_weighs_one_degree(self):
        """A command that says nothing gets one degree of freedom of a usual spread."""
        noise = judge.pooled_noise([], 1.0, Prior(None, 4))
        assert (noise.sigma, noise.df) == (pytest.approx(3.5e-4), 1)

    def test_equal_runs_of_a_metric_at_zero(self):
        """Noise is never exactly zero, so nothing divides by it."""
        assert judge.pooled_noise([[0.0, 0.0]], 0.0, Prior(None)).sigma > 0

    def test_runs_without_a_number_do_not_count(self):
        """NaN and infinity are left out of the pool."""
        groups = [[1.0, math.nan, 1.2], [math.inf, 1.0]]
        assert judge.pooled_noise(groups, 1.0, Prior(0.1, 1)).df == 2

    def test_one_unstable_candidate_does_not_make_the_others_blind(self):
        """Its own spread is held to thirty times what the rest shows."""
        quiet = [[1.0, 1.1], [2.0, 2.1, 2.2], [0.5, 0.4], [3.0, 3.1], [1.0, 0.9]]
        before = judge.pooled_noise(quiet, 1.0, Prior(0.1, 4)).sigma

        after = judge.pooled_noise([*quiet, [1.9, 1e6]], 1.0, Prior(0.1, 4)).sigma

        assert before < after < 2.5 * before

    def test_equal_runs_do_not_cap_real_noise(self):
        """Ten candidates that change nothing say nothing of those that do."""
        equal = [[1.0, 1.0]] * 10
        noisy = [[1.0, 1.2], [2.0, 1.8], [1.0, 1.3]]

        pooled = judge.pooled_noise([*equal, *noisy], 1.0, Prior(0.1, 1))

        plain = (0.02 + 0.02 + 0.045 + 0.01) / 14
        assert pooled.sigma == pytest.approx(math.sqrt(plain))

    @given(st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=4), max_size=12))
    def test_the_cap_only_lowers(self, groups):
        """And the degrees of freedom stay what they were."""
        spreads = [evidence.spread(group) for group in groups]
        squares, df = evidence.capped(spreads)
        assert squares <= sum(own for own, _ in spreads) * (1 + 1e-12)
        assert df == sum(count for _, count in spreads)

    def test_unknown_pairs_are_not_trusted_before_there_are_four_degrees(self):
        """A spread of pairs that nobody knows is infinite, so pairs are not used."""
        few = judge.paired_noise([[0.1, 0.2]], 1.0, Prior(None))
        enough = judge.paired_noise([[0.1, 0.2, 0.3, 0.1, 0.2]], 1.0, Prior(None))
        assert few.sigma == math.inf
        assert 0 < enough.sigma < 0.1


class TestDefaultRule:
    def test_a_loser_goes_after_one_run(self):
        """Clearly worse on the first run: discarded, in one line."""
        verdict = judge.decide(ask([0.9741]))
        assert (verdict.decision, verdict.relation) == ("discard", "worse")
        assert verdict.sentence == "discard: 0.9741 vs 0.9722 ± 0.0003 after 1 run"

    def test_equal_is_not_proven_lower(self):
        """A first run at the head's level ends it, and the words say why."""
        verdict = judge.decide(ask([0.9721]))
        assert verdict.relation == "not distinguishable"
        assert verdict.sentence == (
            "not proven lower: 0.9721 vs 0.9722 ± 0.0003 after 1 run"
        )

    def test_direction_max_reads_naturally(self):
        """With a metric to maximise, people read it the right way round."""
        worse = judge.decide(ask([-0.9700], [-x for x in HEAD], sign=-1.0))
        assert worse.sentence.startswith("discard: 0.9700 vs 0.9722")
        better = judge.decide(ask([-0.99] * 3, [-x for x in HEAD], sign=-1.0))
        assert (better.decision, better.candidate.mean) == ("keep", pytest.approx(0.99))
        assert better.effect > 0
        same = judge.decide(ask([-0.9723], [-x for x in HEAD], sign=-1.0))
        assert same.sentence.startswith("not proven higher: 0.9723 vs 0.9722")

    def test_a_winner_is_repeated_then_kept(self):
        """Good first runs are undecided until the third proves them."""
        values = [0.9715, 0.9717, 0.9716]
        decisions = [judge.decide(ask(values[:n])).decision for n in (1, 2, 3)]
        assert decisions == ["replicate", "replicate", "keep"]
        verdict = judge.decide(ask(values))
        assert verdict.relation == "better"
        assert verdict.sentence == "keep: 0.9716 vs 0.9722 ± 0.0003 after 3 runs"

    def test_two_runs_are_enough_where_they_are_strong(self):
        """Against a baseline of three, at an e-value of ten; one run never is."""
        strong = [0.9722 - 3.5 * SIGMA] * 3
        decisions = [judge.decide(ask(strong[:n])).decision for n in (1, 2)]
        assert decisions == ["replicate", "keep"]
        kept = judge.decide(ask(strong[:2]))
        assert (kept.grade, kept.keep_e, kept.proven_lower) == ("strong", 10.0, True)
        short = judge.decide(ask(strong[:2], HEAD[:2]))
        assert (short.decision, short.proven_lower) == ("replicate", False)
        one = judge.decide(ask([0.9722 - 30 * SIGMA]))
        assert (one.decision, one.proven_lower) == ("replicate", False)

    def test_two_strong_runs_have_to_agree(self):
        """An unstable candidate's luck is not taken for the pooled noise."""
        apart = [0.9722 - 1.0 * SIGMA, 0.9722 - 8.0 * SIGMA]
        verdict = judge.decide(ask(apart))
        assert verdict.e_value > 10
        assert (verdict.decision, verdict.proven_lower) == ("replicate", False)
        capped = judge.decide(ask(apart, max_runs=2))
        assert capped.sentence == (
            "unproven: 0.9707 vs 0.9722 ± 0.0003 after 2 runs that do not agree"
        )

    @pytest.mark.parametrize(
        "values", [[1e200, 1e200], [math.inf, -math.inf], [-1e300] * 3, [-1e101]]
    )
    def test_an_absurd_number_is_no_number(self, values):
        """What a program may print must not stop a session."""
        verdict = judge.decide(ask(values))
        assert (verdict.decision, verdict.proven_lower) == ("discard", False)
        assert verdict.sentence.startswith("discard: no number")
        prior = judge.Prior(None)
        assert math.isfinite(judge.pooled_noise([values], 1.0, prior).sigma)

    def test_a_rule_of_more_runs_needs_one_fewer_at_most(self):
        """Strong evidence saves one run, whatever `n_min` is, and never the second."""
        for n_min, fewest in ((2, 2), (3, 2), (5, 4)):
            rule = replace(judge.DEFAULT, n_min=n_min)
            runs = [[0.9722 - 4 * SIGMA] * n for n in range(1, 6)]
            found = [judge.decide(ask(one), rule).decision for one in runs]
            assert found.index("keep") + 1 == fewest

    def test_a_huge_gain_survives_a_poorly_known_noise(self):
        """Thirty sigma on the first run, 8 degrees of freedom: no reason to stop."""
        verdict = judge.decide(ask([0.9722 - 30 * SIGMA], df=8.0))
        assert verdict.decision == "replicate"

    def test_no_keep_before_the_head_has_three_runs(self):
        """With a short head the answer is to repeat, even at the last allowed run."""
        question = ask([0.9700] * 3, HEAD[:2], max_runs=3)
        verdict = judge.decide(question)
        assert (verdict.decision, verdict.proven_lower) == ("replicate", False)
        assert verdict.sentence.startswith("undecided: ")

    def test_losers_go_against_a_head_of_one_run(self):
        """The head's first run is enough to drop a loser."""
        assert judge.decide(ask([0.9750], HEAD[:1])).decision == "discard"

    def test_one_run_at_most_can_only_be_unproven(self):
        """`max_runs=1` never keeps; its best outcome has a word of its own."""
        verdict = judge.decide(ask([0.9700], max_runs=1))
        assert (verdict.decision, verdict.proven_lower) == ("discard", False)
        assert verdict.sentence == "unproven: 0.9700 vs 0.9722 ± 0.0003 after 1 run"

    def test_eight_runs_without_a_proof_end_it(self):
        """A candidate that stays between the bounds is dropped at the last run."""
        values = [0.9722 - 0.65 * SIGMA] * 8
        assert judge.decide(ask(values[:7])).decision == "replicate"
        verdict = judge.decide(ask(values))
        assert verdict.decision == "discard"
        assert verdict.sentence.startswith("not proven lower: ")

    def test_own_spread_counts(self):
        """Three scattered runs are judged by their own spread, not a smaller pool."""
        steady = judge.decide(ask([0.9710, 0.9711, 0.9712]))
        scattered = judge.decide(ask([0.9660, 0.9711, 0.9762]))
        assert (steady.sigma, steady.decision) == (SIGMA, "keep")
        assert scattered.sigma == pytest.approx(0.0051)
        assert scattered.decision != "keep"

    def test_runs_against_an_old_head_stay_valid_for_it(self):
        """Each run is compared with the head it was made against."""
        candidate = (Run(0.990, 1, "old"), Run(0.970, 2, "new"), Run(0.970, 3, "new"))
        heads = {"old": runs([0.992] * 3, 50, "old"), "new": runs([0.972] * 4, 60)}
        evidence = judge.weigh(Question(candidate, heads, Noise(0.001, 20)))
        assert evidence.d == pytest.approx(-0.002)
        assert evidence.q == pytest.approx(1 / 3 + (1 / 9) / 3 + (4 / 9) / 4)

    @pytest.mark.parametrize("candidate", [(), runs([1.0], head="unknown")])
    def test_a_verdict_needs_runs(self, candidate):
        """No candidate run, or no run of its head: the caller's mistake."""
        with pytest.raises(ValueError, match="needs a run"):
            judge.decide(Question(candidate, {"h": runs(HEAD)}, Noise(SIGMA, 20)))


class TestPairs:
    def test_shared_seeds_are_compared_seed_by_seed(self):
        """Where pairs are sharper they are used, and the verdict says so."""
        head = [2.40, 2.44, 2.42]
        verdict = judge.decide(pairs([x - 0.02 for x in head], head))
        assert verdict.paired
        assert verdict.d == pytest.approx(-0.02)
        assert verdict.sentence == "keep: 2.400 vs 2.420 ± 0.002 after 3 paired runs"

    def test_noisier_pairs_are_not_used(self):
        """The smaller standard error decides, before any outcome is looked at."""
        head = [2.40, 2.44, 2.42]
        assert not judge.decide(pairs(head, head, sigma_pair=0.05)).paired

    def test_other_tokens_per_step_decouple(self):
        """A candidate with another batch size saw other batches: no pairs."""
        question = pairs([2.40, 2.42], [2.41, 2.43, 2.42])
        other = tuple(replace(r, tokens_per_step=1024) for r in question.candidate)
        assert judge.decide(question).paired
        assert not judge.decide(replace(question, candidate=other)).paired

    def test_a_missing_partner_asks_for_head_runs(self):
        """The last run waits for the head's run on its seed before it is dropped."""
        question = pairs([2.30, 2.31, 2.30], [2.40, 2.41, 2.40], max_runs=3)
        short = replace(question, heads={"h": question.heads["h"][:2]})
        assert judge.decide(short).decision == "replicate"
        assert judge.decide(question).decision == "keep"

    def test_the_last_run_waits_for_its_partner(self):
        """Between the bounds at the last run: the head runs that seed first."""
        head = [2.40, 2.41, 2.40, 2.42]
        candidate = [x - 0.0021 for x in head]
        question = pairs(candidate, head, max_runs=4, sigma_pair=0.003)
        short = replace(question, heads={"h": question.heads["h"][:3]})
        assert judge.decide(short).decision == "replicate"
        assert judge.decide(question).decision == "discard"

    def test_decoupled_runs_are_not_waited_for(self):
        """A head run on that seed with other batches is no partner to wait for."""
        question = pairs([2.398] * 3, [2.40] * 3, max_runs=3, sigma=0.02)
        odd = replace(question.candidate[2], tokens_per_step=1)
        mixed = replace(question, candidate=(*question.candidate[:2], odd))
        assert judge.decide(mixed).decision == "discard"

    def test_nothing_is_proven_while_a_partner_is_missing(self):
        """The verdict that follows is made with the run that the baseline owes."""
        question = pairs([2.3] * 3, [2.4] * 3, sigma=0.01)
        odd = replace(question.candidate[2], seed=99)
        mixed = replace(question, candidate=(*question.candidate[:2], odd))
        verdict = judge.decide(mixed)
        assert (verdict.decision, verdict.proven_lower) == ("replicate", False)
        assert not verdict.proven_not_worse

    def test_the_numbers_shown_are_those_of_the_pairs(self):
        """The baseline shown is the mean over the same seeds."""
        verdict = judge.decide(pairs([2.0, 2.1], [2.2, 2.3, 9.0]))
        assert verdict.baseline.mean == pytest.approx(2.25)


class TestPrices:
    def test_added_lines_raise_the_bar(self):
        """A gain that would be kept is not worth twenty more lines."""
        values = [0.9722 - 1.6 * SIGMA] * 3
        assert judge.decide(ask(values)).decision == "keep"
        verdict = judge.decide(ask(values, added_lines=20))
        assert verdict.decision == "discard"
        assert verdict.hurdle == pytest.approx(20 * SIGMA / 8)
        assert verdict.sentence.startswith("not proven lower by 0.0009: ")

    def test_a_line_never_costs_more_than_its_share_of_the_metric(self):
        """In a noisy set-up the price is 5e-5 of the metric a line."""
        verdict = judge.decide(ask([0.9], sigma=0.1, added_lines=2))
        assert verdict.hurdle == pytest.approx(2 * 5e-5 * 0.9722)

    def test_a_scattered_candidate_earns_no_larger_credit(self):
        """Prices follow the pooled noise, not the candidate's own spread."""
        scattered = ask([0.9660, 0.9711, 0.9762], added_lines=-4)
        assert judge.decide(scattered).hurdle == pytest.approx(-4 * SIGMA / 8)

    def test_equal_with_less_code_is_kept_as_not_worse(self):
        """A simplification at the head's level is proven not worse, but not lower."""
        verdict = judge.decide(ask([0.9720, 0.9721, 0.9722], added_lines=-12))
        assert (verdict.decision, verdict.relation) == ("keep", "not distinguishable")
        assert (verdict.proven_not_worse, verdict.proven_lower) == (True, False)
        assert verdict.hurdle == pytest.approx(-SIGMA)
        assert verdict.sentence.endswith("after 3 runs, 12 lines fewer")

    def test_less_code_does_not_excuse_a_loss(self):
        """Two sigma worse is out however many lines it saves."""
        verdict = judge.decide(ask([0.9722 + 2 * SIGMA], added_lines=-50))
        assert verdict.decision == "discard"

    def test_ordinary_candidates_are_not_worse_only_if_better(self):
        """Without deleted lines `<=` asks for the same proof as `<`."""
        verdict = judge.decide(ask([0.9720, 0.9721, 0.9722]))
        assert (verdict.proven_not_worse, verdict.proven_lower) == (False, False)

    def test_memory_has_a_price_where_it_is_measured(self):
        """Forty percent more peak memory must be paid for; five percent are free."""
        values = [0.9722 - 3 * SIGMA] * 3
        assert judge.decide(ask(values, vram_ratio=1.05)).decision == "keep"
        verdict = judge.decide(ask(values, vram_ratio=1.4))
        assert verdict.decision == "discard"
        assert verdict.hurdle == pytest.approx(2.5 * SIGMA * 3.5)


class TestStopped:
    """A first run that was ended at 40 % because it could not win."""

    def test_far_behind_is_worse(self):
        """Three sigma behind by its forecast."""
        verdict = judge.stopped(ask([0.9722 + 4 * SIGMA]), judge.DEFAULT, 0.4)
        assert (verdict.decision, verdict.relation) == ("discard", "worse")
        assert verdict.sentence.startswith("discard: heading for ")
        assert verdict.sentence.endswith("; stopped at 40 % of its first run")

    @pytest.mark.parametrize("forecast", [0.9722, 0.9722 - 9 * SIGMA])
    def test_about_the_same_is_not_called_worse(self, forecast):
        """Nor is it ever proven: a forecast is no measurement."""
        verdict = judge.stopped(ask([forecast]), judge.DEFAULT, 0.4)
        assert verdict.decision == "discard"
        assert verdict.relation == "not distinguishable"
        assert not verdict.proven_lower
        assert not verdict.proven_not_worse
        assert verdict.sentence.startswith("not proven lower: heading for ")


class TestFailures:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("rule", judge.RULES.values(), ids=judge.RULES)
    def test_no_number_never_wins(self, bad, rule):
        """Whatever the rule, a run without a finite number is a discard."""
        verdict = judge.decide(ask([0.9, bad, 0.9]), rule)
        assert (verdict.decision, verdict.relation) == ("discard", "worse")
        assert not verdict.proven_lower
        assert "no number" in verdict.sentence

    def test_a_failed_repeat_ends_it(self):
        """The survivors of a run that diverged are not averaged."""
        verdict = judge.decide(ask([0.9] * 3, failed_replicate=True))
        assert (verdict.decision, verdict.proven_lower) == ("discard", False)
        assert verdict.sentence.endswith("after 3 runs, and a repeat run failed")

    def test_a_head_run_without_a_number_is_left_out(self):
        """NaN among the head's runs neither helps nor harms."""
        with_nan = judge.decide(ask([0.9711] * 3, [*HEAD, math.nan]))
        assert with_nan == judge.decide(ask([0.9711] * 3))


class TestOtherRules:
    def test_greedy_keeps_below_the_best_run(self):
        """The original's rule: one run, compared with the best so far."""
        greedy = judge.RULES["greedy"]
        lucky, worse = (judge.decide(ask([x]), greedy) for x in (0.9717, 0.9719))
        assert (lucky.decision, worse.decision) == ("keep", "discard")
        assert (lucky.rule, lucky.rule_version) == ("greedy", 2)

    def test_greedy_takes_equal_for_less_code(self):
        """An equal number is a keep only if lines go."""
        greedy = judge.RULES["greedy"]
        equal = judge.decide(ask([0.9718], added_lines=-1), greedy)
        assert (equal.decision, equal.proven_lower) == ("keep", False)
        assert judge.decide(ask([0.9718]), greedy).decision == "discard"

    def test_a_rule_of_ones_own_is_a_function(self):
        """Any callable from a question to an opinion can decide."""

        def patient(question):
            done = len(question.candidate) == 5
            return judge.Opinion("keep" if done else "replicate", done, done)

        assert judge.decide(ask([0.97] * 4), patient).decision == "replicate"
        assert judge.decide(ask([0.97] * 5), patient).rule == "patient"

    def test_constants_can_be_turned(self):
        """A stricter rule is the same rule with another bound."""
        values = [0.9722 - 1.5 * SIGMA] * 3
        strict = judge.Rule(keep_e=20.0, n_max=12, name="anytime")
        assert judge.decide(ask(values)).decision == "keep"
        assert judge.decide(ask(values), strict).decision == "replicate"


class TestVerdict:
    def test_a_keeps_effect_is_shrunken(self):
        """A winner was also lucky: its reported gain is smaller than the raw one."""
        verdict = judge.decide(ask([0.9722 - 1.5 * SIGMA] * 3))
        assert verdict.proven_lower
        error = SIGMA * math.sqrt(1 / 3 + 1 / 5)
        gains = [i * SIGMA / 500 for i in range(5000)]
        weights = [
            math.exp(-(((g + verdict.d) / error) ** 2) / 2 - g / (2 * SIGMA))
            for g in gains
        ]
        mean = dot(gains, weights) / sum(weights)
        second = dot([g * g for g in gains], weights) / sum(weights)
        assert verdict.effect == pytest.approx(-mean, rel=1e-2)
        assert verdict.effect_sd == pytest.approx(math.sqrt(second - mean**2), rel=1e-2)
        assert verdict.d < verdict.effect < 0

    def test_other_effects_are_plain_differences(self):
        """A discard reports what was measured, with its standard error."""
        verdict = judge.decide(ask([0.9741]))
        assert verdict.effect == pytest.approx(0.0019)
        assert verdict.effect_sd == pytest.approx(SIGMA * math.sqrt(1 + 1 / 5))

    @pytest.mark.parametrize(("n", "sigmas"), [(1, 1.92), (3, 1.74), (8, 1.36)])
    def test_smallest_visible_effect(self, n, sigmas):
        """About two sigma after one run, less after more."""
        verdict = judge.decide(ask([0.9722] * n))
        assert verdict.smallest_visible == pytest.approx(sigmas * SIGMA, rel=0.03)

    def test_decimals_follow_the_noise(self):
        """Numbers are shown as finely as the noise allows, whatever their size."""
        head = [1200.0, 1230.0, 1215.0]
        coarse = judge.decide(ask([1260.0], head, sigma=12.0))
        fine = judge.decide(ask([2e-6], [1e-6] * 3, sigma=2e-8))
        assert coarse.sentence == "discard: 1260 vs 1215 ± 12 after 1 run"
        assert "0.00000200 vs 0.00000100 ± 0.00000002" in fine.sentence

    @pytest.mark.parametrize("values", [[0.9711] * 3, [math.nan], [0.9741], [math.inf]])
    @pytest.mark.parametrize("rule", judge.RULES.values(), ids=judge.RULES)
    def test_round_trip_through_strict_json(self, values, rule):
        """The ledger gets back what it stored, without NaN in the JSON."""
        verdict = judge.decide(ask(values), rule)
        text = json.dumps(verdict.to_data(), allow_nan=False)
        back = judge.Verdict.from_data(json.loads(text))
        assert back.to_data() == verdict.to_data()
        assert (back.sentence, back.n) == (verdict.sentence, verdict.n)


value = st.floats(-4, 4).map(lambda z: 1 + z * SIGMA)
samples = st.lists(value, min_size=1, max_size=8)
heads = st.lists(value, min_size=1, max_size=6)


class TestProperties:
    @given(samples, heads, st.floats(0, 10))
    def test_better_runs_are_never_judged_worse(self, candidate, head, gain):
        """Lowering all of a candidate's runs never lowers its evidence."""
        worse = judge.decide(ask(candidate, head))
        better = judge.decide(ask([x - gain * SIGMA for x in candidate], head))
        order = ["discard", "replicate", "keep"]
        assert better.e_value >= worse.e_value * (1 - 1e-3)
        assume(min(abs(worse.e_value - b) for b in (1.25, 2.0)) > 1e-3)
        assert order.index(better.decision) >= order.index(worse.decision)

    @given(samples, heads, st.floats(1e-6, 1e6), st.integers(-30, 30))
    def test_units_do_not_matter(self, candidate, head, unit, lines):
        """The metric in other units, noise with it, gives the same decision."""
        here = judge.decide(ask(candidate, head, added_lines=lines))
        there = judge.decide(
            ask(
                [x * unit for x in candidate],
                [x * unit for x in head],
                SIGMA * unit,
                added_lines=lines,
            )
        )
        assert there.e_value == pytest.approx(here.e_value, rel=1e-6)
        assert (there.n, there.relation) == (here.n, here.relation)

    @given(samples, heads, st.floats(-100, 100))
    def test_the_level_does_not_matter(self, candidate, head, shift):
        """Only differences count."""
        here = judge.decide(ask(candidate, head))
        there = judge.decide(
            ask([x + shift for x in candidate], [x + shift for x in head])
        )
        assert there.e_value == pytest.approx(here.e_value, rel=1e-6)

    @given(samples, heads, st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, candidate, head, rng):
        """The same runs in another order are the same evidence."""
        question = pairs(candidate, head, SIGMA, SIGMA / 2)
        mixed = list(question.candidate)
        rng.shuffle(mixed)
        here, there = (
            judge.weigh(question),
            judge.weigh(replace(question, candidate=tuple(mixed))),
        )
        assert there.d == pytest.approx(here.d, abs=1e-12)
        assert (there.sigma, there.q) == (pytest.approx(here.sigma), here.q)

    @given(samples, heads, st.booleans())
    def test_a_keep_is_always_proven(self, candidate, head, fewer):
        """No keep without the proof, two runs at least and a head of three."""
        verdict = judge.decide(ask(candidate, head, added_lines=-9 * fewer))
        if verdict.decision == "keep":
            assert verdict.proven_not_worse
            assert verdict.e_value >= verdict.keep_e
            assert verdict.n >= (3 if verdict.e_value < 10 else 2)
            assert verdict.head_n >= 3
        assert verdict.proven_not_worse or not verdict.proven_lower


def outcomes(effect, candidates, seed):
    """Decision and number of runs of simulated candidates against an unbiased head."""
    rng = random.Random(seed)
    for _ in range(candidates):
        head = [rng.gauss(0, 1) for _ in range(5)]
        values, verdict = [], None
        while verdict is None or verdict.decision == "replicate":
            values.append(rng.gauss(effect, 1))
            verdict = judge.decide(ask(values, head, sigma=1.0, df=16.0))
        yield verdict.decision, len(values)


class TestOperatingFigures:
    def test_losers_go_at_once(self):
        """Three sigma worse: gone after one run in at least 95 of 100 cases."""
        ends = list(outcomes(3.0, 300, seed=1))
        assert sum(end == ("discard", 1) for end in ends) >= 0.95 * len(ends)

    def test_no_ops_are_rarely_kept(self):
        """No effect: kept in at most 8 of 100 cases, after few runs."""
        ends = list(outcomes(0.0, 800, seed=2))
        assert sum(decision == "keep" for decision, _ in ends) <= 0.08 * len(ends)
        assert sum(n for _, n in ends) <= 1.7 * len(ends)

    def test_large_gains_are_kept(self):
        """Three sigma better: kept in at least 85 of 100 cases."""
        ends = list(outcomes(-3.0, 200, seed=3))
        assert sum(decision == "keep" for decision, _ in ends) >= 0.85 * len(ends)
