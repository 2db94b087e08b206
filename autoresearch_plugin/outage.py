"""While the proposer does not answer: lanes fill in, and it is asked again.

First the baseline gets the runs that it would get anyway, then the search proposes,
just as much as lanes can begin at once: whoever comes back finds no queue before him.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoresearch_plugin import ahead
from autoresearch_plugin.errors import ProposerError, Unavailable
from autoresearch_plugin.proposers import Proposer
from autoresearch_plugin.quoting import one_line
from autoresearch_plugin.reports.closing import duration
from autoresearch_plugin.requesting import next_request

if TYPE_CHECKING:
    from autoresearch_plugin.calls import Asked
    from autoresearch_plugin.candidate import Proposal
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.prompt import Request

BASELINE_FIRST = 1.0  # seconds in which idle lanes may take up baseline runs
GIVE_UP = 600.0  # seconds without an answer and without anything that fills in


@dataclass(frozen=True)
class Look:
    """The queue and the lanes at a moment; counts of candidates and of lanes.

    `waited` is for how many seconds the first of the `idle` lanes has done nothing,
    `room` how many experiments may still be made.
    """

    queued: int
    running: int
    asked: int
    idle: int
    waited: float
    room: int | None

    @property
    def open(self) -> int:
        """Candidates without a verdict."""
        return self.queued + self.running


class Outage:
    """Knows whether the proposer answers; lets something else fill in if it does not.

    `add` queues a proposal in the name of a proposer, as an answer to a request.
    """

    def __init__(
        self,
        research: Research,
        make_search: Callable[[], Proposer],
        add: Callable[[Proposal, str, Request], None],
    ) -> None:
        self.research = research
        self.over_for_good = ""  # why the chosen proposer is not asked any more
        self._make_search, self._add = make_search, add
        self._rest = ahead.Rest()
        self._search: Proposer | None = None
        self._nothing = ""  # why the search fills in no more
        self._late_since: float | None = None
        self._told: tuple[str, str | None] = ("yes", None)
        self._said_slow = False

    @property
    def is_on(self) -> bool:
        """Whether the last thing known is that the proposer does not answer."""
        return self._rest.is_on

    @property
    def rests(self) -> bool:
        """Whether it is not to be asked now."""
        return self.is_on and time.monotonic() < self._rest.until

    def begin(self, name: str, asked: Asked, error: Unavailable) -> None:
        """A call has failed; the proposer rests, each time twice as long."""
        now, jitter = time.monotonic(), random.random()
        if self._rest.begin(now, asked.began, jitter, error.retry_after):
            self._event(f"{name} does not answer, tpe fills in until it does: {error}")

    def answered(self, name: str) -> None:
        """The proposer is back, or was never away."""
        if (since := self._rest.since) is not None:
            away = duration(time.monotonic() - since)
            self._event(f"{name} answers again after {away} and takes over")
        self.end()

    def end(self) -> None:
        """Nothing needs to fill in from now on."""
        self._rest.end()
        self._late_since = None

    def look(self, proposer: Proposer, look: Look, tempo: ahead.Tempo) -> str | None:
        """Fill in where lanes have nothing to do; why the session ends, if it must."""
        if proposer.name == "tpe":
            self._tell("yes", None)
            return None
        trouble = str(getattr(proposer, "trouble", ""))
        down = self.is_on or bool(trouble)
        if self._late_since is None and look.idle and not look.queued:
            waited_long = look.asked > 0 and look.waited > ahead.patience(tempo)
            if down or waited_long:
                self._late_since = time.monotonic()
        late = self._late_since is not None
        self._tell("late" if late else "yes", self._words(proposer.name, trouble))
        if self._late_since is None:
            return None
        if time.monotonic() > self._late_since + BASELINE_FIRST:
            self._fill(proposer.name, look, down)
        return self._end_of_patience(proposer.name, look)

    def _fill(self, name: str, look: Look, down: bool) -> None:
        """A proposal for each idle lane; one more if none will come from elsewhere."""
        missing = look.idle + (1 if self.is_on else 0) - look.queued
        if look.room is not None:
            missing = min(missing, look.room - look.asked)
        if missing <= 0 or self._nothing:
            return
        if not (down or self._said_slow):
            self._said_slow = True
            waited = duration(look.waited)
            self._event(f"{name} kept lanes waiting for {waited}: tpe fills in")
        try:
            self._search = self._search or self._make_search()
            for _ in range(missing):
                request = next_request(self.research, self._search.name)
                for proposal in self._search.propose(request).proposals:
                    self._add(proposal, self._search.name, request)
        except ProposerError as reason:
            self._nothing = str(reason)

    def _end_of_patience(self, name: str, look: Look) -> str | None:
        since = self._rest.since
        if since is None or not self._nothing or look.open or look.asked:
            return None
        if time.monotonic() < since + GIVE_UP:
            return None
        return (
            f"{name} gave no answer for {duration(time.monotonic() - since)}; and "
            f"nothing fills in: {self._nothing}"
        )

    def _words(self, name: str, trouble: str) -> str | None:
        """What there is to say while lanes wait."""
        if self.is_on:
            seconds = self._rest.until - time.monotonic()
            at = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
            return f"{name} does not answer, asked again at {at}"
        return f"{name}: {one_line(trouble, 80)}" if trouble else None

    def _tell(self, state: str, words: str | None) -> None:
        """Let lanes and the screen know, through the ledger."""
        if self._told != (state, words):
            self._told = state, words
            research = self.research
            research.ledger.set_proposing(research.session, state, words)

    def _event(self, text: str) -> None:
        self.research.ledger.add_event(self.research.session, "fallback", text)
