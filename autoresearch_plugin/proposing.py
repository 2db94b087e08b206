"""The thread that keeps a small queue of generated candidates filled."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import AutoresearchError, ProposerError
from autoresearch_plugin.generated import add_generated
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import Call, Exhausted, Proposer, make
from autoresearch_plugin.requesting import next_request

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Ledger
    from autoresearch_plugin.loop import Research

WAIT_SECONDS = 0.05


class LedgerPurse:
    """The spending cap, kept in the ledger so that a resume goes on counting."""

    def __init__(self, ledger: Ledger, session: int, cap: float) -> None:
        self._ledger, self._session, self._cap = ledger, session, cap
        self._handles: list[int] = []

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False when spent + reserved would pass the cap."""
        handle = self._ledger.reserve(self._session, usd, self._cap)
        if handle is not None:
            self._handles.append(handle)
        return handle is not None

    def settle(self, call: Call, reserved: float) -> None:
        """Book a call in place of its reservation."""
        handle = self._handles.pop() if self._handles else None
        self._ledger.settle(self._session, handle, asdict(call))


class ProposerThread(threading.Thread):
    """Asks the proposer ahead of the lanes. Never prints: capture knows no threads."""

    def __init__(
        self, research: Research, environ: Mapping[str, str], lanes: int
    ) -> None:
        super().__init__(daemon=True, name="autoresearch-proposer")
        self.research = research
        self.quit = threading.Event()
        self._environ = environ
        self._depth = lanes + 1
        self.proposer = self._make(research.settings.proposer)

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
                states = self._states()
                if self._enough(states):
                    if not {"queued", "running"} & set(states):
                        break
                    self.quit.wait(WAIT_SECONDS)
                elif states.count("queued") >= self._depth:
                    self.quit.wait(WAIT_SECONDS)
                else:
                    self._ask()
        except Exhausted as reason:
            self._event("proposer", str(reason))
        # A thread has nobody to raise to, so all is reported at the end; that includes
        # the SystemExit of a library, which would end a thread without a word.
        except BaseException as error:
            words = _words(error)
            research.ledger.stop(research.session, f"proposer failed: {words}")
            self._event("error", f"the proposer failed: {words}")
        finally:
            research.ledger.set_proposing(research.session, "no")
            research.ledger.close()

    def _ask(self) -> None:
        try:
            answer = self.proposer.propose(self.request())
        except Exhausted:
            raise
        except ProposerError as error:
            self._fall_back(error)
            return
        for excerpt, reason in answer.refused:
            self._event("refused", f"{reason} ({excerpt})")
        for proposal in answer.proposals:
            self._add(proposal)

    def _fall_back(self, error: ProposerError) -> None:
        """An LLM that stops answering does not end a session: the search fills in."""
        failed = self.proposer.name
        if failed == "tpe":
            raise error
        self.proposer = self._make("tpe")
        self._event("fallback", f"{failed} stopped answering, tpe fills in: {error}")

    def request(self) -> Request:
        """What the proposer is told, from the ledger alone."""
        return next_request(self.research, self.proposer.name)

    def _add(self, proposal: Proposal) -> None:
        if self.quit.is_set():
            return
        number = add_generated(self.research, proposal, self.proposer.name)
        self.research.ledger.add_event(
            self.research.session, "proposed", f"#{number:03d} {proposal.title}"
        )

    # ------------------------------------------------------------------ counts

    def _open(self) -> bool:
        research = self.research
        stopping = research.ledger.stopping(research.session)
        return not (stopping or research.used_up())

    def _enough(self, states: list[str]) -> bool:
        """Whether the candidates asked for are there; failed machinery excluded."""
        limit = self.research.settings.experiments
        made = sum(state not in ("failed", "stopped") for state in states)
        return limit is not None and made >= limit

    def _states(self) -> list[str]:
        return self.research.ledger.generated_states(self.research.session)

    def _event(self, kind: str, text: str) -> None:
        self.research.ledger.add_event(self.research.session, kind, text)


def _words(error: BaseException) -> str:
    """What an error says; its name as well where the text alone says too little."""
    if isinstance(error, AutoresearchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
