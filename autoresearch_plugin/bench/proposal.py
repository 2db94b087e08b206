"""A proposal for the next version of the rule; it does not ship.

A gain that is many standard errors large needs no third run: one run is enough at an
e-value of `first_e`, two are at `second_e`. In pairs a baseline then needs no more runs
than the candidate has.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoresearch_plugin import judge
from autoresearch_plugin.evidence import Evidence, Question


@dataclass(frozen=True)
class Quick(judge.Rule):
    """The default rule, faster where the evidence is strong."""

    first_e: float = 10.0
    second_e: float = 3.0
    name: str = "quick"

    def decision(
        self, question: Question, evidence: Evidence, e: float, go_e: float
    ) -> str:
        """As `judge.Rule.decision`, with bounds of their own for the first two runs."""
        if e < go_e:
            return judge.DISCARD
        if evidence.missing:
            return judge.REPLICATE
        if e >= self._bound(evidence.n):
            quick = evidence.paired and evidence.n < self.n_min
            head_min = evidence.n if quick else self.head_min
            if evidence.head_n >= head_min:
                return judge.KEEP
            return judge.REPLICATE
        runs, most = len(question.candidate), min(self.n_max, question.max_runs)
        return judge.DISCARD if runs >= most else judge.REPLICATE

    def _bound(self, runs: int) -> float:
        early = {1: self.first_e, 2: self.second_e}
        return max(self.keep_e, early[runs]) if runs < self.n_min else self.keep_e
