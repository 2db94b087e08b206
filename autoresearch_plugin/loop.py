"""The loop: what one process measures next, and how a candidate gets its verdict.

`Research` is one process' hold of a running session: a lane under `--autoresearch`, or
a plain `pytest experiments/test_x.py`. All it knows is in the ledger, so any number of
processes can work on one session and any of them may die.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import breakage, comparable, comparing, fairness, judge, patch
from autoresearch_plugin import candidate as candidates
from autoresearch_plugin.baselines import POSITIONS_TO_GO_ON, Baselines
from autoresearch_plugin.errors import (
    InfrastructureError,
    PatchError,
    SettingsError,
)
from autoresearch_plugin.idea import Head, Idea, Judgement
from autoresearch_plugin.measuring import Positions, last_words
from autoresearch_plugin.midway import Midway
from autoresearch_plugin.paths import promising
from autoresearch_plugin.quoting import visible
from autoresearch_plugin.trial import Outcome, TrialResult

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.repository import Kept

KEEP_LEASE = "keep"
POSITIONS_TO_KEEP = 2048  # before a keep; finds 0.1 % with 0.87


class Research(Baselines):
    """One process' hold of a session, with the right to decide."""

    # -------------------------------------------------------------------- facts

    def kept_before(self, head: Head) -> Mapping[str, Kept]:
        """Signatures that are part of the baseline's history, which git is asked for
        once: what a commit's ancestors are does not change."""
        if self.repository is None or head.commit is None:
            return {}
        commit, kept = self._kept
        if head.commit != commit:
            kept = self.repository.history(head.commit)
            self._kept = head.commit, kept
        return kept

    # ------------------------------------------------------------- a candidate

    def decide(self, idea: Idea) -> Judgement:
        """Run an idea as often as its verdict needs.

        Raises:
            InfrastructureError: the machinery failed.
            SessionStopping: the session ends.
        """
        head = self.head()
        if known := self._in_baseline(idea, head):
            if idea.number:
                self._close(idea.number, "before", known)
            return Judgement("before", known, idea.number or 0, head)
        try:
            if idea.error:
                raise idea.error
            patched = idea.apply(head.source)
            pointless = patch.pointless(head.source, patched)
        except PatchError as error:
            return self._close_early(
                idea, head, "discard", f"does not apply to {head.short}: {error}"
            )
        if pointless:
            return self._close_early(idea, head, "refused", f"no-op: {pointless}")
        number = self._record(idea, head, patched)
        with self._alone(head, patched):
            if self.head().id != head.id:  # moved by an equal one, perhaps
                return self.decide(replace(idea, number=number))
            answer = self._answer_from_ledger(number, idea, head, patched)
            return answer or self._measure(number, idea, head, patched)

    def _in_baseline(self, idea: Idea, head: Head) -> str | None:
        """Since when an idea is part of the baseline; None if it is not."""
        if kept := self.kept_before(head).get(idea.signature):
            return f"in the baseline since {kept.commit[:7]} ({kept.effect})"
        row = self.ledger.kept_as(idea.signature, patch.sha256(head.source))
        if row:  # its patch was applied by hand
            return f"in the baseline, proven as #{row['id']:03d}"
        return None

    @contextmanager
    def _alone(self, head: Head, patched: str) -> Iterator[None]:
        """Of equal candidates at once, the others wait for the verdict of the first."""
        name = f"{head.id} {patch.sha256(patch.normalise(patched))}"
        while not self.ledger.try_lease(name):
            self.pause("an equal candidate, which another process runs")
        self.end_wait()
        try:
            yield
        finally:
            self.ledger.release_lease(name)

    def _record(self, idea: Idea, head: Head, patched: str) -> int:
        fields = {
            "head": head.id,
            **candidates.identity(head.source, patched),
            "diff": patch.unified_diff(head.source, patched, self.settings.target),
            "added_lines": patch.logical_lines(patched)
            - patch.logical_lines(head.source),
            "state": "running",
            "started": time.time(),
            "nodeid": idea.nodeid,
        }
        if idea.number is not None:
            self.ledger.update_candidate(idea.number, **fields)
            return idea.number
        return self._add(idea, fields)

    def _add(self, idea: Idea, fields: Mapping[str, Any]) -> int:
        return self.ledger.add_candidate(
            self.session,
            idea.kind,
            {
                "title": idea.title,
                "hypothesis": idea.hypothesis,
                "category": idea.category,
                "edits": candidates.edits_json(idea.edits),
                "signature": idea.signature,
                "file": idea.file,
                "test": idea.test,
                **fields,
            },
        )

    def _close_early(self, idea: Idea, head: Head, state: str, why: str) -> Judgement:
        number, why = idea.number, visible(why)
        if number is None:
            number = self._add(idea, {"nodeid": idea.nodeid})
        self.ledger.update_candidate(number, head=head.id)
        self._close(number, state, why)
        return Judgement(state, why, number, head)

    def _close(self, number: int, state: str, reason: str) -> None:
        self.ledger.update_candidate(
            number, state=state, reason=reason, decided=time.time()
        )

    def _answer_from_ledger(
        self, number: int, idea: Idea, head: Head, patched: str
    ) -> Judgement | None:
        key = patch.sha256(patch.normalise(patched))
        old = self.ledger.decided_before(head.id, key, number)
        if old is None:
            return self._crashed_before(number, idea, head, patched, key)
        if not self._holds(old["evidence"]) or self._is_near_miss(idea, old):
            return None
        if _is_untrusted(old["sandbox"]) and not _is_untrusted(self.sandbox):
            return None
        if old["state"] == "keep" and not self._still_head(head):
            return self.decide(replace(idea, number=number))
        reason = f"decided before as #{old['id']:03d}: {old['reason']}"
        self._close(number, old["state"], reason)
        evidence = old["evidence"]
        verdict = judge.Verdict.from_data(evidence)
        self.ledger.add_verdict(
            number, head.id, verdict.decision, evidence, old["sandbox"]
        )
        return Judgement(old["state"], reason, number, head, patched, verdict, True)

    def _crashed_before(
        self, number: int, idea: Idea, head: Head, patched: str, key: str
    ) -> Judgement | None:
        """A crash is no verdict, and who wrote a test by hand may look at it again; but
        of two equal proposals in the queue one is enough."""
        if idea.kind != "generated":
            return None
        for old in self.ledger.crashed_before(head.id, key, number):
            outcome = old["reason"].partition(":")[0].partition(" ")[0]
            if outcome in list(Outcome) and not Outcome(outcome).is_accident:
                # no more of its words: they may be those of a process that scored
                reason = f"crashed before as #{old['id']:03d}: {outcome}"
                self._close(number, "crash", reason)
                return Judgement(
                    *("crash", reason, number, head, patched),
                    from_ledger=True,
                    outcome=outcome,
                )
        return None

    def _holds(self, evidence: Mapping[str, Any]) -> bool:
        """Whether a verdict of the past answers what is asked now.

        Not that of another rule, and not one that ran out of runs where more are
        allowed now.
        """
        verdict = judge.Verdict.from_data(evidence)
        if math.isfinite(verdict.stopped_at) and self.settings.stop_early == "never":
            return False
        same = (verdict.rule, verdict.rule_version) == judge.name_of(self.rule)
        undecided = verdict.decision == "discard" and verdict.e_value >= verdict.go_e
        return same and not (undecided and verdict.n < self.max_runs)

    def _is_near_miss(self, idea: Idea, old: Row) -> bool:
        """Whether it was left for a bundle after one run: who wrote a test by hand
        wants to know about this one."""
        verdict = judge.Verdict.from_data(old["evidence"])
        waits = old["kind"] == "generated" and idea.kind != "generated"
        return waits and verdict.decision == judge.DISCARD and _is_promising(verdict)

    def _still_head(self, head: Head) -> bool:
        """Take the right to move the head, if `head` still is the head."""
        if not self.moves_head:
            return True
        self._take_keep_lease()
        if self.head().id == head.id:
            return True
        self.release_keep()
        return False

    def _measure(self, number: int, idea: Idea, head: Head, patched: str) -> Judgement:
        """Judge on the present head; a winner of an old head is judged again."""
        try:
            while True:
                judgement = self._judge_on(number, head, patched)
                if judgement.state != "keep" or not self.moves_head:
                    break
                self._take_keep_lease()
                current = self.head()
                if current.id == head.id:
                    break
                self.tell(f"#{number:03d}: the baseline moved, measuring again")
                self.release_keep()  # others may commit while this one is measured
                head = current
                try:
                    patched = _restacked(idea, head)
                except PatchError as error:
                    why = f"does not apply to {head.short}: {error}"
                    judgement = Judgement("discard", why, number, head)
                    break
                self._record(replace(idea, number=number), head, patched)
        except BaseException:
            self.release_keep()
            raise
        if judgement.state != "keep":
            self.release_keep()
        self._close(number, judgement.state, judgement.reason)
        self.tell(f"#{number:03d} {idea.title}: {judgement.reason}")
        return judgement

    def _judged_already(
        self, number: int, head: Head, patched: str
    ) -> Judgement | None:
        """The verdict of a lane that died before it could commit or close it."""
        row = self.ledger.verdict_on(number, head.id)
        if row is None or not self._holds(row["evidence"]):
            return None
        verdict = judge.Verdict.from_data(row["evidence"])
        words = verdict.sentence
        return Judgement(verdict.decision, words, number, head, patched, verdict)

    def _judge_on(self, number: int, head: Head, patched: str) -> Judgement:
        if judged := self._judged_already(number, head, patched):
            return judged
        self.check_time()
        self.ensure_head(head, 1)
        price = self.price(number, head, patched)
        if price.failed is not None:
            return self._crash(number, head, patched, price.failed)
        while True:
            self.check_time()
            done = len(self.ledger.good_trials(number, head.id))
            row = self.ledger.start_trial(
                self.session, head.id, number, done, self.device.id
            )
            label = f"#{number:03d} run {done + 1} of at most {self.max_runs}"
            watch = self._watch(number, head, row)
            foreseen: list[judge.Verdict] = []
            positions = self._positions(number, head, row, foreseen)
            budget = self.charged(head, price.ratio)
            result = self.trial(
                head, patched, row, budget, label, watch, positions=positions
            )
            if result.outcome is Outcome.EARLY and watch and watch.verdict:
                return self._decided(number, head, patched, watch.verdict)
            if result.outcome.is_interruption and breakage.try_again(
                self, head, row, label, result
            ):
                continue
            if not result.ok:
                return self._crash(number, head, patched, result, done)
            verdict = comparing.verdict(self, number, head)
            if self.profile.isolates and result.verified is None:
                verdict = foreseen[-1]  # nobody looked, since it loses: that stands
            self.tell(f"{label}: {self.value_text(result)}; {verdict.sentence}")
            if verdict.decision != "discard" and not price.is_exact:
                price = self.price(number, head, patched, known=price)
                if price.failed is not None:
                    return self._crash(number, head, patched, price.failed, done)
                exact = self.charged(head, price.ratio)
                if exact != budget:
                    self.tell(
                        f"{label}: a step costs {price.ratio:.2f} of its parent's, "
                        f"so once more with {exact}"
                    )
                    continue
            if verdict.decision == "replicate":
                verdict = self._firmer_head(number, head, done + 1, verdict)
            why = self._overspent(number, head) if verdict.decision == "keep" else None
            if why:
                failure = TrialResult(Outcome.INTEGRITY, why)
                return self._crash(number, head, patched, failure, done)
            if verdict.decision != "replicate":
                return self._decided(number, head, patched, verdict)

    def _watch(self, number: int, head: Head, row: Row) -> Midway | None:
        """Only the first run of a candidate may be stopped early."""
        made = [Outcome(x["outcome"]) for x in self.ledger.candidate_trials(number)]
        if not all(outcome.is_interruption for outcome in made):
            return None
        return Midway(self, number, head, row)

    def _positions(
        self, number: int, head: Head, row: Row, foreseen: list[judge.Verdict]
    ) -> Positions:
        """At how many positions the claims behind a score are verified: none where they
        lose anyway, for lies pay upwards only. The verdict that says so is `foreseen`.
        """

        def positions(result: TrialResult) -> int:
            value = result.metrics.get(self.metric)
            if value is None:
                return 0
            verdict = comparing.verdict_with(self, number, head, row, result, value)
            foreseen.append(verdict)
            if verdict.decision == judge.DISCARD:
                return 0
            # A baseline that gets its runs only now may still turn it into a keep.
            keeps = verdict.decision == judge.KEEP or verdict.n >= judge.FEWEST
            return POSITIONS_TO_KEEP if keeps else POSITIONS_TO_GO_ON

        return positions

    def _overspent(self, number: int, head: Head) -> str | None:
        """Whether a candidate that would be kept has computed more than it may."""
        mine = self.ledger.good_trials(number, head.id)
        devices = comparable.Devices(self)
        base = comparable.met_by(self, head, devices, devices.own)
        if self.profile.charged and self.paired:
            ratio = self.ledger.candidate(number)["ratio"] or 1.0
            return fairness.overspent(mine, base, ratio)
        wall = self.device.kind == "cuda"
        return fairness.scored_long(mine, base, fairness.slowdown(mine, base), wall)

    def _decided(
        self, number: int, head: Head, patched: str, verdict: judge.Verdict
    ) -> Judgement:
        where = {row["sandbox"] for row in self.ledger.good_trials(number, head.id)}
        weakest = next(filter(_is_untrusted, where), self.sandbox)
        self.ledger.add_verdict(
            number, head.id, verdict.decision, verdict.to_data(), weakest
        )
        if verdict.decision == judge.DISCARD:
            self._forget_claims(number)
        return Judgement(
            verdict.decision, verdict.sentence, number, head, patched, verdict
        )

    def _firmer_head(
        self, number: int, head: Head, done: int, verdict: judge.Verdict
    ) -> judge.Verdict:
        """Give the head the runs that the next comparison needs, and ask again."""
        runs = comparable.head_runs(self, head)
        seeds = set(self.ledger.bank(head.id, done + 1) if self.paired else ())
        lacking = len(seeds - {run["seed"] for run in runs})
        self.ensure_head(head, max(judge.HEAD_MIN, len(runs) + lacking))
        grown = len(comparable.head_runs(self, head)) > len(runs)
        return comparing.verdict(self, number, head) if grown else verdict

    def _crash(
        self,
        number: int,
        head: Head,
        patched: str,
        result: TrialResult,
        done: int = 0,
    ) -> Judgement:
        """A failed run: no number, no test; a diverging replicate ends it as well."""
        if result.outcome is Outcome.ENV:
            raise InfrastructureError(f"{result.message}{last_words(result)}")
        if result.outcome is not Outcome.INTEGRITY:
            breakage.check(self, number, head, result)
        self._forget_claims(number)
        words = str(result.outcome)
        if result.message:
            words += f": {result.message.splitlines()[0][:500]}"
        if done:
            words += f" (in run {done + 1})"
        state = "discard" if result.outcome is Outcome.INTEGRITY else "crash"
        return Judgement(
            state, words, number, head, patched, outcome=str(result.outcome)
        )

    def _forget_claims(self, number: int) -> None:
        with suppress(OSError):
            promising(self.root, number).unlink()

    # ------------------------------------------------------------ the right to keep

    def _take_keep_lease(self) -> None:
        while not self.ledger.try_lease(KEEP_LEASE):
            self.pause("another lane to commit its keep")
        self.end_wait()
        self._follow_branch()

    def _follow_branch(self) -> None:
        """Meet what is on the research branch now: a lane may have died in its commit,
        somebody may have committed by hand. Called by the holder of the keep lease.
        """
        head = self.head()
        if self.repository is None or head.commit is None or not self.settings.tag:
            return
        tip = self.repository.parent(self.settings.tag)
        if tip.commit == head.commit:
            return
        kept = self.repository.history(tip.commit)
        for row in self.ledger.candidates(self.session):
            found = kept.get(row["signature"])
            if found and row["state"] == "keep" and not row["commit_id"]:
                self.ledger.update_candidate(row["id"], commit_id=found.commit)
        self.enter_head(tip.source, tip.commit)
        self.tell(f"the research branch is at {tip.short}: that is the baseline now")

    def release_keep(self) -> None:
        """Let other lanes move the head."""
        if self.moves_head:
            self.ledger.release_lease(KEEP_LEASE)


def _is_promising(verdict: judge.Verdict) -> bool:
    """Better than its baseline, or heading for it, after one run or less."""
    return verdict.n <= 1 and verdict.d < 0


def _is_untrusted(sandbox: str | None) -> bool:
    return "untrusted" in (sandbox or "")


def _restacked(idea: Idea, head: Head) -> str:
    """A winner's source on a newer head; raises PatchError if nothing is left of it."""
    patched = idea.apply(head.source)
    if pointless := patch.pointless(head.source, patched):
        raise PatchError(f"it is in there already: {pointless}")
    return patched


def load_rule(setting: str) -> judge.AnyRule:
    """The decision rule a setting names: a built-in one or `MODULE:NAME`.

    Raises:
        SettingsError: there is no such rule.
    """
    if setting in judge.RULES:
        return judge.RULES[setting]
    module, _, name = setting.partition(":")
    try:
        if not name:
            raise AttributeError(setting)
        loaded = getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError):
        raise SettingsError(
            f"no rule {setting!r}; use {', '.join(judge.RULES)} or MODULE:NAME of a "
            "function that takes a judge.Question and returns a judge.Opinion."
        ) from None
    rule: judge.AnyRule = loaded
    return rule
