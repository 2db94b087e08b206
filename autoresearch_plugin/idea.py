"""What passes between a test and the loop: an idea, the head it meets, a judgement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoresearch_plugin import candidate as candidates
from autoresearch_plugin.errors import PatchError

if TYPE_CHECKING:
    from autoresearch_plugin.candidate import Edit
    from autoresearch_plugin.judge import Verdict


@dataclass(frozen=True)
class Idea:
    """A candidate as its test states it: words, edits and where the test lives."""

    kind: str
    title: str
    hypothesis: str
    category: str
    edits: tuple[Edit, ...]
    nodeid: str = ""
    file: str | None = None
    test: str | None = None
    number: int | None = None
    patched: str | None = None
    error: PatchError | None = None

    @property
    def signature(self) -> str:
        """Identity of the idea, whatever its parent."""
        return candidates.signature(self.edits)

    def apply(self, source: str) -> str:
        """The parent's source with this idea; raises PatchError."""
        if self.patched is not None:
            return self.patched
        return candidates.apply_edits(self.edits, source)


@dataclass(frozen=True)
class Head:
    """The baseline that candidates are run against now."""

    id: str
    source: str
    commit: str | None
    amount: float | None = None  # of the budget, where a keep has changed it

    @property
    def short(self) -> str:
        """How messages name it."""
        return self.commit[:7] if self.commit else "the working tree"


@dataclass(frozen=True)
class Judgement:
    """What became of a candidate: `keep`, `discard`, `crash`, `refused` or `before`.

    `before` means that it is part of the baseline already. `reason` is the sentence
    that a person reads; `verdict` is there when trials were judged.
    """

    state: str
    reason: str
    number: int
    head: Head
    patched: str | None = None
    verdict: Verdict | None = None
    from_ledger: bool = False
    outcome: str = "ok"
