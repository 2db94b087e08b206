"""Whose turn it is to propose: Thompson sampling, a function of what the ledger says.

Thompson, "On the likelihood that one unknown probability exceeds another in view of the
evidence of two samples", 1933. Each agent has a Beta posterior of its keeps per
proposal; one number is drawn from each, and the largest wins. So a better agent gets
more turns as soon as it is probably better, and a worse one as many as the doubt is
worth.

A keep counts 1, whatever it gained and cost: effects are noisy and shrink, and what a
proposal costs is bounded by the most runs of a candidate. Dollars and device-hours are
in the report, for people to weigh.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PRIOR = (0.5, 4.5)  # as if five proposals had been seen, half a keep among them
HALF_LIFE = 100  # proposals after which a result counts half: agents change, so does
# the baseline, on which all ideas get rarer
WINDOW = 20  # latest proposals, in which shares are counted
DRAWS = 1000  # for the chance of being the best

KEEP, LOSS, PENDING = "keep", "loss", "pending"


@dataclass(frozen=True)
class Turn:
    """One proposal of the past; a loss is whatever was decided and is no keep."""

    agent: str
    outcome: str


@dataclass(frozen=True)
class Choice:
    """Whose turn it is, and why in words."""

    agent: str
    reason: str


@dataclass(frozen=True)
class Standing:
    """What is known of one agent; `share` is that of the latest proposals."""

    agent: str
    keeps: int
    decided: int
    share: float
    posterior: tuple[float, float]

    @property
    def rate(self) -> float:
        """Expected keeps per proposal."""
        return self.posterior[0] / sum(self.posterior)

    @property
    def words(self) -> str:
        """`3 keeps of 40, share 71 %`."""
        plural = "" if self.keeps == 1 else "s"
        share = f"share {100 * self.share:.0f} %"
        return f"{self.keeps} keep{plural} of {self.decided}, {share}"


def next_agent(turns: Sequence[Turn], floors: Mapping[str, float], seed: int) -> Choice:
    """Whose turn it is among the agents of `floors`, which holds their least shares.

    The same turns and seed give the same answer.
    """
    standings = {one.agent: one for one in stand(turns, floors)}
    if len(standings) == 1:
        (name,) = standings
        return Choice(name, f"nobody else: {standings[name].words}")
    if behind := _below_floor(turns, floors):
        words = f"floor of {100 * floors[behind]:g} %: {standings[behind].words}"
        return Choice(behind, words)
    rng = random.Random(f"{seed} {len(turns)}")
    drawn = _draw(standings.values(), rng)
    best = max(standings.values(), key=lambda one: one.rate).agent
    word = "exploit" if drawn == best else "explore"
    return Choice(drawn, f"{word}: {standings[drawn].words}")


def stand(turns: Sequence[Turn], names: Iterable[str]) -> tuple[Standing, ...]:
    """The standing of each of these agents, by name."""
    latest = [turn.agent for turn in turns[-WINDOW:]]
    weighed = {name: {KEEP: PRIOR[0], LOSS: PRIOR[1], PENDING: 0.0} for name in names}
    counts = {name: {KEEP: 0, LOSS: 0, PENDING: 0} for name in weighed}
    weight = 1.0
    for turn in reversed(turns):
        if turn.agent in weighed:
            weighed[turn.agent][turn.outcome] += weight
            counts[turn.agent][turn.outcome] += 1
        weight *= 0.5 ** (1 / HALF_LIFE)
    return tuple(
        Standing(
            name,
            counts[name][KEEP],
            counts[name][KEEP] + counts[name][LOSS],
            latest.count(name) / max(1, len(latest)),
            (weighed[name][KEEP], weighed[name][LOSS]),
        )
        for name in sorted(weighed)
    )


def chances(standings: Sequence[Standing], seed: int) -> dict[str, float]:
    """How likely each agent is the best one: its share, were there no floors."""
    rng = random.Random(f"{seed} chances")
    wins = {one.agent: 0 for one in standings}
    for _ in range(DRAWS):
        wins[_draw(standings, rng)] += 1
    return {name: count / DRAWS for name, count in wins.items()}


def _below_floor(turns: Sequence[Turn], floors: Mapping[str, float]) -> str | None:
    """Who would have less than his least share of the window that this turn ends."""
    latest = turns[len(turns) - min(len(turns), WINDOW - 1) :]
    size = len(latest) + 1
    missing = {
        name: floor * size - sum(turn.agent == name for turn in latest)
        for name, floor in sorted(floors.items())
    }
    name = max(missing, key=lambda name: missing[name])
    return name if missing[name] > 1e-9 else None


def _draw(standings: Iterable[Standing], rng: random.Random) -> str:
    drawn = {one.agent: rng.betavariate(*one.posterior) for one in standings}
    return max(drawn, key=lambda name: drawn[name])
