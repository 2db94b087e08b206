"""How far is asked ahead: bounds, and lanes that are busy in a simulated session."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import ahead

SECONDS = st.floats(0.001, 10_000)


def simulated(
    lanes: int, answer: float, candidate: float, *, each: float = 0.0, broad: bool
) -> tuple[float, int]:
    """Busy share of lanes after the first candidate's end, and the deepest queue.

    An answer takes `answer` seconds and `each` more for each further proposal.
    """
    now, queued, idle, deepest, busy = 0.0, 0, lanes, 0, 0.0
    taken: list[tuple[float, int]] = []
    events: list[tuple[float, int]] = []  # (when, proposals that come, 0: a lane ends)
    calls: list[int] = []
    end = 12 * candidate
    while now < end:
        tempo = ahead.tempo(taken[-8:], [candidate] * bool(taken), candidate)
        missing = ahead.depth(lanes, tempo) - queued - sum(calls)
        starving = idle - queued - sum(calls)
        most, count = ahead.plan(lanes, tempo, max(0, missing), starving, broad)
        while missing > 0 and len(calls) < most:
            calls.append(min(count, missing))
            missing -= calls[-1]
            seconds = answer + each * (calls[-1] - 1)
            heapq.heappush(events, (now + seconds, calls[-1]))
        deepest = max(deepest, queued)
        start = min(idle, queued)
        idle, queued = idle - start, queued - start
        for _ in range(start):
            heapq.heappush(events, (now + candidate, 0))
        before, (now, came) = now, heapq.heappop(events)
        if now > 2 * candidate:
            since = max(before, 2 * candidate)
            busy += (lanes - idle) * (min(now, end) - since)
        if came:
            calls.remove(came)
            queued += came
            taken.append((answer + each * (came - 1), came))
        else:
            idle += 1
    return busy / (lanes * (end - 2 * candidate)), deepest


@pytest.mark.parametrize("lanes", [1, 8, 64])
@pytest.mark.parametrize("each", [60.0, 10.0])
def test_lanes_are_busy_while_a_model_thinks(lanes: int, each: float) -> None:
    """60 s of thought, candidates of 300 s: all busy, at most two waiting a lane."""
    share, deepest = simulated(lanes, 60, 300, each=each, broad=True)

    assert share >= 0.97
    assert deepest <= 2 * lanes


@pytest.mark.parametrize("lanes", [1, 4])
def test_one_answer_at_a_time_is_made_longer(lanes: int) -> None:
    """Who can be asked once at a time is asked for several proposals."""
    share, _ = simulated(lanes, 60, 150, each=5, broad=False)

    assert share >= 0.97


@given(st.integers(1, 200), SECONDS, SECONDS, SECONDS)
def test_the_queue_is_bounded(
    lanes: int, answer: float, each: float, run: float
) -> None:
    """One to two proposals a lane, whatever was measured."""
    depth = ahead.depth(lanes, ahead.Tempo(answer, each, run, measured=True))

    assert lanes <= depth <= ahead.DEEPEST * lanes


@given(
    *(st.integers(1, 200), SECONDS, SECONDS, st.integers(1, 400)),
    *(st.integers(-400, 200), st.booleans()),
)
def test_calls_are_bounded(
    lanes: int, each: float, run: float, missing: int, starving: int, broad: bool
) -> None:
    """Never more at once than allowed, never more asked for than is missing."""
    tempo = ahead.Tempo(each, each, run, measured=True)
    calls, count = ahead.plan(lanes, tempo, missing, starving, broad)

    assert 1 <= calls <= (ahead.CALLS if broad else 1)
    assert 1 <= count <= min(ahead.COUNT, missing)


@given(st.integers(1, 32), st.integers(0, 80), st.integers(0, 80))
def test_a_provider_in_trouble_is_not_asked_without_end(
    most: int, late: int, others: int
) -> None:
    """Late calls do not stand in the way of others; together at most twice as many."""
    started = len(ahead.startable(most, late, others))

    assert others + started <= max(most, others)
    assert started == 0 or late + others + started <= 2 * most
    if late <= most and others < most:
        assert others + started == most


def test_a_call_is_late_after_three_times_the_usual() -> None:
    """Nothing is, before there was an answer."""
    tempo = ahead.Tempo(20.0, 20.0, 300.0, measured=True)

    assert [ahead.is_late(tempo, seconds) for seconds in (59.0, 61.0)] == [False, True]
    assert not ahead.is_late(ahead.Tempo(), 1e6)


def test_a_fast_search_is_asked_for_one_at_a_time() -> None:
    """Then each proposal knows all earlier results but those under way."""
    tempo = ahead.tempo([(0.1, 1)] * 3, [60.0], 60.0)

    assert ahead.plan(8, tempo, 9, 0, broad=False) == (1, 1)
    assert ahead.depth(8, tempo) == 9


def test_tempo_is_what_was_measured() -> None:
    """Medians and means of the latest; without an answer the usual ones."""
    measured = ahead.tempo([(10, 1), (30, 4), (20, 0)], [100, 300], 50)

    assert measured == ahead.Tempo(20, 12, 200, measured=True)
    assert ahead.tempo([(10, 1)], [], 50).candidate == 50
    assert ahead.tempo([], [1.0], 1.0) == ahead.Tempo()


@pytest.mark.parametrize(
    ("answer", "seconds"), [(1.0, 10.0), (20.0, 40.0), (500.0, 120.0)]
)
def test_patience_follows_the_usual_answer(answer: float, seconds: float) -> None:
    """Twice the usual answer, within bounds; the first one gets most."""
    assert ahead.patience(ahead.Tempo(answer, measured=True)) == seconds
    assert ahead.patience(ahead.Tempo(answer)) == ahead.MOST_PATIENCE


def test_pauses_double_until_there_is_an_answer() -> None:
    """60 s, 120 s ... an hour; an answer resets them; jitter only shortens."""
    rest, now, pauses = ahead.Rest(), 1000.0, []
    for _ in range(9):
        rest.begin(now, now, 0.0)
        pauses.append(rest.until - now)
        now = rest.until
    rest.end()
    rest.begin(now, now, 1.0)

    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert rest.until - now == 45


def test_what_the_provider_asks_for_is_the_least() -> None:
    """`retry-after` may be longer than our own pause."""
    rest = ahead.Rest()
    rest.begin(0.0, 0.0, 0.5, 7200.0)

    assert rest.until == 7200


def test_calls_that_fail_together_count_once() -> None:
    """Sixteen refused at once are one outage, told once, and no pause of weeks."""
    rest = ahead.Rest()
    news = [rest.begin(10.0 + n, 0.0, 0.0) for n in range(16)]

    assert news == [True] + [False] * 15
    assert rest.until == 70
    assert math.isclose(rest.since or 0, 10.0)
