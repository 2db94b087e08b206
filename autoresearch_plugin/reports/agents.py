"""What each agent has done, as lines: keeps, costs, its present share and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WORDS = {  # state -> what stands behind its count
    "keep": "kept",
    "discard": "discarded",
    "crash": "crashed",
    "refused": "refused",
    "before": "in the baseline before",
    "running": "running",
    "queued": "waiting",
}


@dataclass(frozen=True)
class AgentFacts:
    """One agent in numbers. `calls`: dollars, number. `chance`: of being the best."""

    name: str
    counts: Mapping[str, int]
    hours: float
    calls: tuple[float, int]
    standing: str
    floor: float = 0.0
    chance: float | None = None
    out: str = ""

    @property
    def proposals(self) -> int:
        """All that it proposed, refused answers too."""
        return sum(self.counts.values())


def lines(agents: Sequence[AgentFacts]) -> Iterator[str]:
    """Two lines for each agent."""
    best = max((one.chance or 0.0 for one in agents), default=0.0)
    for one in agents:
        parts = ", ".join(
            f"{one.counts[state]} {word}"
            for state, word in WORDS.items()
            if one.counts.get(state)
        )
        plural = "" if one.proposals == 1 else "s"
        yield (
            f"agent   {one.name}: {one.proposals} proposal{plural}"
            f"{': ' + parts if parts else ''}; {_costs(one)}"
        )
        yield f"        {why(one, best)}"


def why(one: AgentFacts, best: float) -> str:
    """Why it has its share of proposals, where `best` is the largest chance of all."""
    if one.chance is None:
        why_out = f"; asked no more: {one.out}" if one.out else ""
        return f"out: {one.standing}{why_out}"
    chance = f"best with a chance of {100 * one.chance:.0f} %"
    if one.floor > one.chance:
        return f"floor of {100 * one.floor:g} %: {one.standing}; {chance}"
    return f"{'exploit' if one.chance >= best else 'explore'}: {one.standing}; {chance}"


def _costs(one: AgentFacts) -> str:
    text = "no device time"
    if one.hours > 0:
        rate = one.counts.get("keep", 0) / one.hours
        text = f"{rate:{'.0f' if rate >= 10 else '.2g'}} keeps a device-hour"
    usd, number = one.calls
    if number:
        text += f"; ${usd:.2f} in {number} call{'' if number == 1 else 's'}"
    return text
