"""Near misses of a simulated session, waiting to be tried together."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoresearch_plugin.bench.simulation import Idea, Session
from autoresearch_plugin.bundles import LEAST_GAIN


@dataclass
class NearMisses:
    """Discards with a gain too small to be proven, the most promising first out."""

    size: int
    _waiting: list[tuple[float, Idea]] = field(default_factory=list)

    def offer(self, idea: Idea, gain: float) -> None:
        """Take note of a discard whose gain is so many standard errors."""
        if gain >= LEAST_GAIN:
            self._waiting.append((gain, idea))

    def take(self, session: Session) -> Idea | None:
        """A bundle, if enough of them wait and their patches go together."""
        if len(self._waiting) < self.size:
            return None
        self._waiting.sort(key=lambda pair: -pair[0])
        chosen, self._waiting = self._waiting[: self.size], self._waiting[self.size :]
        return session.bundle([idea for _, idea in chosen])
