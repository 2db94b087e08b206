"""Near misses of a simulated session, waiting to be tried together."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoresearch_plugin.bench.simulation import Idea, Session
from autoresearch_plugin.bundles import LEAST_GAIN, second_gain


@dataclass
class NearMisses:
    """Discards with a gain too small to be proven, the most promising first out."""

    size: int
    _waiting: list[tuple[float, Idea]] = field(default_factory=list)
    _tried: dict[int, list[tuple[float, Idea]]] = field(default_factory=dict)
    _again: set[int] = field(default_factory=set)

    def offer(self, idea: Idea, gain: float) -> None:
        """Take note of a discard whose gain is so many standard errors.

        A bundle that was no near miss gives its parts back, each once.
        """
        parts = self._tried.pop(idea.number, [])
        if gain >= LEAST_GAIN:
            self._waiting.append((gain, idea))
            return
        for own, part in parts:
            again = second_gain(own, gain, [one for one, _ in parts])
            if again >= LEAST_GAIN and part.number not in self._again:
                self._again.add(part.number)
                self._waiting.append((again, part))

    def take(self, session: Session) -> Idea | None:
        """A bundle, if enough of them wait and their patches go together."""
        if len(self._waiting) < self.size:
            return None
        self._waiting.sort(key=lambda pair: -pair[0])
        ideas = session.together([idea for _, idea in self._waiting], self.size)
        if len(ideas) < self.size:
            return None
        numbers = {idea.number for idea in ideas}
        parts = [pair for pair in self._waiting if pair[1].number in numbers]
        self._waiting = [one for one in self._waiting if one[1].number not in numbers]
        bundle = session.bundle(ideas)
        self._tried[bundle.number] = parts
        return bundle
