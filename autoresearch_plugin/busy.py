"""How much of their time lanes were busy, and what they waited for. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Occupancy:
    """Seconds of all lanes together: in all, in runs, and waiting by reason."""

    seconds: float = 0.0
    runs: float = 0.0
    waits: Mapping[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of their time that lanes had a run under way."""
        return self.runs / self.seconds if self.seconds else 0.0

    @property
    def between(self) -> float:
        """Seconds of neither: a lane's start, what pytest does, measuring a pace."""
        return max(0.0, self.seconds - self.runs - sum(self.waits.values()))


def occupancy(runs: Iterable[Row], waits: Iterable[Row]) -> Occupancy:
    """From the ledger's rows, which say `owner`, `started` and `finished`.

    A lane is a process: its time goes from its first row to its last one.
    """
    ends: defaultdict[str, list[float]] = defaultdict(list)
    spent: defaultdict[str, float] = defaultdict(float)
    for row in [*({**run, "reason": ""} for run in runs), *waits]:
        ends[row["owner"]] += row["started"], row["finished"]
        spent[row["reason"]] += row["finished"] - row["started"]
    total = sum(max(times) - min(times) for times in ends.values())
    running = spent.pop("", 0.0)
    longest_first = sorted(spent.items(), key=lambda item: -item[1])
    return Occupancy(total, running, dict(longest_first))


def words(busy: Occupancy) -> str:
    """How busy they were, what they waited for longest, and what is between runs."""
    parts = [
        f"{_percent(seconds, busy)} waiting for {reason.partition(',')[0]}"
        for reason, seconds in busy.waits.items()
    ]
    parts.append(f"{_percent(busy.between, busy)} between runs")
    shown = [part for part in parts if not part.startswith("0.0 ")]
    text = f"{_percent(busy.runs, busy)} from lanes' first runs to their last"
    return "; ".join([text, ", ".join(shown)]) if shown else text


def _percent(seconds: float, busy: Occupancy) -> str:
    return f"{100 * seconds / busy.seconds:.1f} %"
