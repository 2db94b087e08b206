"""The thread that keeps a small queue of generated candidates filled.

`ahead.py` says how far it asks ahead, `calls.py` asks, `outage.py` is what happens
while the proposer does not answer.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from autoresearch_plugin import ahead, bundles
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
from autoresearch_plugin.hold import WAITS
from autoresearch_plugin.outage import Look, Outage
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import (
    Answer,
    Exhausted,
    Proposer,
    SpendingCap,
    checks,
)
from autoresearch_plugin.requesting import build_request, next_request
from autoresearch_plugin.team import Member, Team

if TYPE_CHECKING:
    from autoresearch_plugin.loop import Research

LOOK_SECONDS = 0.2  # between two looks at the queue
INSIST_SECONDS = 1.0  # between two tries to tell what happened


class ProposerThread(threading.Thread):
    """Asks ahead of the lanes. Never prints: capture knows no threads."""

    def __init__(
        self, research: Research, environ: Mapping[str, str], lanes: int
    ) -> None:
        super().__init__(daemon=True, name="autoresearch-proposer")
        self.research = research
        self.quit = threading.Event()
        self.wake = threading.Event()  # set to be looked at before LOOK_SECONDS
        self._lanes = lanes
        self.team = Team(research, environ, self.quit)
        self.member = self.team.members[0]
        self.ended = ""  # why nobody is asked any more, where that is a cap
        self._calls = Calls(self.wake, research.ledger.close)
        self._answers: deque[tuple[float, int]] = deque(maxlen=8)
        self._outage = Outage(research, self.team.make_search, self._add)
        self._turn = ""  # why it is the present member's
        self._alone = False  # one call at a time: the money for two is not left
        self._at_end: Exhausted | None = None

    @property
    def proposer(self) -> Proposer:
        """Who was asked last, or will be asked first."""
        return self.member.proposer

    def run(self) -> None:
        """Fill the queue until the session needs no more, or cannot get more."""
        research = self.research
        try:
            self.take_left_over()
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
            words = words_of(error)
            self._insist(lambda: self._fail(words))
        finally:
            self._calls.close()
            self._insist(lambda: research.ledger.set_proposing(research.session, "no"))
            research.ledger.close()

    def _fail(self, words: str) -> None:
        ledger, session = self.research.ledger, self.research.session
        ledger.add_event(session, "error", f"the proposer failed: {words}")
        ledger.stop(session, f"proposer failed: {words}")

    def _insist(self, action: Callable[[], None]) -> None:
        """Try until it works: the ledger may be what broke, on a disk that is full for
        a while, and lanes would wait for ever for what is not told."""
        while True:
            with contextlib.suppress(LedgerError):
                return action()
            if self.quit.wait(INSIST_SECONDS):
                return None

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
        tempo = self._tempo()
        may_ask = self._at_end is None and not self._outage.rests
        if may_ask and self._choose():
            self._ask_ahead(look, tempo)
        if reason := self._outage.look(self.proposer, look, tempo):
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

    def _ask_ahead(self, look: Look, tempo: ahead.Tempo) -> None:
        """Start as many calls as bring the queue to its depth."""
        if self._alone and self._calls.under_way:
            return
        mine = [x for x in self._calls.under_way if x.proposer is self.proposer]
        once = self._alone or self._outage.is_on
        broad = getattr(self.proposer, "broad", False) and not once
        now = time.monotonic()
        late = [x for x in mine if broad and ahead.is_late(tempo, now - x.began)]
        asked = look.asked - sum(x.request.count for x in late)
        missing = ahead.depth(self._lanes, tempo) - look.queued - asked
        if look.room is not None:
            missing = min(missing, look.room - look.asked)
        if missing <= 0:
            return
        starving = look.idle - look.queued - asked
        most, count = ahead.plan(self._lanes, tempo, missing, starving, broad)
        calls = ahead.startable(most, len(late), len(mine) - len(late))
        request = self.request(self.member) if calls else None
        if request is not None:
            request = replace(request, turn=self._turn)
        if request is not None and self._bundled(request):
            missing -= 1
        for nth in calls:
            if request is None or missing <= 0:
                break
            count = min(count, missing)
            number = request.number + nth * count  # a search draws anew for each
            self._ask(replace(request, count=count, number=number))
            request = replace(request, mend=None)  # one of them is enough for that
            missing -= count

    def _bundled(self, request: Request) -> bool:
        """Queue a bundle if enough near misses wait; whether one was queued."""
        if not self.research.bundles:
            return False
        sign, size = self.research.profile.sign, self.research.settings.bundle
        made = bundles.bundle(request.tried, request.source, sign, size)
        if made is not None:
            self._add(made, bundles.PROPOSER, replace(request, turn=""))
        return made is not None

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

    def _choose(self) -> bool:
        """Whose turn it is; whether it is anybody's. Who is being asked waits in the
        ledger's place; one that can be asked by one thread only is not asked twice."""
        asked = [self.team.member_of(x.proposer) for x in self._calls.under_way]
        names = [member.name for member in asked if member and member.name]
        busy = {
            member.name
            for member in asked
            if member and not getattr(member.proposer, "broad", False)
        }
        choice = self.team.turn(names, busy)
        if choice is not None:
            self.member, self._turn = choice
        return choice is not None

    def _ask(self, request: Request) -> None:
        self._calls.start(self.proposer, request)

    def request(self, member: Member) -> Request:
        """What a proposer is told, from the ledger and its program alone."""
        return next_request(self.research, member.proposer.name, member.agent)

    # --------------------------------------------------------------- answers

    def _take(self, asked: Asked) -> None:
        """What came of a call: proposals for the queue, or a reason for a pause."""
        error, name = asked.error, asked.proposer.name
        member = self.team.member_of(asked.proposer)
        if error is None and asked.answer is not None:
            self._accept(asked, asked.answer)
        elif member not in self.team.members and isinstance(error, ProposerError):
            return  # another one has taken its place meanwhile
        elif isinstance(error, Exhausted):
            self._exhausted(member, error)
        elif isinstance(error, Unavailable) and self.team.rest(member, asked, error):
            self._event("fallback", f"{name} does not answer: {error}", member)
        elif isinstance(error, Unavailable) and name != "tpe":
            self.member = member  # nobody else is there: this is whom to wait for
            self._outage.begin(name, asked, error)
        elif isinstance(error, ProposerError) and self._others(member, error):
            return
        elif isinstance(error, ProposerError) and name != "tpe":
            self._fall_back(member, error)
        elif error is not None:
            raise error

    def _exhausted(self, member: Member, error: Exhausted) -> None:
        """The money set aside for calls under way may come back: try once more then."""
        broad = getattr(member.proposer, "broad", False)
        if broad and (self._calls.under_way or not self._alone):
            self._alone = True
            return
        if isinstance(error, SpendingCap):
            cap = self.research.settings.max_usd
            self.ended = f"spending cap of ${cap:g} reached"
        if not self._others(member, error):
            self._at_end = error

    def _others(self, member: Member, error: ProposerError) -> bool:
        """Ask a member no more, if others go on; whether they do."""
        if len(self.team.members) == 1:
            return False
        self.team.lose(member, str(error))
        self._event("fallback", f"the others go on: {error}", member)
        return True

    def _say_the_end(self, reason: Exhausted) -> None:
        if self._outage.over_for_good:
            why = f"{self._outage.over_for_good}; and nothing fills in: {reason}"
            self._event("gave-up", why)
        else:
            self._event("proposer", str(reason))

    def _fall_back(self, member: Member, error: ProposerError) -> None:
        """An LLM that stops answering does not end a session: the search fills in."""
        failed = member.proposer.name
        self.member = self.team.search(member, str(error))
        self._answers.clear()
        self._outage.end()
        self._outage.over_for_good = f"{failed} stopped answering: {error}"
        self._event("fallback", f"{failed} stopped answering, tpe fills in: {error}")

    def _accept(self, asked: Asked, answer: Answer) -> None:
        member = self.team.member_of(asked.proposer)
        if member in self.team.members:
            self._answers.append((asked.seconds, len(answer.proposals)))
            self._outage.answered(asked.proposer.name)
            self.team.answered(member)
        self.take(member, asked.request, answer)

    def take(self, member: Member, request: Request, answer: Answer) -> None:
        """Queue what was proposed, and note what could not be used."""
        for excerpt, reason in answer.refused:
            self._event("refused", f"{reason} ({excerpt})", member)
        for proposal in answer.proposals:
            self._add(proposal, member.proposer.name, request, member)
        if not self.quit.is_set():
            self.research.ledger.answers_used(self.research.session, answer.booked)

    def take_left_over(self) -> None:
        """Queue what was paid for by a process that was killed before it could."""
        ledger, session = self.research.ledger, self.research.session
        for row in ledger.unused_answers(session):
            member = self.team.named(row["agent"])
            request = build_request(self.research, member.agent)
            request = replace(request, banned=(), mend=None)
            new = [x for x in json.loads(row["answer"]) if not self._is_there(x)]
            good, refused = checks.sort(new, request)
            said = tuple((checks.excerpt(data), why) for data, why in refused)
            self.take(member, request, Answer(good, said, (row["answer"],)))

    def _is_there(self, data: object) -> bool:
        """Whether it came into the queue just before its process was killed."""
        try:
            proposal = Proposal.from_data(data)
        except PatchError:
            return False
        ledger, session = self.research.ledger, self.research.session
        again = proposal.retest is not None
        return not again and ledger.twin(session, proposal.signature, 0) is not None

    def _add(
        self,
        proposal: Proposal,
        name: str,
        request: Request,
        member: Member | None = None,
    ) -> None:
        """Queue a proposal, unless it became stale or was proposed twice meanwhile."""
        if self.quit.is_set():
            return
        if why := self._outdated(proposal, request):
            self._event("refused", f"{why} ({proposal.title})", member)
            return
        agent = member.name if member else None
        turn = request.turn or None
        number = add_generated(self.research, proposal, name, agent, turn)
        self._event("proposed", f"#{number:03d} {proposal.title}", member)

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
            checks.check(proposal.to_data(), now)
        except PatchError as error:
            return f"the baseline has moved: {error}"
        return None

    # ------------------------------------------------------------------ facts

    def _open(self) -> bool:
        research = self.research
        stopping = research.ledger.stopping(research.session)
        return not (stopping or research.used_up())

    def _event(self, kind: str, text: str, member: Member | None = None) -> None:
        name = member.name if member else None
        words = f"{name}: {text}" if name else text
        with contextlib.suppress(LedgerError):  # what broke it stops the lanes too
            self.research.ledger.add_event(self.research.session, kind, words, name)


def words_of(error: BaseException) -> str:
    """What an error says; its name as well where the text alone says too little."""
    if isinstance(error, AutoresearchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
