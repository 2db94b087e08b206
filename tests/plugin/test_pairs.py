"""Pairs that began with the same model are one kind, others another."""

from __future__ import annotations

import math

import pytest

from autoresearch_plugin import comparing
from autoresearch_plugin.ledger import Row
from autoresearch_plugin.trial import Budget, Profile


class Told:
    """What `comparing` reads, with these runs in the ledger."""

    paired = True
    fingerprint = "f"

    def __init__(self, rows: list[Row], kept: int | None = None) -> None:
        self.rows, self.kept = rows, kept
        self.ledger = self
        self.profile = Profile(
            "toy", "score", "min", Budget("steps", 10),
            noise_unpaired=0.005, noise_paired=0.0016,
        )  # fmt: skip

    def noise_trials(self, fingerprint: str) -> list[Row]:
        """All runs."""
        return self.rows

    def origins(self, fingerprint: str) -> list[Row]:
        """The baseline `new` was the candidate `kept`."""
        row = {"head": "new", "candidate": self.kept, "parent": "h", "paired": 1}
        return [] if self.kept is None else [row]

    def head_trials(self, head: str) -> list[Row]:
        """The baseline's."""
        return [row for row in self.rows if row["candidate"] is None]


HEAD = type("Head", (), {"id": "h"})()


def run(
    candidate: int | None,
    seed: int,
    value: float,
    start: float | None,
    head: str = "h",
) -> Row:
    """One good run."""
    summary = {"tokens_per_step": 64, "first_loss": start}
    return {
        "head": head, "candidate": candidate, "seed": seed, "value": value,
        "summary": summary,
    }  # fmt: skip


def noise(alike: bool, gaps: list[float], start: float | None = 6.93) -> float:
    """Sigma of pairs of a kind after one candidate with these differences."""
    base = [run(None, seed, 2.0, 6.93) for seed in range(max(1, len(gaps)))]
    mine = [run(1, seed, 2.0 + gap, start) for seed, gap in enumerate(gaps)]
    told = Told([*base, *mine])
    return comparing.paired_noise(told, HEAD, alike).sigma  # type: ignore[arg-type]


def test_a_baseline_pairs_with_the_runs_it_had_as_a_candidate() -> None:
    """They tell of noise as those that it makes as a baseline do."""
    before = [run(1, seed, 2.0, 6.93) for seed in range(4)]
    gaps = [0.3, -0.3, 0.2, -0.2]
    later = [run(2, seed, 2.0 + gap, 6.93, "new") for seed, gap in enumerate(gaps)]
    unknown, known = (
        comparing.paired_noise(told, HEAD).sigma  # type: ignore[arg-type]
        for told in (Told([*before, *later]), Told([*before, *later], kept=1))
    )
    assert known > 2 * unknown


def test_the_two_kinds_have_pools_of_their_own() -> None:
    """What pairs with another first loss scatter does not widen those alike."""
    wild = [0.3, -0.3, 0.2, -0.2]
    assert noise(True, wild, start=6.94) == pytest.approx(noise(True, []), rel=1e-6)
    assert noise(True, wild, start=6.93) > 5 * noise(True, [])
    assert noise(False, wild, start=6.94) > 5 * noise(False, [])


def test_other_starts_begin_as_two_runs_of_two_seeds() -> None:
    """Their prior is the unpaired one times sqrt(2); the metric's size is the unit."""
    assert noise(True, []) == pytest.approx(2 * 0.0016, rel=1e-6)
    assert noise(False, []) == pytest.approx(2 * math.sqrt(2) * 0.005, rel=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (6.931228, 6.931228, True),
        (6.931228, 6.931234, True),
        (6.931228, 6.931305, False),
        (None, 6.93, False),
        (6.93, None, False),
        (None, None, True),
    ],
)
def test_rounding_is_no_other_start(
    one: float | None, other: float | None, same: bool
) -> None:
    """Another initialisation differs by more than rounding; unknown is alike."""
    assert comparing.same_start(one, other) is same
