"""The agents of a session, each with its proposer: who may be asked, whose turn it is.

Without a directory of agents this is one member without a name, asked every time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from autoresearch_plugin.agents import Agent, read_agents
from autoresearch_plugin.ahead import Rest
from autoresearch_plugin.errors import SettingsError, Unavailable
from autoresearch_plugin.proposers import Call, Proposer, make, note
from autoresearch_plugin.standings import whose_turn

if TYPE_CHECKING:
    from autoresearch_plugin.calls import Asked
    from autoresearch_plugin.ledger import Ledger
    from autoresearch_plugin.loop import Research


class LedgerPurse:
    """The spending cap, kept in the ledger so that a resume goes on counting.

    It is one for all agents; each call is booked under its own.
    """

    def __init__(
        self, ledger: Ledger, session: int, cap: float, agent: str | None = None
    ) -> None:
        self._ledger, self._session, self._cap = ledger, session, cap
        self._agent = agent
        self._local = threading.local()  # calls are made by several threads

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False when spent + reserved would pass the cap."""
        handle = self._ledger.reserve(self._session, usd, self._cap, self._agent)
        self._local.handle = handle
        return handle is not None

    def settle(self, call: Call, reserved: float) -> None:
        """Book a call in place of its reservation."""
        handle, self._local.handle = getattr(self._local, "handle", None), None
        row = {**asdict(call), "agent": self._agent}
        self._ledger.settle(self._session, handle, row)


@dataclass(frozen=True)
class Member:
    """An agent and who proposes for it."""

    agent: Agent
    proposer: Proposer

    @property
    def name(self) -> str | None:
        """What its rows in the ledger say; None for the implicit agent."""
        return self.agent.name or None

    @property
    def note(self) -> str:
        """Who it is, for the header and the closing screen."""
        if not self.name:
            return note(self.proposer)
        floor = f", at least {100 * self.agent.share:g} %" * bool(self.agent.share)
        return f"agent {self.title}{floor}"

    @property
    def title(self) -> str:
        """Its name, if it has one, and who proposes for it."""
        words = note(self.proposer) or self.proposer.name
        return f"{self.name}: {words}" if self.name else words


class Team:
    """Who may still be asked; every choice is a function of the ledger."""

    def __init__(
        self, research: Research, environ: Mapping[str, str], stop: threading.Event
    ) -> None:
        """Raises SettingsError: a file of an agent, or a proposer, cannot be used."""
        self._research, self._environ, self._stop = research, environ, stop
        nobody = research.settings.proposer == "none"
        agents = (Agent(),) if nobody else read_agents(research.root)
        self.members = [Member(agent, self._make(agent)) for agent in agents]
        self._lost: list[tuple[Member, str]] = []
        self._resting: dict[str | None, Rest] = {}

    @property
    def floors(self) -> dict[str, float]:
        """Least shares of those who may be asked; empty without agents."""
        return {one.name: one.agent.share for one in self.members if one.name}

    @property
    def lost(self) -> dict[str, str]:
        """Agents that are asked no more, and why."""
        return {one.name: why for one, why in self._lost if one.name}

    def turn(
        self, asked: Sequence[str] = (), busy: Collection[str | None] = ()
    ) -> tuple[Member, str] | None:
        """Whose turn it is, and why where there is a choice; None while all are busy.

        `asked` names those who are being asked now.
        """
        if len(self.members) == 1:
            why = "nobody else" if self.members[0].name else ""
            return self.members[0], why
        free = [one for one in self.members if not self._rests(one)] or self.members
        here = {one.name: one for one in free if one.name and one.name not in busy}
        if not here:
            return None
        floors = {name: one.agent.share for name, one in here.items()}
        research = self._research
        choice = whose_turn(research.ledger, research.fingerprint, floors, asked)
        return here[choice.agent], choice.reason

    def member_of(self, proposer: Proposer) -> Member:
        """For whom a proposer was made, now or formerly."""
        every = (*self.members, *(member for member, _ in self._lost))
        return next(one for one in every if one.proposer is proposer)

    def named(self, name: str | None) -> Member:
        """The member of that name; the first one if it is not there any more."""
        found = (member for member in self.members if member.name == name)
        return next(found, self.members[0])

    def rest(self, member: Member, asked: Asked, error: Unavailable) -> bool:
        """Leave out one that does not answer, for a while, if another one is there."""
        others = [one for one in self.members if one is not member]
        if all(map(self._rests, others)):
            return False
        rest = self._resting.setdefault(member.name, Rest())
        jitter = random.random()
        rest.begin(time.monotonic(), asked.began, jitter, error.retry_after)
        return True

    def answered(self, member: Member) -> None:
        """It need not rest."""
        self._resting.pop(member.name, None)

    def _rests(self, member: Member) -> bool:
        rest = self._resting.get(member.name)
        return rest is not None and time.monotonic() < rest.until

    def lose(self, member: Member, why: str) -> None:
        """Ask a member no more."""
        self.members.remove(member)
        self._lost.append((member, why))

    def make_search(self) -> Proposer:
        """The search without a model, which proposes in nobody's name."""
        return self._make(Agent(proposer="tpe"))

    def search(self, member: Member, why: str) -> Member:
        """From now on the search proposes in place of the last member."""
        self.lose(member, why)
        self.members = [Member(Agent(proposer="tpe"), self.make_search())]
        return self.members[0]

    def notes(self) -> Iterator[str]:
        """One line about each member, those of the past if nobody is left."""
        shown = self.members or [member for member, _ in self._lost]
        return filter(None, (member.note for member in shown))

    def proposer_settings(self) -> set[str]:
        """What names the proposers, for whoever asks whether they are ours."""
        default = self._research.settings.proposer
        return {member.agent.proposer or default for member in self.members}

    def _make(self, agent: Agent) -> Proposer:
        research = self._research
        settings = research.settings
        price = agent.price if agent.model or agent.price else settings.price
        purse = LedgerPurse(
            *(research.ledger, research.session, settings.max_usd, agent.name or None)
        )
        try:
            return make(
                agent.proposer or settings.proposer,
                purse=purse,
                environ=self._environ,
                model=agent.model or settings.model,
                price="/".join(f"{x:g}" for x in price) if price else None,
                seed=research.ledger.seed(research.fingerprint, 0),
                stop=self._stop,
            )
        except SettingsError as error:
            if not agent.name:
                raise
            raise SettingsError(
                f"{agent.at('proposer', 'model', 'price')}: {error} In this file such "
                "options are lines like `proposer: tpe` and `price: 2/10`."
            ) from error
