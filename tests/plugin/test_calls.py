"""Requests in threads: several at once, one thread for who is asked once at a time."""

from __future__ import annotations

import threading
from typing import Any

from autoresearch_plugin.calls import Calls
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import Answer

REQUEST = Request("train.py", "LR = 1\n", "abc", "score", "min")


class Slow:
    """Answers when it is told to; knows by whom it was asked."""

    name = "slow"

    def __init__(self) -> None:
        self.may = threading.Semaphore(0)
        self.threads: list[int] = []

    def propose(self, request: Request) -> Answer:
        self.threads.append(threading.get_ident())
        assert self.may.acquire(timeout=20)
        if request.count == 13:
            raise SystemExit("a library that leaves")
        return Answer()


def collect(calls: Calls, wake: threading.Event, count: int) -> list[Any]:
    """Wait until that many have ended."""
    done: list[Any] = []
    while len(done) < count:
        assert wake.wait(20)
        wake.clear()
        done += calls.finished()
    return done


def test_several_are_under_way_at_once() -> None:
    """Starting waits for nobody; each answer is handed over once."""
    wake, slow, closed = threading.Event(), Slow(), threading.Semaphore(0)
    calls = Calls(wake, closed.release)
    for _ in range(3):
        calls.start(slow, REQUEST)
    assert len(calls.under_way) == 3
    assert calls.finished() == []
    slow.may.release(3)
    done = collect(calls, wake, 3)

    assert [asked.answer for asked in done] == [Answer()] * 3
    assert all(asked.seconds >= 0 for asked in done)
    assert calls.under_way == []
    assert len(set(slow.threads)) == 3
    calls.close()
    assert all(closed.acquire(timeout=20) for _ in range(3))


def test_who_is_asked_once_at_a_time_meets_one_thread() -> None:
    """So that what a class of the user's own keeps for its thread goes on working."""
    wake, slow = threading.Event(), Slow()
    calls = Calls(wake, lambda: None)
    for _ in range(4):
        calls.start(slow, REQUEST)
        slow.may.release()
        collect(calls, wake, 1)
    calls.close()

    assert len(set(slow.threads)) == 1


def test_an_error_is_an_outcome() -> None:
    """Even that of a library that wants to end its thread."""
    from dataclasses import replace

    wake, slow = threading.Event(), Slow()
    calls = Calls(wake, lambda: None)
    slow.may.release(2)
    calls.start(slow, replace(REQUEST, count=13))
    (asked,) = collect(calls, wake, 1)
    calls.start(slow, REQUEST)
    (after,) = collect(calls, wake, 1)
    calls.close()

    assert isinstance(asked.error, SystemExit)
    assert after.answer == Answer()


def test_who_is_asked_once_at_a_time_shares_no_thread() -> None:
    """Not with another one, which is asked in between either."""
    wake, one, other = threading.Event(), Slow(), Slow()
    calls = Calls(wake, lambda: None)
    for slow in (one, other, one, other, one):
        calls.start(slow, REQUEST)
        slow.may.release()
        collect(calls, wake, 1)
    calls.close()

    assert len(set(one.threads)) == len(set(other.threads)) == 1
    assert set(one.threads).isdisjoint(other.threads)
