"""One simulated session: devices work side by side on a baseline that moves.

A policy is written as it would be for one lane, as a generator that asks for runs and
is sent what came out; the clock here decides which lane goes next. So a policy reads
like the loop of the plugin, and parallel lanes cost it no extra thought.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autoresearch_plugin.bench.worlds import World

OVERHEAD = 26 / 300  # start-up, compilation and scoring of a run of five minutes
HOURS_PER_RUN = 300 / 3600  # of the budget alone
STOPPED_OVERHEAD = 0.6 * OVERHEAD  # a stopped run is not scored
KINDS = ("baseline", "first runs", "stopped", "repeats", "audit")  # of device time
WAIT = 0.02  # of a run: how often a lane looks whether another one is done


@dataclass
class Idea:
    """A candidate: its true effect on the head that it was written for.

    A bundle has `parts`, which were candidates before. One that is `lost` does not
    apply to the present head.
    """

    effect: float
    head: int
    crashes: bool
    misleading: float
    number: int = 0
    runs: int = 0
    parts: tuple[Idea, ...] = ()
    lost: bool = False

    @property
    def leaves(self) -> list[Idea]:
        """The single changes that it is made of."""
        if not self.parts:
            return [self]
        return [leaf for part in self.parts for leaf in part.leaves]


@dataclass(frozen=True)
class Ask:
    """A run of `idea`, or else of baseline number `head`; without both, a short wait.

    `stops` is asked with the interim score, and may end the run there. Runs with the
    same `seed` share what a seed does; None is one of its own. A baseline may be run
    `without` some of the session's keeps.
    """

    idea: Idea | None = None
    head: int | None = None
    stops: Callable[[float], bool] | None = None
    seed: int | None = None
    without: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Answer:
    """What a run gave: no value if it crashed or was stopped."""

    value: float | None = None
    interim: float | None = None


Lane = Generator[Ask, Answer, None]


class Policy(Protocol):
    """Decides in one session; `lane` is called once per device."""

    def lane(self, session: Session) -> Lane:
        """Work until the session's time is up."""

    def claimed(self) -> float:
        """The gain that the policy would report, positive is better."""


@dataclass
class Session:
    """The truth, and a tally of what a policy did with it. Times are in runs."""

    world: World
    policy: Policy
    devices: int
    hours: float
    rng: random.Random
    levels: list[float] = field(default_factory=lambda: [0.0])
    keeps: list[float] = field(default_factory=list)
    in_bundles: list[float] = field(default_factory=list)  # effects of kept parts
    decided: list[tuple[float, bool, int]] = field(default_factory=list)
    used: float = 0.0
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    now: float = 0.0
    first_discard: float = math.inf
    first_keep: float = math.inf
    _ideas: int = 0
    _machine: float = 0.0
    _seeds: dict[int, tuple[float, float]] = field(default_factory=dict)
    _kept_as: list[int] = field(default_factory=list)  # places in `decided`
    _meetings: dict[tuple[int, int], float] = field(default_factory=dict)
    _reverted: set[int] = field(default_factory=set)
    _places: dict[int, int] = field(default_factory=dict)  # of ideas in `decided`
    _conflicts: dict[tuple[int, int], bool] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """Number of the present baseline."""
        return len(self.levels) - 1

    @property
    def gain(self) -> float:
        """How much better the present baseline truly is than the first one."""
        return -self.levels[-1]

    @property
    def over(self) -> bool:
        """Whether no new candidate should begin."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Runs that fit into what is left, on all devices together."""
        return self.hours / HOURS_PER_RUN - self.now * self.devices

    @property
    def standing(self) -> list[float]:
        """Effects of the keeps that were not taken back."""
        return [e for i, e in enumerate(self.keeps) if i not in self._reverted]

    # ------------------------------------------------------------------- for policies

    def new_idea(self) -> Idea:
        """What a proposer writes next, for the present head."""
        world, rng = self.world, self.rng
        effect = world.effect(rng, self._ideas, self.gain)
        self._ideas += 1
        misleading = rng.gauss(0.0, 3.0) if rng.random() < world.crossing else 0.0
        crashes = rng.random() < world.crashes
        return Idea(effect, self.head, crashes, misleading, self._ideas)

    def restack(self, idea: Idea) -> bool:
        """Move an idea to the present head; False if its patch does not apply there."""
        moves = self.head - idea.head
        if moves <= 0:
            return True
        world, rng = self.world, self.rng
        size = min(abs(idea.effect), 3.0)
        if rng.random() > (1 - world.redundant) ** moves:
            idea.effect = max(idea.effect, 0.0)
        idea.effect += rng.gauss(0.0, world.interaction * size)
        idea.head = self.head
        return rng.random() >= world.conflict

    def together(self, ideas: Sequence[Idea], size: int) -> list[Idea]:
        """The first `size` ideas whose patches go together on the present head, or
        fewer; one that does not apply there any more never will."""
        found: list[Idea] = []
        for idea in ideas:
            idea.lost = idea.lost or not self.restack(idea)
            if idea.lost or any(self._conflict(idea, one) for one in found):
                continue
            found.append(idea)
            if len(found) == size:
                break
        return found

    def _conflict(self, one: Idea, other: Idea) -> bool:
        """Whether the patches of two ideas exclude each other."""
        pair = min(one.number, other.number), max(one.number, other.number)
        if pair not in self._conflicts:
            self._conflicts[pair] = self.rng.random() < self.world.conflict
        return self._conflicts[pair]

    def bundle(self, ideas: Sequence[Idea]) -> Idea:
        """One candidate of several. Each meets the ones before it as it would meet a
        keep."""
        world, rng = self.world, self.rng
        parts: list[Idea] = []
        for idea in ideas:
            part = replace(idea)
            for one in parts:
                self._meet(part, one)
            parts.append(part)
        self._ideas += 1
        misleading = rng.gauss(0.0, 3.0) if rng.random() < world.crossing else 0.0
        effect = sum(part.effect for part in parts)
        return Idea(
            effect, self.head, False, misleading, self._ideas, parts=tuple(parts)
        )

    def _meet(self, idea: Idea, other: Idea) -> None:
        """What another part does to an idea."""
        world, rng = self.world, self.rng
        if rng.random() < world.redundant:
            idea.effect = max(idea.effect, 0.0)
        size = min(abs(idea.effect), abs(other.effect), 3.0)
        idea.effect += rng.gauss(0.0, world.interaction * size)

    def keep(self, idea: Idea) -> None:
        """Make an idea part of the baseline."""
        assert idea.head == self.head, "an idea is kept on the head it was moved to"
        self._kept_as.append(len(self.decided))
        self.keeps.append(idea.effect)
        self.levels.append(self.levels[-1] + idea.effect)
        self.first_keep = min(self.first_keep, self.now)
        self._decide(idea, True)

    def revert(self, keep: int) -> None:
        """Take a keep back; what was built on it may change by that."""
        self.levels.append(self.levels[-1] + self._without(frozenset({keep})))
        for later in range(keep + 1, len(self.keeps)):
            if later not in self._reverted:
                self.keeps[later] += self._meeting(keep, later)
        self._reverted.add(keep)
        place = self._kept_as[keep]
        self.decided[place] = (self.decided[place][0], False, self.decided[place][2])

    def _without(self, dropped: frozenset[int]) -> float:
        """What it does to the present baseline to leave some keeps out."""
        change = -sum(self.keeps[keep] for keep in dropped)
        for keep in dropped:
            for later in range(keep + 1, len(self.keeps)):
                if later not in dropped and later not in self._reverted:
                    change += self._meeting(keep, later)
        return change

    def _meeting(self, keep: int, later: int) -> float:
        """How a later keep's effect changes when an earlier one is taken away.

        In proportion to the smaller of the two: what does nothing stands in no way.
        """
        pair = (keep, later)
        if pair not in self._meetings:
            size = min(abs(self.keeps[keep]), abs(self.keeps[later]), 3.0)
            self._meetings[pair] = self.rng.gauss(0.0, self.world.interaction * size)
        return self._meetings[pair]

    def drop(self, idea: Idea) -> None:
        """Discard an idea."""
        self.first_discard = min(self.first_discard, self.now)
        self._decide(idea, False)

    def _decide(self, idea: Idea, kept: bool) -> None:
        if idea.parts:
            if kept:
                self._keep_parts(idea.leaves)
            return
        self._places[idea.number] = len(self.decided)
        self.decided.append(
            (math.inf if idea.crashes else idea.effect, kept, idea.runs)
        )

    def _keep_parts(self, leaves: Sequence[Idea]) -> None:
        """They were discarded one by one, and are in the baseline all the same."""
        self.in_bundles += [leaf.effect for leaf in leaves]
        for leaf in leaves:
            effect, _, runs = self.decided[self._places[leaf.number]]
            self.decided[self._places[leaf.number]] = effect, True, runs

    # --------------------------------------------------------------------- the clock

    def run(self) -> Session:
        """Let every lane work until it ends."""
        queue: list[tuple[float, int, Lane, Answer | None]] = []
        shifts = [
            self.rng.gauss(0.0, self.world.device_sd) for _ in range(self.devices)
        ]
        for number in range(self.devices):
            queue.append((0.0, number, self.policy.lane(self), None))
        while queue:
            self.now, number, lane, answer = heapq.heappop(queue)
            try:
                ask = next(lane) if answer is None else lane.send(answer)
            except StopIteration:
                continue
            seconds, answer = self._measure(ask, shifts[number])
            heapq.heappush(queue, (self.now + seconds, number, lane, answer))
        return self

    def measure(self, ask: Ask) -> Answer:
        """A run after the end of the session."""
        return self._outcome(ask, 0.0)[1]

    def _measure(self, ask: Ask, shift: float) -> tuple[float, Answer]:
        if ask.idea is None and ask.head is None:
            return WAIT, Answer()
        time, answer = self._outcome(ask, shift)
        self.used += time
        self.spent[_kind(ask, answer)] += time
        return time, answer

    def _outcome(self, ask: Ask, shift: float) -> tuple[float, Answer]:
        idea, rng = ask.idea, self.rng
        if idea is not None:
            idea.runs += 1
            if idea.crashes:
                return rng.uniform(0.05, 0.5) + OVERHEAD / 2, Answer()
        effect, misleading, head = 0.0, 0.0, ask.head
        if idea is not None:
            effect, misleading, head = idea.effect, idea.misleading, idea.head
        assert head is not None, "a run is of an idea or of a head"
        if ask.without:
            effect = self._without(ask.without)
        luck, interim_luck = self._luck(ask.seed)
        own = math.sqrt(1 - self.world.seed_share)
        value = self.levels[head] + effect + shift + luck + self._noise(own)
        interim = value + misleading + interim_luck + self._interim_error(own)
        if ask.stops is not None and ask.stops(interim):
            return self.world.interim_at + STOPPED_OVERHEAD, Answer(None, interim)
        return 1 + OVERHEAD, Answer(value, interim)

    def _luck(self, seed: int | None) -> tuple[float, float]:
        """What a seed does to the score of every commit, at the end and in between."""
        share = self.world.seed_share
        if not share:
            return 0.0, 0.0
        if seed is None or seed not in self._seeds:
            scale = math.sqrt(share)
            luck = (self.rng.gauss(0.0, scale), self._interim_error(scale))
            if seed is None:
                return luck
            self._seeds[seed] = luck
        return self._seeds[seed]

    def _interim_error(self, scale: float) -> float:
        correlation = self.world.interim_correlation
        return self.rng.gauss(0.0, scale * math.sqrt(max(0.0, correlation**-2 - 1)))

    def _noise(self, scale: float = 1.0) -> float:
        world, rng = self.world, self.rng
        z = rng.gauss(0.0, 1.0)
        if world.t_df is not None:
            df = world.t_df
            z /= math.sqrt(rng.gammavariate(df / 2, 2 / df) / ((df - 2) / df))
        if world.drift:
            self._machine += rng.gauss(0.0, world.drift)
        if world.jumps and rng.random() < world.jumps:
            self._machine += rng.gauss(0.0, 1.5)
        return scale * z + self._machine


def _kind(ask: Ask, answer: Answer) -> str:
    """Which of KINDS a run belongs to."""
    if ask.idea is None:
        return "audit" if ask.without else "baseline"
    if ask.idea.runs > 1:
        return "repeats"
    stopped = answer.value is None and answer.interim is not None
    return "stopped" if stopped else "first runs"
