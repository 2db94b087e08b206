"""Runs of the baseline: how many it needs, who makes them, and what they may not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autoresearch_plugin import breakage, comparable, comparing, judge
from autoresearch_plugin.audit import RUNS_MAX
from autoresearch_plugin.errors import DeviceLost, InfrastructureError
from autoresearch_plugin.idea import Head
from autoresearch_plugin.measuring import Measuring, last_words
from autoresearch_plugin.paths import checkpoint
from autoresearch_plugin.trial import Estimate, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from autoresearch_plugin.ledger import Row

HEAD_TOP_EVERY = 15  # one more baseline run per so many screened candidates ...
HEAD_TOP_MAX = 6  # ... up to this many (judge.md: keeps an unlucky head from stalling)
POSITIONS_TO_GO_ON = 512  # verified before another run; finds 1 % of leaks with 0.994


@dataclass
class Baselines(Measuring):
    """A hold of a session that measures its baseline."""

    _told_tempo: bool = field(default=False, init=False)
    _asked: tuple[str, int] = field(default=("", 0), init=False)
    _sharper: bool = field(default=False, init=False)

    def baseline(self, head: Head) -> Estimate:
        """The baseline's metric over its runs so far, as this lane's candidates meet
        it."""
        devices = comparable.Devices(self)
        base = comparable.met_by(self, head, devices, devices.own)
        return Estimate.of(
            [row["value"] for row in base],
            sd=comparing.unpaired_noise(self, head).sigma,
        )

    def calibrate(self, late: bool = False) -> bool:
        """Run one baseline trial if the head needs one now; whether it did.

        `late` says that lanes have nothing better to do: then it gets at once the runs
        that it would get in time.
        """
        head, devices = self.head(), comparable.Devices(self)
        have = len(comparable.head_runs(self, head, devices))
        running = comparable.running(self, head, devices)
        screened = round(self.ledger.screened_count(head.id) * devices.share)
        most = self.baseline_runs if self.recorded else HEAD_TOP_MAX
        wanted = most if late else min(most, _wanted(have, running, screened))
        if have + running >= wanted:
            return False  # looked at often by lanes that wait: not worth a lock
        enough = have >= self.baseline_runs and not late
        if enough and self._pairs_are_sharper(head, screened):
            return False  # pairs need the seeds that a candidate has, and no more
        row = comparable.claim_head_run(self, head, wanted)
        if row is None:
            return False
        self._head_trial(head, row)
        return True

    def _pairs_are_sharper(self, head: Head, screened: int) -> bool:
        """`comparing.pairs_are_sharper`, asked again when a candidate was screened."""
        if (head.id, screened) != self._asked:
            self._asked = head.id, screened
            self._sharper = comparing.pairs_are_sharper(self, head)
        return self._sharper

    def ensure_head(self, head: Head, wanted: int) -> None:
        """Wait until `head` has `wanted` runs, running those nobody else runs."""
        while len(comparable.head_runs(self, head)) < wanted:
            row = comparable.claim_head_run(self, head, wanted)
            if row is None:
                self.pause("the baseline, which another process measures")
            else:
                self._head_trial(head, row)
        self.end_wait()

    def _head_trial(self, head: Head, row: Row) -> None:
        number = row["seed_index"] + 1
        label = f"baseline {head.short}, run {number}"
        budget = self.budget_of(head)
        sealed = self._to_be_audited(head, row)
        known = self.ledger.head_trials(head.id)
        result = self.trial(
            *(head, head.source, row, budget, label),
            keep_as=sealed,
            positions=lambda _: 0 if known else POSITIONS_TO_GO_ON,
        )
        if result.ok:
            self.tell(f"{label}: {self.value_text(result)}")
            self._tell_tempo()
            return
        if result.outcome is Outcome.WAITED:
            self.tell(f"{label}: {result.message}; not counted, trying once more")
            return
        if result.outcome.is_accident and breakage.try_again(
            self, head, row, label, result
        ):
            return
        if lost := breakage.device_fault(self, result):
            raise DeviceLost(lost)
        raise InfrastructureError(
            f"the baseline itself does not run: {result.outcome}"
            f"{': ' if result.message else ''}{result.message}. No idea is to blame; "
            f"try the training by hand first.{last_words(result)}"
        )

    def _tell_tempo(self) -> None:
        """Say once that this lane's device is not as fast as the others."""
        words = comparable.Devices(self).words
        if words and not self._told_tempo:
            self._told_tempo = True
            self.tell(words)

    def _to_be_audited(self, head: Head, row: Row) -> Path | None:
        """Where the checkpoint of a first baseline's run goes: the audit scores it."""
        first = self.ledger.session(self.session)["first_head"] == head.id
        if not (first and self.moves_head and self.profile.hidden) or self.paired:
            return None  # pairs need new runs of both ends
        if self.settings.audit == "never" or row["seed_index"] >= RUNS_MAX:
            return None
        return checkpoint(self.root, head.id, row["seed"])


def _wanted(measured: int, running: int, screened: int) -> int:
    """Runs a head should have: one to screen, more once it is screened against.

    Losers can be dropped from the first run on, so candidates start early; lanes that
    would idle meanwhile calibrate.
    """
    if measured == 0 and running:
        return judge.HEAD_MIN
    if screened == 0:
        return 1
    return judge.HEAD_MIN + screened // HEAD_TOP_EVERY
