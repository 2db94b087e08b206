"""The thread that keeps a small queue of generated candidates filled.

`ahead.py` says how far it asks ahead, `calls.py` asks, `outage.py` is what happens
while the proposer does not answer.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from autoresearch_plugin import ahead
from autoresearch_plugin.calls import Asked, Calls
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import (
    AutoresearchError,
    LedgerError,
    PatchError,
    ProposerError,
    Unavailable,
)
from autoresearch_plugin.generated import add_generated
from autoresearch_plugin.measuring import WAITS
from autoresearch_plugin.outage import Look, Outage
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import Answer, Call, Exhausted, Proposer, make
from autoresearch_plugin.proposers.checks import check
from autoresearch_plugin.requesting import next_request

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Ledger
    from autoresearch_plugin.loop import Research

LOOK_SECONDS = 0.2  # between two looks at the queue


class LedgerPurse:
    """The spending cap, kept in the ledger so that a resume goes on counting."""

    def __init__(self, ledger: Ledger, session: int, cap: float) -> None:
        self._ledger, self._session, self._cap = ledger, session, cap
        self._local = threading.local()  # calls are made by several threads

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False when spent + reserved would pass the cap."""
        handle = self._ledger.reserve(self._session, usd, self._cap)
        self._local.handle = handle
        return handle is not None

    def settle(self, call: Call, reserved: float) -> None:
        """Book a call in place of its reservation."""
        handle, self._local.handle = getattr(self._local, "handle", None), None
        self._ledger.settle(self._session, handle, asdict(call))


class ProposerThread(threading.Thread):
    """Asks ahead of the lanes. Never prints: capture knows no threads."""

    def __init__(
        self, research: Research, environ: Mapping[str, str], lanes: int
    ) -> None:
        super().__init__(daemon=True, name="autoresearch-proposer")
        self.research = research
        self.quit = threading.Event()
        self.wake = threading.Event()  # set to be looked at before LOOK_SECONDS
        self._environ = environ
        self._lanes = lanes
        self.proposer = self._make(research.settings.proposer)
        self._calls = Calls(self.wake, research.ledger.close)
        self._answers: deque[tuple[float, int]] = deque(maxlen=8)
        self._outage = Outage(research, lambda: self._make("tpe"), self._add)
        self._alone = False  # one call at a time: the money for two is not left
        self._at_end: Exhausted | None = None

    def _make(self, setting: str) -> Proposer:
        research = self.research
        settings = research.settings
        return make(
            setting,
            purse=LedgerPurse(research.ledger, research.session, settings.max_usd),
            environ=self._environ,
            model=settings.model,
            price="/".join(f"{x:g}" for x in settings.price)
            if settings.price
            else None,
            seed=research.ledger.seed(research.fingerprint, 0),
            stop=self.quit,
        )

    def run(self) -> None:
        """Fill the queue until the session needs no more, or cannot get more."""
        research = self.research
        try:
            while not self.quit.is_set() and self._open():
                for asked in self._calls.finished():
                    self._take(asked)
                if not self._goes_on():
                    break
                self.wake.wait(LOOK_SECONDS)
                self.wake.clear()
        # A thread has nobody to raise to, so all is reported at the end; that includes
        # the SystemExit of a library, which would end a thread without a word.
        except BaseException as error:
            words = _words(error)
            with contextlib.suppress(LedgerError):  # that may be what broke
                research.ledger.stop(research.session, f"proposer failed: {words}")
                self._event("error", f"the proposer failed: {words}")
        finally:
            self._calls.close()
            with contextlib.suppress(LedgerError):
                research.ledger.set_proposing(research.session, "no")
            research.ledger.close()

    def stop(self) -> None:
        """End soon; a call under way is left to itself."""
        self.quit.set()
        self.wake.set()

    # ------------------------------------------------------------------ when

    def _goes_on(self) -> bool:
        """Ask if it is time to; whether there is anything left to do or to wait for."""
        look = self._look()
        if look.room == 0:
            return look.open > 0
        if self._at_end is not None and not self._calls.under_way:
            self._say_the_end(self._at_end)
            return False
        if self._at_end is None and not self._outage.rests:
            self._ask_ahead(look)
        if reason := self._outage.look(self.proposer, look, self._tempo()):
            self._event("gave-up", reason)
            return False
        return True

    def _look(self) -> Look:
        ledger, session = self.research.ledger, self.research.session
        counts = ledger.open_counts(session)
        lanes = ledger.lanes(session)
        waiting = [
            row["since"] for row in lanes if (row["status"] or {}).get("phase") == WAITS
        ]
        limit = self.research.settings.experiments
        room = None
        if limit is not None:
            room = max(0, limit - ledger.made_count(session))
        return Look(
            queued=counts["queued"],
            running=counts["running"],
            asked=sum(asked.request.count for asked in self._calls.under_way),
            idle=len(waiting) + max(0, self._lanes - len(lanes)),
            waited=time.time() - min(waiting) if waiting else 0.0,
            room=room,
        )

    def _ask_ahead(self, look: Look) -> None:
        """Start as many calls as bring the queue to its depth."""
        tempo = self._tempo()
        missing = ahead.depth(self._lanes, tempo) - look.queued - look.asked
        if look.room is not None:
            missing = min(missing, look.room - look.asked)
        if missing <= 0:
            return
        starving = look.idle - look.queued - look.asked
        once = self._alone or self._outage.is_on
        broad = getattr(self.proposer, "broad", False) and not once
        most, count = ahead.plan(self._lanes, tempo, missing, starving, broad)
        calls = range(len(self._calls.under_way), most)
        request = self.request() if calls else None
        for nth in calls:
            if request is None or missing <= 0:
                break
            count = min(count, missing)
            number = request.number + nth * count  # a search draws anew for each
            self._ask(replace(request, count=count, number=number))
            request = replace(request, mend=None)  # one of them is enough for that
            missing -= count

    def _tempo(self) -> ahead.Tempo:
        ledger, budget = self.research.ledger, self.research.budget
        runs = ledger.recent_seconds(self.research.session)
        usual = budget.amount if budget.unit == "seconds" else ahead.USUAL_CANDIDATE
        return ahead.tempo(
            self._answers,
            ledger.unit_seconds(self.research.session),
            statistics.fmean(runs) if runs else usual,
        )

    # ------------------------------------------------------------------- who

    def _ask(self, request: Request) -> None:
        self._calls.start(self.proposer, request)

    def request(self) -> Request:
        """What the proposer is told, from the ledger alone."""
        return next_request(self.research, self.proposer.name)

    # --------------------------------------------------------------- answers

    def _take(self, asked: Asked) -> None:
        """What came of a call: proposals for the queue, or a reason for a pause."""
        error, name = asked.error, asked.proposer.name
        if error is None and asked.answer is not None:
            self._accept(asked, asked.answer)
        elif asked.proposer is not self.proposer and isinstance(error, ProposerError):
            return  # another one has taken its place meanwhile
        elif isinstance(error, Exhausted):
            self._exhausted(error)
        elif isinstance(error, Unavailable) and name != "tpe":
            self._outage.begin(name, asked, error)
        elif isinstance(error, ProposerError) and name != "tpe":
            self._fall_back(error)
        elif error is not None:
            raise error

    def _exhausted(self, error: Exhausted) -> None:
        """The money set aside for calls under way may come back: try once more then."""
        if getattr(self.proposer, "broad", False) and not self._alone:
            self._alone = True
        else:
            self._at_end = error

    def _say_the_end(self, reason: Exhausted) -> None:
        if self._outage.over_for_good:
            why = f"{self._outage.over_for_good}; and nothing fills in: {reason}"
            self._event("gave-up", why)
        else:
            self._event("proposer", str(reason))

    def _fall_back(self, error: ProposerError) -> None:
        """An LLM that stops answering does not end a session: the search fills in."""
        failed = self.proposer.name
        self.proposer = self._make("tpe")
        self._answers.clear()
        self._outage.end()
        self._outage.over_for_good = f"{failed} stopped answering: {error}"
        self._event("fallback", f"{failed} stopped answering, tpe fills in: {error}")

    def _accept(self, asked: Asked, answer: Answer) -> None:
        name = asked.proposer.name
        if asked.proposer is self.proposer:
            self._answers.append((asked.seconds, len(answer.proposals)))
            self._outage.answered(name)
        for excerpt, reason in answer.refused:
            self._event("refused", f"{reason} ({excerpt})")
        for proposal in answer.proposals:
            self._add(proposal, name, asked.request)

    def _add(self, proposal: Proposal, name: str, request: Request) -> None:
        """Queue a proposal, unless it became stale or was proposed twice meanwhile."""
        if self.quit.is_set():
            return
        if why := self._outdated(proposal, request):
            self._event("refused", f"{why} ({proposal.title})")
            return
        number = add_generated(self.research, proposal, name)
        self._event("proposed", f"#{number:03d} {proposal.title}")

    def _outdated(self, proposal: Proposal, request: Request) -> str | None:
        """Why an answer to `request` cannot be used now, though it could then."""
        research = self.research
        known = max((tried.number for tried in request.tried), default=0)
        twin = research.ledger.twin(research.session, proposal.signature, known)
        if twin:
            return f"proposed meanwhile as #{twin:03d}."
        head = research.head()
        if head.source == request.source:
            return None
        now = replace(request, source=head.source, head=head.id, banned=())
        try:
            check(proposal.to_data(), now)
        except PatchError as error:
            return f"the baseline has moved: {error}"
        return None

    # ------------------------------------------------------------------ facts

    def _open(self) -> bool:
        research = self.research
        stopping = research.ledger.stopping(research.session)
        return not (stopping or research.used_up())

    def _event(self, kind: str, text: str) -> None:
        with contextlib.suppress(LedgerError):  # what broke it stops the lanes too
            self.research.ledger.add_event(self.research.session, kind, text)


def _words(error: BaseException) -> str:
    """What an error says; its name as well where the text alone says too little."""
    if isinstance(error, AutoresearchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
