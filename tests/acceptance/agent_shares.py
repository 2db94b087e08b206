"""What share the better of two agents gets: simulated ledgers, the bandit as it ships.

    python tests/acceptance/agent_shares.py > table.md

Keep rates are planted; each ledger is a hundred proposals, the last `LAG` of which wait
for their verdict whenever somebody is chosen. Beside the mean share of the latest
proposals stand the keeps, and those of taking turns and of knowing the better one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from autoresearch_plugin.bandit import KEEP, LOSS, PENDING, WINDOW, Turn, next_agent

LEDGERS = 200
LENGTH = 100
LAG = 3  # two lanes and one ahead
RATES = ((0.3, 0.05), (0.2, 0.05), (0.1, 0.02), (0.05, 0.01), (0.1, 0.1))
Rates = Callable[[int], Mapping[str, float]]


def simulated(
    rates: Rates, floors: Mapping[str, float], seed: int, length: int = LENGTH
) -> list[Turn]:
    """A ledger of `length` proposals; the last few are decided later."""
    rng = random.Random(f"world {seed}")
    turns: list[Turn] = []
    for number in range(length):
        waiting = [Turn(turn.agent, PENDING) for turn in turns[-LAG:]]
        name = next_agent(turns[:-LAG] + waiting, floors, seed).agent
        kept = rng.random() < rates(number)[name]
        turns.append(Turn(name, KEEP if kept else LOSS))
    return turns


def share(turns: list[Turn], agent: str) -> float:
    """Of the latest proposals."""
    return sum(turn.agent == agent for turn in turns[-WINDOW:]) / WINDOW


def table() -> Iterator[str]:
    """One line for each pair of keep rates."""
    yield (
        "| keep rates | share of the better one | in the worst tenth of ledgers "
        "| keeps | taking turns | the better one alone |"
    )
    yield "|---|---|---|---|---|---|"
    for good, poor in RATES:
        rates = {"good": good, "poor": poor}
        ended = [
            simulated(
                lambda number, rates=rates: rates, dict.fromkeys(rates, 0.0), seed
            )
            for seed in range(LEDGERS)
        ]
        shares = sorted(share(turns, "good") for turns in ended)
        keeps = sum(turn.outcome == KEEP for turns in ended for turn in turns)
        yield (
            f"| {100 * good:g} % and {100 * poor:g} % "
            f"| {100 * sum(shares) / LEDGERS:.0f} % "
            f"| {100 * shares[LEDGERS // 10]:.0f} % | {keeps / LEDGERS:.1f} "
            f"| {LENGTH * (good + poor) / 2:.1f} | {LENGTH * good:.1f} |"
        )


if __name__ == "__main__":
    for line in table():
        print(line)
