"""One idea of the past, as prompts, searches and checks see it."""

from __future__ import annotations

from dataclasses import dataclass

from autoresearch_plugin.candidate import Edit
from autoresearch_plugin.patch import Change

FAILED = ("discard", "crash", "refused")
DECIDED = ("keep", *FAILED)


@dataclass(frozen=True)
class Tried:
    """One idea of the past; `effect` is candidate minus its own baseline.

    `head` is the baseline that it met, empty while it waits for one, and `source_key`
    names the program that it made of it. `changes` are the knobs it moves, if it does
    no more than that; `parts` are the near misses that a bundle is made of. `unclear`
    means neither proven better nor worse. `printed` is the end of a crash's output, of
    the latest crashes only.
    """

    number: int
    title: str
    signature: str
    edits: tuple[Edit, ...]
    category: str
    verdict: str  # keep, discard, crash, refused or running
    effect: float | None = None
    effect_sd: float | None = None
    value: float | None = None
    reason: str = ""
    head: str = ""
    source_key: str = ""
    changes: tuple[Change, ...] = ()
    unclear: bool = False
    generated: bool = True
    retests: int | None = None
    repairs: int | None = None
    printed: str = ""
    parts: tuple[int, ...] = ()

    def gain(self, sign: float) -> float:
        """How many standard errors it was better by; 0 where that is not known. `sign`
        is 1 for a metric that should fall, else -1."""
        if not self.effect or not self.effect_sd:
            return 0.0
        return -sign * self.effect / self.effect_sd

    @property
    def label(self) -> str:
        """The change in a few words: `LR 0.04→0.05`, `define MLP.forward`."""
        moves = map(str, self.changes)
        return (
            "; ".join(moves) or "; ".join(e.label() for e in self.edits) or self.title
        )
