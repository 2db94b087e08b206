"""What two sessions claimed while they ran, and what fresh seeds say of it: a figure.

    python tests/acceptance/claimed_vs_audited.py \\
        default=a/ledger.db greedy=b/ledger.db --audit audit.jsonl

The audit file is what audit_heads.py writes: the metric of every head on hidden text,
with seeds that no session has seen, the same for all heads of a session. Both are drawn
as gains on the session's first head: the lowest number so far against the first one,
and the mean of the differences seed by seed.
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

Audit = Mapping[int, Mapping[int, float]]  # candidate, seed: the metric


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
        """The best gain on the first head so far, head after head."""
        first = self.heads[0].value
        gains = [self.sign * (first - head.value) for head in self.heads]
        return [max(gains[: i + 1]) for i in range(len(gains))]

    def audited(self, audit: Audit, candidate: int) -> list[float]:
        """Gains of a head on the first one, a seed each."""
        first, own = audit.get(0, {}), audit.get(candidate, {})
        return [self.sign * (first[seed] - own[seed]) for seed in own if seed in first]


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
        done = (
            t for t in trials if t["finished"] <= until and t["outcome"] != "suspended"
        )
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
    axes.set_ylabel(f"gain in {metric} on the first baseline")
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
    gains = [(h.hours, session.audited(audit, h.candidate)) for h in session.heads[1:]]
    checked = [(at, *interval(values)) for at, values in gains if values]
    axes.errorbar(
        [at for at, _, _ in checked],
        [mean for _, mean, _ in checked],
        yerr=[half for _, _, half in checked],
        fmt="o",
        color=colour,
        markersize=4,
        capsize=3,
        label=f"{name}, audited with new seeds (95 %)",
    )


def read_audit(path: Path) -> dict[str, dict[int, dict[int, float]]]:
    """Session, candidate, seed: the metric; runs that gave none are left out."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["value"] is not None:
            heads = found.setdefault(row["session"], {})
            heads.setdefault(row["candidate"], {})[row["seed"]] = row["value"]
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Read ledgers and audit, write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ledgers", nargs="+", metavar="NAME=LEDGER")
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/claimed_vs_audited.png"))
    options = parser.parse_args(words)
    named = dict(word.split("=", 1) for word in options.ledgers)
    audit = read_audit(options.audit)
    draw({name: claims(Path(path)) for name, path in named.items()}, audit, options.out)


if __name__ == "__main__":
    main()
