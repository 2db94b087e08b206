"""Figures of docs/verdicts.md.

    python tests/acceptance/verdict_figures.py --sessions 300

Simulated sessions of the reference world, seeds from 0. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib import pyplot as plt

from autoresearch_plugin import judge
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.policies import POLICIES
from autoresearch_plugin.bench.rivals import FixedRuns, Greedy, bootstrap, t_test
from autoresearch_plugin.bench.simulation import Policy, Session
from autoresearch_plugin.bench.table import GAINS, Tally
from autoresearch_plugin.bench.worlds import WORLDS
from autoresearch_plugin.settings import BUNDLE

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
BOUNDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
BLUE, RED, GREY, GREEN = "#1f5fa8", "#b5352b", "#8a8a8a", "#2e7d4f"


def tally(policy: Callable[[], Policy], sessions: int) -> Tally:
    """Sessions of 27.5 GPU-hours in the reference world."""
    total = Tally()
    for seed in range(sessions):
        world = WORLDS["reference"]
        session = Session(world, policy(), 1, 27.5, random.Random(seed))
        total += Tally.of(session.run())
    return total


def main() -> None:
    """Draw the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=300)
    sessions = parser.parse_args().sessions
    FIGURES.mkdir(exist_ok=True)
    default, greedy = tally(bundling, sessions), tally(Greedy, sessions)
    alone = tally(Judged, sessions)
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False})
    plt.rcParams["axes.spines.right"] = False
    operating(
        {"default": default, "default, no bundles": alone, "greedy": greedy},
        {"default": BLUE, "default, no bundles": GREY, "greedy": RED},
    )
    frontier({"default": default, "default, no bundles": alone}, greedy, sessions)


# -------------------------------------------------------------------------- figures


def operating(tallies: Mapping[str, Tally], colors: Mapping[str, str]) -> None:
    """Share of ideas that are kept, alone or in a bundle, by what they truly do."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    edges = (-4.5, *GAINS, 4.5)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    for name, total in tallies.items():
        shares = [share(total, size) for size in range(len(middles))]
        axes.plot(middles, shares, "o-", color=colors[name], label=name)
    axes.axvspan(-4.5, 0, color=GREY, alpha=0.12, lw=0)
    words = (
        "harmful or nothing: kept\nalone it is a false keep,\nin a bundle a passenger"
    )
    axes.text(-4.3, 80, words, color="#555555", fontsize=9)
    axes.set_xlabel("true gain of an idea, in standard deviations of one run")
    axes.set_ylabel("kept, %")
    axes.set_ylim(-2, 100)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.06))
    save(figure, "operating.png")


def share(total: Tally, size: int) -> float:
    """Percent of the candidates of one size that were kept."""
    tried = total.counts[f"tried {size}"]
    return 100 * total.counts[f"kept {size}"] / tried if tried else math.nan


def bundling() -> Policy:
    """The rule as it ships."""
    return Judged(bundle=BUNDLE)


def frontier(known: Mapping[str, Tally], greedy: Tally, sessions: int) -> None:
    """What each rule gains, and how many of its keeps are false. With bundles the bound
    for a keep hardly matters: the curve is the rule without."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    unit = greedy.gain_per_hour
    curve = []
    for bound in BOUNDS:
        rule = replace(judge.DEFAULT, keep_e=bound)
        curve.append(point(tally(lambda rule=rule: Judged(rule), sessions), unit))
    axes.plot(*zip(*curve, strict=True), "-", color=BLUE, lw=1.2)
    for bound, spot in zip(BOUNDS, curve, strict=True):
        axes.annotate(f"{bound:g}", spot, (4, -11), textcoords="offset points",
                      fontsize=7, color=BLUE)  # fmt: skip
    for name, total in known.items():
        spot = point(total, unit)
        axes.plot(*spot, "o", color=BLUE)
        axes.annotate(name, spot, (6, 5), textcoords="offset points", fontsize=8)
    for name, policy, color in (
        ("explore (simulated only)", POLICIES["explore"], GREEN),
        ("greedy", Greedy, RED),
        ("greedy, stops early", lambda: Greedy(early_stop=True), RED),
        ("greedy, margin 1 sigma", lambda: Greedy(margin=1.0), RED),
        ("three runs, t-test", lambda: FixedRuns(t_test, screens=False), GREY),
        ("three runs, bootstrap", lambda: FixedRuns(bootstrap, screens=True), GREY),
    ):
        spot = point(tally(policy, sessions), unit)
        axes.plot(*spot, "o", color=color)
        axes.annotate(name, spot, (6, 5), textcoords="offset points", fontsize=8)
    axes.axvline(5, color=GREY, lw=0.8, ls=":")
    axes.set_xlabel("false keeps, % of all keeps")
    axes.set_ylabel("true gain per GPU-hour, greedy = 1")
    axes.set_xlim(-0.5, 30)
    axes.set_ylim(0, 2.0)
    save(figure, "frontier.png")


def point(total: Tally, unit: float) -> tuple[float, float]:
    """False keeps in percent, and gain over the unit."""
    false = 100 * total.false_keeps / max(1, total.keeps)
    return false, total.gain_per_hour / unit


def save(figure: plt.Figure, name: str) -> None:
    """Small enough for a repository."""
    figure.tight_layout()
    figure.savefig(FIGURES / name, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
