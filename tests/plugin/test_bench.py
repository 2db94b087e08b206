"""The simulator of decision rules: its accounting, and how its policies behave."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_plugin import early, judge
from autoresearch_plugin.bench import audit, explore, table
from autoresearch_plugin.bench.bundling import NearMisses
from autoresearch_plugin.bench.judged import HOPELESS, Judged, Pool, Stopping
from autoresearch_plugin.bench.policies import POLICIES
from autoresearch_plugin.bench.rivals import Greedy
from autoresearch_plugin.bench.simulation import (
    OVERHEAD,
    Answer,
    Ask,
    Idea,
    Lane,
    Session,
)
from autoresearch_plugin.bench.worlds import REFERENCE, WORLDS, World
from autoresearch_plugin.evidence import Prior, Run, e_value, pooled_noise


def session(policy, world=REFERENCE, devices=1, hours=4.0, seed=0) -> Session:
    """One finished session."""
    return Session(world, policy, devices, hours, random.Random(seed)).run()


# ------------------------------------------------------------------------ the worlds


@given(st.sampled_from(sorted(WORLDS)), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_ideas_are_as_good_as_their_world_says(name, seed):
    """The share of clear gains is that of the mixture."""
    world, rng = WORLDS[name], random.Random(seed)
    effects = [world.effect(rng, 10**6, 0.0) for _ in range(2000)]
    clear = 3 * world.null_sd + 1e-9
    expected = 2000 * world.good * math.exp(-clear / world.good_mean)
    found = sum(effect < -clear for effect in effects)
    assert abs(found - expected) < 6 * math.sqrt(expected + 1)


@pytest.mark.parametrize("changes", [{}, {"t_df": 5}])
def test_noise_has_the_unit_as_its_sd(changes):
    """Sigma is the unit of everything, heavy tails or not."""
    state = Session(World(**changes), Greedy(), 1, 1.0, random.Random(1))
    values = [state._noise() for _ in range(40_000)]
    assert abs(statistics.fmean(values)) < 0.03
    assert abs(statistics.pstdev(values) - 1) < 0.05


def test_an_interim_score_correlates_as_its_world_says():
    """Of ideas without an effect, at 40 % of the budget."""
    state = Session(World(crossing=0.0), Greedy(), 1, 1.0, random.Random(2))
    pairs = [state._outcome(Ask(head=0), 0.0)[1] for _ in range(20_000)]
    finals = [answer.value for answer in pairs]
    interims = [answer.interim for answer in pairs]
    assert statistics.correlation(finals, interims) == pytest.approx(0.8, abs=0.01)


# ------------------------------------------------------------------------- the clock


class Sleeper:
    """Runs the baseline for ever and decides nothing."""

    def lane(self, session: Session) -> Lane:
        while not session.over:
            yield Ask(head=0)

    def claimed(self) -> float:
        return 0.0


@pytest.mark.parametrize("devices", [1, 4])
def test_device_time_is_what_was_given(devices):
    """Hours are of all devices together; a run that began is finished."""
    ran = session(Sleeper(), devices=devices, hours=8.0)
    runs = 8.0 * 3600 / 300
    assert runs <= ran.used < runs + devices * (1 + OVERHEAD)
    assert ran.spent["baseline"] == pytest.approx(ran.used)


def test_a_stopped_run_costs_its_part():
    """40 % of the budget and no scoring, and it gives no number."""
    state = Session(REFERENCE, Sleeper(), 1, 1.0, random.Random(0))
    idea = Idea(1.0, 0, crashes=False, misleading=0.0)
    cost, answer = state._outcome(Ask(idea, stops=lambda interim: True), 0.0)
    assert cost == pytest.approx(0.4 + 0.6 * OVERHEAD)
    assert answer.value is None


def test_a_keep_needs_the_head_that_it_is_on():
    """Otherwise the truth and the tally would part."""
    state = Session(REFERENCE, Sleeper(), 1, 1.0, random.Random(0))
    state.keep(Idea(-1.0, 0, crashes=False, misleading=0.0))
    assert (state.gain, state.head) == (1.0, 1)
    with pytest.raises(AssertionError):
        state.keep(Idea(-1.0, 0, crashes=False, misleading=0.0))


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("devices", [1, 3])
def test_every_policy_ends_and_adds_up(name, devices):
    """The gain is the sum of the kept effects, whoever decides on however many."""
    ran = session(POLICIES[name](), devices=devices, hours=3.0, seed=5)
    assert ran.gain == pytest.approx(-sum(ran.standing))
    assert sum(kept for _, kept, _ in ran.decided) == len(ran.standing)
    assert sum(ran.spent.values()) == pytest.approx(ran.used)
    assert len(ran.decided) > 5
    assert math.isfinite(ran.policy.claimed())


@pytest.mark.parametrize("name", ["default", "greedy, stops early"])
def test_a_session_is_a_function_of_its_seed(name):
    """So that a table can be made again."""
    once, again = (session(POLICIES[name](), seed=3) for _ in range(2))
    other = session(POLICIES[name](), seed=4)
    assert once.decided == again.decided
    assert once.decided != other.decided


# ------------------------------------------------------------------- the shipped rule


def test_the_noise_is_pooled_as_the_judge_pools_it():
    """What is kept of each group gives what `evidence.pooled_noise` gives."""
    pool = Pool(1.0)
    groups = [[0.1, 0.5, -0.2], [1.0], [2.0, 2.5]]
    for key, group in enumerate(groups):
        for count in range(1, len(group) + 1):
            pool.put(key, group[:count])
    expected = pooled_noise(groups, 1.0, Prior(1.0, 4.0))
    assert pool.noise.sigma == pytest.approx(expected.sigma)
    assert pool.noise.df == expected.df


def test_every_idea_has_its_own_place_in_the_pool():
    """Also one that takes the memory of another: so many runs, so many degrees."""
    policy = Judged(early_stop=False)
    ran = session(policy, hours=10.0)
    runs = sum(max(0, r - 1) for effect, _, r in ran.decided if effect < math.inf)
    own = [
        len(values) - len(policy._inherited.get(head, []))
        for head, values in policy._heads.items()
    ]
    heads = sum(max(0, count - 1) for count in own)
    assert policy._noise.noise.df - 4 == runs + heads


@pytest.mark.parametrize("value", [1.0, 0.0, -0.5, -0.8, -0.9, -1.0, -1.2, -2.0, -9.0])
def test_a_shortcut_decides_as_the_judge_does(value):
    """Small gains need no e-value to be out."""
    policy = Judged()
    policy._heads[0] = [Run(x, -1, "0") for x in (0.0, 0.1, -0.1)]
    runs = [Run(value, 0, "0")]
    asked = judge.decide(policy._question(0, runs))
    assert policy._decision(0, runs, judge.DEFAULT) == asked.decision


@given(st.floats(0.2, 3.0), st.floats(4.0, 500.0))
@settings(max_examples=40, deadline=None)
def test_a_hopeless_gain_is_hopeless_whatever_is_known(kappa, df):
    """The bound that spares the simulator e-values is below every threshold."""
    assert e_value(HOPELESS, kappa, df) < judge.DEFAULT.go_e


def test_a_large_gain_is_kept_after_two_runs():
    """And the new baseline has the one that did not choose it."""
    policy = Judged()
    state = Session(World(), policy, 1, 1e9, random.Random(0))
    lane = policy._try(state, Idea(-9.0, 0, crashes=False, misleading=0.0))
    ask = next(lane)
    with contextlib.suppress(StopIteration):
        while True:
            value = 0.0 if ask.idea is None else -9.0
            ask = lane.send(Answer(value, value))
    assert state.keeps == [-9.0]
    values = {head: [r.value for r in runs] for head, runs in policy._heads.items()}
    assert values == {0: [0.0] * 3, 1: [-9.0]}


def test_a_weak_keep_puts_the_rule_on_guard():
    """After a tentative keep the next one needs more."""
    policy = Judged()
    state = Session(World(), policy, 1, 1e9, random.Random(0))
    policy._heads[0] = [Run(0.0, 0, "0")] * 3
    idea = Idea(-1.0, 0, crashes=False, misleading=0.0)
    policy._keep(state, idea, [Run(-1.28, 0, "0")] * 3)
    assert judge.grade(policy.kept_e[0]) == "tentative"
    assert policy._rule_now().keep_e == judge.DEFAULT.guarded_e


# ------------------------------------------------------------------------------- pairs


def test_what_a_seed_does_is_common_to_all_commits():
    """Its share of the variance, in the score of the end and in that of the middle."""
    world = World(seed_share=0.95, crossing=0.0)
    state = Session(world, Greedy(), 1, 1.0, random.Random(3))
    first, second = (
        [state._outcome(Ask(head=0, seed=s), 0.0)[1] for s in range(4000)]
        for _ in range(2)
    )
    values = [(a.value, b.value) for a, b in zip(first, second, strict=True)]
    middles = [(a.interim, b.interim) for a, b in zip(first, second, strict=True)]
    assert statistics.pstdev(a for a, _ in values) == pytest.approx(1, abs=0.04)
    apart = statistics.pstdev(a - b for a, b in values)
    assert apart == pytest.approx(math.sqrt(0.1), abs=0.01)
    assert statistics.correlation(*zip(*middles, strict=True)) > 0.93


@pytest.mark.parametrize(("share", "paired"), [(0.95, True), (0.0, False)])
def test_pairs_are_used_where_they_are_sharper(share, paired):
    """Whether a bank of seeds is kept or not."""
    policy = Judged(paired=True)
    ran = session(policy, World(seed_share=share), hours=30.0, seed=4)
    assert policy._pairs is not None
    pairs = math.sqrt(2 * (1 - share))
    assert policy._pairs.noise.sigma == pytest.approx(pairs, rel=0.25)
    head = next(head for head, runs in policy._heads.items() if len(runs) >= 3)
    run = Run(0.0, policy._seed(head, 0), str(head))
    assert policy._evidence(head, [run]).paired is paired
    assert len(policy._stopping_pairs.residuals) > 12
    assert ran.keeps


# --------------------------------------------------------------------------- stopping


def test_a_stop_is_that_of_the_shipped_rule():
    """What is remembered of experience gives what `early` gives, also after more."""
    stopping, rng = Stopping(), random.Random(0)
    for _ in range(40):
        stopping.residuals.append(rng.gauss(0.1, 0.8))
        interim = rng.gauss(0, 2)
        experience = early.Experience(stopping.residuals, stopping.spared)
        expected = experience.forecast(interim - 0.5, 1.0)
        found = stopping.forecast(interim - 0.5, 1.0)
        assert (found is None) is (expected is None)
        if found is not None and expected is not None:
            assert found == pytest.approx(expected)


def test_a_loser_is_stopped_and_some_are_spared():
    """One in twenty runs on."""
    stopping = Stopping(residuals=[0.1] * 12)
    stopped = 0
    for seed in range(400):
        stops, spared = stopping.stopper(lambda x: x > 0, 1.0, random.Random(seed))
        assert not stops(0.15)
        stopped += stops(9.0)
        assert stops(9.0) is not spared or len(spared) <= 2
    assert 360 < stopped < 398


def test_a_repeat_is_not_stopped_unless_asked():
    """Only the first run of a candidate is looked at in its middle."""
    for policy, looked in ((Judged(), False), (Judged(stop_repeats=True), True)):
        state = Session(World(), policy, 1, 1e9, random.Random(0))
        runs = [Run(-3.0, 0, "0")]
        policy._heads[0] = [Run(0.0, 0, "0")] * 3
        stops, _, _ = policy._stopper(state, 0, judge.DEFAULT, runs, 1)
        assert (stops is not None) is looked


# ------------------------------------------------------------------------- taking back


def test_a_keep_can_be_taken_back():
    """The level returns, and the candidate counts as dropped."""
    state = Session(World(interaction=0.0), Sleeper(), 1, 1.0, random.Random(0))
    for effect in (-1.0, -2.0):
        idea = Idea(effect, state.head, crashes=False, misleading=0.0)
        state.keep(idea)
    state.revert(0)
    assert (state.gain, state.standing) == (2.0, [-2.0])
    assert [kept for _, kept, _ in state.decided] == [False, True]


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_leaving_out_is_what_taking_back_does(seed):
    """A run without some keeps has the level that a baseline without them has."""
    state = Session(World(), Sleeper(), 1, 1.0, random.Random(seed))
    for effect in (-1.0, -2.0, 0.5, -0.3):
        state.keep(Idea(effect, state.head, crashes=False, misleading=0.0))
    level, change = state.levels[-1], state._without(frozenset({0, 2}))
    state.revert(0)
    state.revert(2)
    assert state.levels[-1] == pytest.approx(level + change)
    assert state.gain == pytest.approx(-sum(state.standing))


# ---------------------------------------------------------------------------- explore


@pytest.mark.parametrize("units", [1, 7, 11, 12, 23, 30])
def test_a_design_leaves_everything_out_as_often_as_not(units):
    """Every unit is off in half of the runs, and enough of them for all units."""
    rows = explore._design(units, random.Random(0))
    assert len(rows) > units
    for column in zip(*rows, strict=True):
        assert sum(column) == len(rows) / 2


@pytest.mark.parametrize("units", [2, 11, 19, 23])
def test_units_of_a_design_do_not_disturb_each_other(units):
    """Any two are on together in a quarter of the runs."""
    rows = explore._design(units, random.Random(0))
    columns = list(zip(*rows, strict=True))
    for one, other in itertools.combinations(columns, 2):
        both = sum(a and b for a, b in zip(one, other, strict=True))
        assert both == len(rows) / 4


def test_explore_proves_what_it_keeps():
    """Of what stands at the end less is false than of what greedy keeps."""
    one = [session(explore.Explore(), hours=20.0, seed=seed) for seed in range(10)]
    other = [session(Greedy(), hours=20.0, seed=seed) for seed in range(10)]

    def false(sessions: list[Session]) -> float:
        standing = [effect for state in sessions for effect in state.standing]
        return sum(effect >= 0 for effect in standing) / len(standing)

    assert false(one) < 0.6 * false(other)
    assert sum(state.gain for state in one) > 0


# --------------------------------------------------------------------------- the audit


@pytest.mark.parametrize("paired", [False, True])
def test_the_audit_covers_the_truth(paired):
    """Its interval is meant for 95 %; forty sessions can tell that from 80 %."""
    place = table.Place("shared seeds" if paired else "reference", gpu_hours=8.0)
    found = audit.coverage(place, 4, range(40), paired)
    assert found.covered > 0.85
    assert abs(found.error) < 0.5
    assert found.half_width < (0.8 if paired else 2.5)


# -------------------------------------------------------------------------- proposals


def five(state: Session, near: NearMisses, gains=(1.0, 1.0, 1.0, 1.0, 1.0)) -> None:
    """Near misses of a session, numbered from 1."""
    for number, gain in enumerate(gains, 1):
        idea = Idea(-1.0, 0, crashes=False, misleading=0.0, number=number)
        state._places[number] = len(state.decided)
        state.decided.append((-1.0, False, 1))
        near.offer(idea, gain)
    state._ideas = len(gains)


def test_near_misses_that_conflict_wait_for_others():
    """As in the plugin: none is lost, and no bundle is smaller than it should be."""
    state = Session(World(conflict=1.0), Judged(), 1, 1e9, random.Random(0))
    near = NearMisses(5)
    five(state, near)
    assert near.take(state) is None
    state.world = World(conflict=0.0)
    state._conflicts.clear()
    bundle = near.take(state)
    assert bundle is not None
    assert [part.number for part in bundle.parts] == [1, 2, 3, 4, 5]
    assert near.take(state) is None


def test_what_a_bundle_does_to_its_parts_ends_with_it():
    """They come back as they were, once, the better ones of them."""
    state = Session(World(conflict=0.0), Judged(), 1, 1e9, random.Random(0))
    near = NearMisses(5)
    five(state, near, (2.0, 1.5, 1.0, 0.5, 0.3))
    first = near.take(state)
    assert first is not None
    assert [part.effect for part in first.parts] != [-1.0] * 5
    near.offer(first, -1.0)
    assert [idea.number for _, idea in near._waiting] == [1, 2, 3]
    assert [idea.effect for _, idea in near._waiting] == [-1.0] * 3
    near.size = 3
    again = near.take(state)
    assert again is not None
    near.offer(again, -1.0)
    assert near._waiting == []


def test_a_baseline_of_pairs_begins_with_the_runs_of_its_candidate():
    """And the next candidate meets their seeds."""
    policy = POLICIES["default, paired"]()
    assert isinstance(policy, Judged)
    ran = session(policy, World(seed_share=0.95), hours=8.0)
    assert ran.keeps
    for head, seeds in policy._inherited.items():
        assert seeds == [run.seed for run in policy._heads[head][: len(seeds)]]
        assert policy._seed(head, 0) == seeds[0]
    assert ran.spent["baseline"] < 0.2 * ran.used


@given(st.integers(1, 60))
def test_an_audit_of_many_keeps_is_balanced(units):
    """Each is left out in half of the runs, and there are more runs than keeps."""
    rows = explore._design(units, random.Random(units))
    assert units < len(rows) <= max(12, 2 * units)
    for column in zip(*rows, strict=True):
        assert 2 * sum(column) == len(rows)


def test_provisional_keeps_are_told_apart():
    """One design of twelve runs finds the improvements among eleven changes."""
    policy = explore.Explore(rounds=1)
    state = Session(World(interaction=0.0), policy, 1, 1e9, random.Random(1))
    effects = [-4.0, 1.0] * 5 + [-4.0]
    for effect in effects:
        state.keep(Idea(effect, state.head, crashes=False, misleading=0.0))
    policy._start(state, [explore.Unit([k]) for k in range(11)])
    while policy._rows:
        row = policy._row(state)
        ask = next(row)
        with contextlib.suppress(StopIteration):
            row.send(state.measure(ask))
    assert state.standing == [-4.0] * 6
