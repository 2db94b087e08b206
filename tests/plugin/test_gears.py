"""When a search is stuck: pauses, gears, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import gears
from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.tried import Tried


def tried(number: int, verdict: str = "discard", **more: Any) -> Tried:
    """One idea about the learning rate, unless `more` says otherwise."""
    given = {"category": "learning-rate", **more}
    return Tried(number, "t", f"s{number}", (), verdict=verdict, **given)


def row(*verdicts: str, start: int = 1, **more: Any) -> list[Tried]:
    """Ideas with these verdicts, one after the other."""
    return [tried(n, verdict, **more) for n, verdict in enumerate(verdicts, start)]


FAILED = row(*["discard"] * 6, "crash", "refused")


def test_eight_failures_in_a_row_pause_a_category() -> None:
    """Seven do not, nor do eight with a keep among them, nor hand-written ones."""
    assert gears.paused(FAILED) == ("learning-rate",)
    assert gears.paused(FAILED[1:]) == ()
    assert gears.paused(row(*["discard"] * 4, "keep", *["discard"] * 7)) == ()
    assert gears.paused(row(*["discard"] * 8, generated=False)) == ()


def test_other_is_no_category() -> None:
    """What says nothing of its kind cannot be paused by its kind."""
    assert gears.paused(row(*["discard"] * 20, category="other")) == ()


def test_a_pause_ends_after_eight_proposals() -> None:
    """Those that wait count already; afterwards eight more failures are needed."""
    later = [tried(n, "running", category="batch") for n in range(9, 17)]
    assert gears.paused([*FAILED, *later[:7]]) == ("learning-rate",)
    assert gears.paused([*FAILED, *later]) == ()
    again = row(*["discard"] * 7, start=17)
    assert gears.paused([*FAILED, *later, *again]) == ()
    assert gears.paused([*FAILED, *later, *again, tried(24)]) == ("learning-rate",)


def test_refused_answers_count_towards_the_end_of_a_pause() -> None:
    """Who has ideas of one category only is not refused for ever."""
    assert gears.paused(FAILED, refused=7) == ("learning-rate",)
    assert gears.paused(FAILED, refused=8) == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(CATEGORIES),
            st.sampled_from(["keep", "discard", "crash", "refused", "running"]),
        ),
        max_size=120,
    )
)
def test_something_is_always_left_to_propose(past: list[tuple[str, str]]) -> None:
    """Whatever was tried, not every category is paused, and one can be asked for."""
    known = [tried(n, v, category=c) for n, (c, v) in enumerate(past, start=1)]
    paused = gears.paused(known)
    assert len(paused) < len(CATEGORIES) - 1
    assert gears.wanted(known, paused, gears.STUCK) not in ("other", *paused)


NEAR = {"effect": -0.002, "effect_sd": 0.002, "unclear": True}


def test_a_plateau_changes_gear_and_a_keep_changes_it_back() -> None:
    """Twelve decided without a keep: another gear, each for six, then round again."""
    names = [
        gears.gear([tried(0, "keep"), *row(*["discard"] * n, **NEAR)], 1.0)
        for n in (0, 11, 12, 17, 18, 24, 30, 36, 42)
    ]
    assert names == [
        *["explore"] * 2,
        *["recombine"] * 2,
        "larger steps",
        "simplify",
        "ablate",
        "explore",
        "recombine",
    ]
    kept = [*row(*["discard"] * 20), tried(21, "keep")]
    assert gears.gear(kept, 1.0) == "explore"


def test_a_gear_needs_something_to_work_on() -> None:
    """Nothing to recombine without near misses, nothing to take back without a keep,
    and nothing to simplify while that is paused."""
    past = [row(*["discard"] * n) for n in range(12, 60)]
    names = {gears.gear(one, 1.0) for one in past}
    assert names == {"larger steps", "simplify", "explore"}
    names = {gears.gear(one, 1.0, ("simplification",)) for one in past}
    assert names == {"larger steps", "explore"}


def test_what_waits_does_not_wear_a_gear_out() -> None:
    """Only decided candidates are counted."""
    assert gears.gear(row(*["running"] * 50), 1.0) == "explore"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_near_misses_are_on_the_promising_side(sign: float) -> None:
    """Not distinguishable and towards better, the most promising first."""
    past = [
        tried(1, effect=-sign * 0.001, effect_sd=0.002, unclear=True),
        tried(2, effect=-sign * 0.003, effect_sd=0.002, unclear=True),
        tried(3, effect=sign * 0.001, effect_sd=0.002, unclear=True),
        tried(4, effect=-sign * 0.9, effect_sd=0.002),
        tried(5, "keep", effect=-sign * 0.9, effect_sd=0.002),
    ]
    assert [one.number for one in gears.near_misses(past, sign)] == [2, 1]
    bundle = tried(9, "running", parts=(2, 3))
    assert [one.number for one in gears.near_misses([*past, bundle], sign)] == [1]


def test_refused_answers_in_a_row_ask_for_another_category() -> None:
    """From the third on the least tried one, with each further answer the next."""
    past = [tried(n, category=c) for n, c in enumerate(CATEGORIES[2:], start=1)]
    found = [gears.wanted(past, ("attention",), n) for n in range(5)]
    assert found == ["", "", "", "architecture", "batch"]


def test_people_are_told_in_words() -> None:
    """The gear, and what is paused."""
    assert gears.words("explore", ()) == "the proposer's gear: explore"
    said = gears.words("simplify", ("batch",))
    assert said == (
        "the proposer's gear: simplify, since nothing was kept for a while; paused "
        "after 8 failures in a row: batch"
    )
