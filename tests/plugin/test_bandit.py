"""Whose turn it is: in simulated ledgers with planted keep rates."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.bandit import (
    KEEP,
    LOSS,
    PENDING,
    WINDOW,
    Choice,
    Turn,
    chances,
    next_agent,
    stand,
)

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))  # scripts, not a package

from agent_shares import LEDGERS, Rates, share, simulated  # noqa: E402


def ended(rates: Rates, length: int = 100) -> list[list[Turn]]:
    """Many ledgers of two agents."""
    floors = {"good": 0.0, "poor": 0.0}
    return [simulated(rates, floors, seed, length) for seed in range(LEDGERS)]


def mean_share(ledgers: list[list[Turn]]) -> float:
    """Share of "good" among the latest proposals of each ledger."""
    return sum(share(turns, "good") for turns in ledgers) / len(ledgers)


@pytest.mark.parametrize(
    ("good", "poor"), [(0.3, 0.05), (0.2, 0.05), (0.1, 0.02), (0.05, 0.01)]
)
def test_the_better_one_has_70_percent_by_the_hundredth_candidate(
    good: float, poor: float
) -> None:
    """Averaged over 200 ledgers, in the last twenty of a hundred proposals."""
    ledgers = ended(lambda number: {"good": good, "poor": poor})

    assert mean_share(ledgers) >= 0.7


def test_it_changes_its_mind() -> None:
    """After a hundred proposals the good ones come from the other one."""

    def rates(number: int) -> Mapping[str, float]:
        return {"good": 0.25 * (number >= 100), "poor": 0.2 * (number < 100)}

    ledgers = ended(rates, 200)

    assert mean_share([turns[:100] for turns in ledgers]) <= 0.2
    assert mean_share(ledgers) >= 0.7


def test_equals_share() -> None:
    """Nobody is favoured by his name."""
    ledgers = ended(lambda number: {"good": 0.1, "poor": 0.1})

    assert mean_share(ledgers) == pytest.approx(0.5, abs=0.08)


def test_a_floor_holds_in_every_window() -> None:
    """However poor: a fifth is four of any twenty proposals."""
    floors = {"good": 0.0, "poor": 0.2}
    rates = {"good": 0.5, "poor": 0.0}
    names = [t.agent for t in simulated(lambda n: rates, floors, 7, 120)]

    counts = [names[i : i + WINDOW].count("poor") for i in range(120 - WINDOW)]
    assert min(counts) >= 4
    assert counts[-1] <= 6


@given(
    st.lists(st.builds(Turn, st.sampled_from("abcx"), st.sampled_from("kl"))),
    st.fixed_dictionaries({name: st.floats(0, 1 / 3) for name in "abc"}),
    st.integers(),
)
def test_it_is_a_function_of_the_ledger(
    turns: list[Turn], floors: Mapping[str, float], seed: int
) -> None:
    """The same proposals and seed: the same agent of those there are, same words."""
    turns = [Turn(t.agent, KEEP if t.outcome == "k" else LOSS) for t in turns]
    one = next_agent(turns, floors, seed)
    other = next_agent(list(turns), dict(reversed(floors.items())), seed)

    assert one == other
    assert one.agent in floors


def test_the_seed_is_the_ledgers_own() -> None:
    """Another ledger begins with another agent."""
    begun = {next_agent([], {"a": 0.0, "b": 0.0}, seed).agent for seed in range(20)}

    assert begun == {"a", "b"}


def test_the_reason_is_said_in_words() -> None:
    """Who leads is exploited, another one explored; a floor and a single one too."""
    turns = [Turn("good", KEEP)] + [Turn("good", LOSS)] * 14 + [Turn("poor", LOSS)] * 5
    said = {
        choice.agent: choice.reason
        for seed in range(200)
        for choice in [next_agent(turns, {"good": 0.0, "poor": 0.0}, seed)]
    }

    assert said["good"] == "exploit: 1 keep of 15, share 75 %"
    assert said["poor"] == "explore: 0 keeps of 5, share 25 %"
    assert next_agent(turns, {"new": 0.5, "good": 0}, 1) == Choice(
        "new", "floor of 50 %: 0 keeps of 0, share 0 %"
    )
    assert next_agent(turns, {"good": 0.0}, 1).reason.startswith("nobody else: 1 keep")


def test_what_waits_for_its_verdict_is_no_loss() -> None:
    """It counts for the share and not for the rate."""
    (one,) = stand([Turn("a", KEEP), Turn("a", PENDING)], ["a"])

    assert (one.keeps, one.decided, one.share) == (1, 1, 1.0)
    assert one.words == "1 keep of 1, share 100 %"


def test_an_old_result_counts_less() -> None:
    """After a hundred proposals of anybody, half."""
    (young,) = stand([Turn("a", KEEP)], ["a"])
    (old,) = stand([Turn("a", KEEP)] + [Turn("b", LOSS)] * 100, ["a"])

    assert young.posterior[0] - 0.5 == pytest.approx(1.0)
    assert old.posterior[0] - 0.5 == pytest.approx(0.5)


def test_the_chance_to_be_the_best_adds_up() -> None:
    """It is what the share tends to."""
    turns = [Turn("good", KEEP)] * 5 + [Turn("poor", LOSS)] * 20
    found = chances(stand(turns, ["good", "poor", "new"]), seed=1)

    assert sum(found.values()) == pytest.approx(1.0)
    assert found["good"] > 0.8 > found["new"] > found["poor"]
