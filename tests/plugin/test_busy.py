"""How busy lanes were: a function of the ledger's rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import busy


def row(owner: str, started: float, finished: float, reason: str = "") -> dict:
    """A row of a run, or of a wait if there is a reason."""
    return {
        "owner": owner,
        "started": started,
        "finished": finished,
        **({"reason": reason} if reason else {}),
    }


def test_time_of_lanes_is_runs_waits_and_the_rest() -> None:
    """Two lanes: 190 s, of which 150 in runs, 30 in waits."""
    runs = [row("a", 0, 60), row("a", 70, 100), row("b", 40, 100)]
    waits = [row("b", 10, 40, "the baseline, which another process measures")]
    found = busy.occupancy(runs, waits)

    assert found.seconds == 190
    assert found.share == pytest.approx(150 / 190)
    assert found.between == 10
    assert busy.words(found) == (
        "78.9 % from lanes' first runs to their last; 15.8 % waiting for the baseline, "
        "5.3 % between runs"
    )


def test_a_busy_lane_has_nothing_to_explain() -> None:
    """What is nothing is not listed, and no rows are no time."""
    said = busy.words(busy.occupancy([row("a", 0, 5)], []))
    assert said == "100.0 % from lanes' first runs to their last"
    assert busy.occupancy([], []).share == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["", "x", "y"]), st.floats(0, 1e4)
        ),
        min_size=1,
    )
)
def test_shares_add_up(spans: list[tuple[str, str, float]]) -> None:
    """Rows of one lane follow each other: together they are its time."""
    ends, runs, waits = {"a": 0.0, "b": 0.0}, [], []
    for owner, reason, seconds in spans:
        one = row(owner, ends[owner], ends[owner] + seconds, reason)
        (waits if reason else runs).append(one)
        ends[owner] += seconds
    found = busy.occupancy(runs, waits)

    assert found.runs + sum(found.waits.values()) == pytest.approx(found.seconds)
    assert found.between == pytest.approx(0, abs=1e-6)
