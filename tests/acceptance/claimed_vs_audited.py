"""What two sessions claimed while they ran, and what fresh seeds say of it: a figure.

    python tests/acceptance/claimed_vs_audited.py \\
        default=a/ledger.db greedy=b/ledger.db --audit audit.json

The audit file holds, for each session and each of its heads, the metric of runs with
seeds that no session has seen. A head is called by the number of the candidate that
became it; the first one is 0:

    {"default": {"0": [2.337, 2.330], "12": [2.301, 2.305]}, "greedy": {...}}
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import collect

LEVEL = 0.95
COLOURS = ("#1b6ca8", "#d1603d", "#5a9367", "#7d5ba6")

Audit = Mapping[str, Sequence[float]]


class Claim(NamedTuple):
    """A head of a session: since when it was one, and how good it was said to be."""

    hours: float
    value: float
    candidate: int


@dataclass(frozen=True)
class Claims:
    """What a session said of its heads, and how long it ran, in device hours."""

    metric: str
    sign: float
    heads: tuple[Claim, ...]
    hours: float

    def best(self) -> list[float]:
        """The best value so far, head after head."""
        values = [self.sign * head.value for head in self.heads]
        return [self.sign * min(values[: i + 1]) for i in range(len(values))]


def claims(path: Path) -> Claims:
    """The claims of the last session in a ledger."""
    with collect.snapshot(path) as ledger:
        session = ledger.sessions()[-1]
        trials = ledger.session_trials(session["id"])
        first = statistics.fmean(
            trial["value"] for trial in ledger.head_trials(session["first_head"])
        )
        keeps = [c for c in ledger.candidates(session["id"]) if c["state"] == "keep"]

    def hours(until: float) -> float:
        done = (t for t in trials if t["finished"] <= until)
        return float(sum(t["finished"] - t["started"] for t in done) / 3600)

    heads = [Claim(0.0, first, 0)]
    for keep in sorted(keeps, key=lambda keep: keep["decided"]):
        value = keep["evidence"]["candidate"]["mean"]
        heads.append(Claim(hours(keep["decided"]), value, keep["id"]))
    metric = json.loads(session["profile"] or "{}").get("metric", "metric")
    total = hours(float("inf"))
    return Claims(metric, collect.sign_of(session), tuple(heads), total)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t."""
    from scipy import stats

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, 0.0
    error = statistics.stdev(values) / len(values) ** 0.5
    return mean, float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error


def draw(sessions: Mapping[str, Claims], audit: Mapping[str, Audit], out: Path) -> None:
    """Steps for what was claimed, points with intervals for what was audited."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (name, session) in zip(COLOURS, sessions.items(), strict=False):
        _draw_session(axes, name, session, audit.get(name, {}), colour)
    metric = next(iter(sessions.values())).metric
    axes.set_xlabel("device hours")
    axes.set_ylabel(f"{metric} of the baseline")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(out, dpi=150, metadata={"Software": None})


def _draw_session(
    axes: Any, name: str, session: Claims, audit: Audit, colour: str
) -> None:
    best = session.best()
    hours = [head.hours for head in session.heads] + [session.hours]
    line = [*best, best[-1]]
    axes.step(hours, line, where="post", color=colour, label=f"{name}, claimed")
    checked = [head for head in session.heads if audit.get(str(head.candidate))]
    ends = [interval(audit[str(head.candidate)]) for head in checked]
    axes.errorbar(
        [head.hours for head in checked],
        [mean for mean, _ in ends],
        yerr=[half for _, half in ends],
        fmt="o",
        color=colour,
        markersize=4,
        capsize=3,
        label=f"{name}, audited with new seeds (95 %)",
    )


def main(words: Sequence[str] | None = None) -> None:
    """Read ledgers and audit, write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ledgers", nargs="+", metavar="NAME=LEDGER")
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/claimed_vs_audited.png"))
    options = parser.parse_args(words)
    named = dict(word.split("=", 1) for word in options.ledgers)
    audit = json.loads(options.audit.read_text(encoding="utf-8"))
    draw({name: claims(Path(path)) for name, path in named.items()}, audit, options.out)


if __name__ == "__main__":
    main()
