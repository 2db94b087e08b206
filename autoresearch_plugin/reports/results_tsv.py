"""results.tsv: autoresearch's notebook of five tab-separated columns.

A failed run has an empty metric; nothing stands in for a number that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autoresearch_plugin.quoting import flat


@dataclass(frozen=True)
class Row:
    """One line of the notebook; `status` is keep, discard or crash."""

    commit: str
    value: float | None
    memory_gb: float | None
    status: str
    description: str


def render(rows: Iterable[Row], metric: str = "val_bpb") -> str:
    """The whole file, header first; `metric` names the second column."""
    header = ["commit", metric, "memory_gb", "status", "description"]
    return "".join(_line(cells) for cells in [header, *map(_cells, rows)])


def _cells(row: Row) -> list[str]:
    return [
        row.commit,
        _number(row.value, 6),
        _number(row.memory_gb, 1),
        row.status,
        row.description,
    ]


def _number(value: float | None, places: int) -> str:
    """Fixed decimals, as autoresearch writes them; more where those would all be 0."""
    if value is None or not math.isfinite(value):
        return ""
    fixed = f"{value:.{places}f}"
    return fixed if float(fixed) or not value else f"{value:.{places}g}"


def _line(cells: Iterable[str]) -> str:
    return "\t".join(map(_clean, cells)) + "\n"


def _clean(text: str) -> str:
    """One cell: without tabs, line ends or control characters."""
    return flat(text)
