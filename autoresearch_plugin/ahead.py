"""How far to ask ahead of the lanes, and how long a lane may wait. No I/O.

By Little's law as many proposals must be on the way as lanes use up while one is being
written: lanes * seconds of an answer / seconds of a candidate. One more for each lane
waits in the queue, since lanes may come free all at once. More would go stale.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

DEEPEST = 2  # proposals for each lane, queued and asked for together
CALLS = 32  # requests at once, if the proposer can take more than one
BROAD = 4  # of those before an answer is asked for more than one proposal
COUNT = 4  # proposals in one answer
SPARE = 1.25  # of the requests that the law asks for: some answers are of no use
LATE = 3.0  # times what an answer takes; a call under way for longer is not counted on
LEAST_PATIENCE = 10.0  # seconds that a lane waits before something else fills in
MOST_PATIENCE = 120.0
USUAL_ANSWER, USUAL_CANDIDATE = 60.0, 300.0  # seconds, until they were measured


@dataclass(frozen=True)
class Tempo:
    """What was measured lately: seconds of an `answer`, of `each` proposal in it, and
    that a `candidate` holds its lane."""

    answer: float = USUAL_ANSWER
    each: float = USUAL_ANSWER
    candidate: float = USUAL_CANDIDATE
    measured: bool = False  # whether there was an answer yet


def tempo(
    answers: Sequence[tuple[float, int]], candidates: Sequence[float], usual: float
) -> Tempo:
    """The tempo from pairs (seconds, proposals) of answers and seconds of candidates;
    `usual` is what a candidate takes as long as none has ended."""
    if not answers:
        return Tempo()
    candidate = max(1e-3, statistics.fmean(candidates) if candidates else usual)
    seconds = [taken for taken, _ in answers]
    each = sum(seconds) / max(1, sum(count for _, count in answers))
    return Tempo(statistics.median(seconds), each, candidate, measured=True)


def depth(lanes: int, now: Tempo) -> int:
    """How many proposals are to be queued or asked for, all together."""
    on_the_way = now.answer / now.candidate
    return min(DEEPEST * lanes, math.ceil(lanes * (1 + on_the_way))) or 1


def plan(
    lanes: int, now: Tempo, missing: int, starving: int, broad: bool
) -> tuple[int, int]:
    """How many requests may be under way at once, and proposals asked for in each.

    `missing` proposals bring the queue to its depth; `starving` lanes have nothing to
    do. `broad` says that the proposer can be asked by several threads.
    """
    needed = SPARE * lanes * now.each / now.candidate
    side_by_side = BROAD if broad else 1
    count = math.ceil(max(needed, starving, 1) / side_by_side)
    count = max(1, min(COUNT, count, missing))
    calls = math.ceil(max(needed, starving / count, 1))
    return min(CALLS, calls) if broad else 1, count


def is_late(now: Tempo, seconds: float) -> bool:
    """Whether a call that has been under way for so long is not to be counted on: its
    provider has failed, perhaps, and it waits to try again."""
    return now.measured and seconds > LATE * now.answer


def startable(most: int, late: int, others: int) -> range:
    """The calls that may be started, beside `late` ones and `others`; `most` as `plan`
    says. A provider in trouble is asked for twice as much as usual and no more."""
    return range(others, min(most, 2 * most - late))


def patience(now: Tempo) -> float:
    """Seconds that a lane may wait for an answer before something else fills in."""
    if not now.measured:
        return MOST_PATIENCE
    return min(MOST_PATIENCE, max(LEAST_PATIENCE, 2 * now.answer))


FIRST_PAUSE = 60.0  # seconds until a proposer that gave up is asked again, doubled ...
LONGEST_PAUSE = 3600.0  # ... up to this


class Rest:
    """A proposer that does not answer rests, each time twice as long."""

    def __init__(self) -> None:
        self.since: float | None = None  # when it stopped answering
        self.until = 0.0
        self._pause = FIRST_PAUSE

    @property
    def is_on(self) -> bool:
        """Whether the last that was heard of it is that it does not answer."""
        return self.since is not None

    def begin(self, now: float, asked: float, jitter: float, least: float = 0) -> bool:
        """It gave no answer to what it was `asked` at that time: it rests for `least`
        seconds or its pause; whether that is news. `jitter` is from 0 to 1."""
        news = self.since is None
        if self.since is None:
            self.since = now
        elif asked < self.until:
            return False  # asked together with one that failed before
        self.until = now + max(least, self._pause * (1 - jitter / 4))
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        return news

    def end(self) -> None:
        """It has answered."""
        self.since, self._pause = None, FIRST_PAUSE
