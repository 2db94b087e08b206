"""How a trial is run: its budget and limits, its files, its verified score."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import (
    early,
    midway,
    patch,
    steadiness,
)
from autoresearch_plugin.errors import DeviceLost, InfrastructureError
from autoresearch_plugin.executors.local import scratch_dir
from autoresearch_plugin.executors.pace import EXACT, Pace
from autoresearch_plugin.hold import Hold
from autoresearch_plugin.idea import Head
from autoresearch_plugin.paths import data_dir, promising, reference, state_dir
from autoresearch_plugin.quoting import barred
from autoresearch_plugin.trial import Budget, Outcome, TrialResult, TrialSpec

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.midway import Midway

MEMORY_PATIENCE = 60.0  # seconds for a GPU's memory to come back
MEMORY_SLACK, MEMORY_SLACK_MB = 0.05, 512.0  # of the GPU: what may be missing
REFERENCE_AGE = 24 * 3600.0  # seconds after which a baseline's claims are removed

Positions = Callable[[TrialResult], int]


class Measuring(Hold):
    """A hold of a session that runs trials."""

    # --------------------------------------------------------------- the budget

    def price(
        self, number: int, head: Head, patched: str, known: Pace | None = None
    ) -> Pace:
        """What the candidate's step costs: dearer ones get fewer (docs/contract.md).

        With a rough price `known` it becomes exact.
        """
        if not (self.profile.charged and self.budget.unit == "steps"):
            return EXACT
        ratio = self.ledger.candidate(number)["ratio"]
        resumed = bool(self.ledger.good_trials(number, head.id))
        if ratio is not None and resumed:
            return replace(EXACT, ratio=ratio)
        pace = self._pace(head, patched, known, rough=not resumed)
        if pace.failed is not None and pace.failed.outcome.is_interruption:
            pace = self._pace(head, patched, known, rough=not resumed)
        if pace.failed is not None:
            self._raise_if_stopped(pace.failed)
            if pace.culprit == "parent":
                raise InfrastructureError(
                    f"the baseline failed while its pace was measured: "
                    f"{pace.failed.message}{last_words(pace.failed)}"
                )
            return pace
        # In this order: a kill in between leaves no run with another budget.
        self.ledger.retire_trials(number, head.id, self.charged(head, pace.ratio))
        self.ledger.update_candidate(
            number,
            ratio=pace.ratio if pace.is_exact else None,
            step_tokens=pace.tokens_per_step,
        )
        return pace

    def _pace(self, head: Head, patched: str, known: Pace | None, rough: bool) -> Pace:
        budget = self.budget_of(head)
        with self._scratch(head.source) as ours, self._scratch(patched) as theirs:
            return self.executor.pace(
                self._spec("pace", head.source, ours, 0, budget),
                self._spec("pace", patched, theirs, 0, budget),
                self.device,
                known=known,
                rough=rough,
                should_stop=self.should_stop,
            )

    def charged(self, head: Head, ratio: float) -> Budget:
        """What a run of a candidate of this price may use."""
        budget = self.budget_of(head)
        if ratio == 1.0:
            return budget
        return Budget("steps", float(max(1, round(budget.amount / ratio))))

    def _limits(self, head: Head, budget: Budget) -> tuple[dict[str, float], float]:
        """Wall-clock deadlines per phase and a CPU limit, from the parent's own runs.

        Step budgets: three times the parent's CPU seconds, ten times its wall time.
        """
        limits = {key: float(value) for key, value in self.profile.limits.items()}
        if budget.unit == "seconds":
            limits["train"] = max(limits.get("train", 0.0), budget.amount * 1.1 + 30)
            return limits, float("inf")
        scale = max(1.0, budget.amount / self.profile.budget.amount)
        limits["train"] = limits.get("train", 600.0) * scale
        rows = self.ledger.head_trials(head.id)
        if not rows:
            return limits, float("inf")
        wall = statistics.median(row["seconds"].get("train", 0.0) for row in rows)
        cpu = statistics.median(row["cpu_seconds"] for row in rows)
        limits["train"] = max(10.0, 10 * wall)
        return limits, max(10.0, 3 * cpu)

    # ---------------------------------------------------------------- one trial

    def trial(
        self,
        head: Head,
        source: str,
        row: Row,
        budget: Budget,
        label: str,
        watch: Midway | None = None,
        keep_as: Path | None = None,
        positions: Positions | None = None,
    ) -> TrialResult:
        """Run what `row` records; one that breaks off leaves nothing to wait for.

        `watch` may end it at its interim score. `keep_as` is where its checkpoint goes.
        `positions` says at how many of them the claims behind a score are verified.
        """
        try:
            result = self._run(
                head, source, row, budget, label, watch, keep_as, positions
            )
        except BaseException:
            self.ledger.drop_trial(row["id"])
            raise
        if watch and watch.reason and result.outcome is Outcome.STOPPED:
            result = replace(result, outcome=Outcome.EARLY)
        if result.outcome is Outcome.STOPPED:
            self.ledger.drop_trial(row["id"])
            self._raise_if_stopped(result)
        value = result.metrics.get(self.metric)
        if result.ok and value is None:
            result = replace(
                result,
                outcome=Outcome.ERROR,
                message=f"the command reported no metric {self.metric!r}",
            )
        mark = watch.mark if watch else None
        if mark == "stopped" and result.outcome is not Outcome.EARLY:
            mark = None  # it ended before it could be stopped: a run like any other
        steady = row["candidate"] is not None or self.budget.unit != "seconds"
        changed = not steady and self._has_changed(head, row, result)
        if not (steady or changed) and (waited := self._waited(head, result)):
            result, value = (
                replace(result, outcome=Outcome.WAITED, message=waited),
                None,
            )
        if row["candidate"] is not None and result.ok:
            result = replace(result, message=self._drift(row, result))
        if keep_as is not None:
            _seal(keep_as, result.ok)
        self.ledger.finish_trial(
            *(row["id"], result, value, self.device.id, str(budget), mark),
            sandbox=self.sandbox,
        )
        if changed:
            self.ledger.retire_head_trials(head.id, self.device.id, but=row["id"])
        return result

    def _step_tokens(self, head: Head, candidate: int | None) -> float | None:
        """Tokens of a candidate's step when its price was measured: it pays for more
        steps, not for larger ones; and so it stays when it is a baseline."""
        number = candidate or self.ledger.head(head.id)["inherits"]
        if number is None:
            return None
        tokens: float | None = self.ledger.candidate(number)["step_tokens"]
        return tokens

    def _waited(self, head: Head, result: TrialResult) -> str | None:
        """Why a baseline run is to be repeated: the machine was not steady."""
        if not result.ok:
            return None
        waited = self.ledger.waited_trials(head.id)
        if sum(x["device"] == self.device.id for x in waited) >= steadiness.PATIENCE:
            return None  # this machine is never steady, and its noise is measured
        others = [x["summary"] for x in self._here(head)]
        return steadiness.disturbance(result.summary, others, self.budget.amount)

    def _here(self, head: Head) -> list[Row]:
        """A baseline's own runs on this device: another one may be faster."""
        rows = self.ledger.own_head_trials(head.id)
        return [row for row in rows if row["device"] == self.device.id]

    def _drift(self, row: Row, result: TrialResult) -> str:
        """A mark on a candidate's run whose device was not as fast as before."""
        if self.budget.unit != "seconds":
            return result.message
        earlier = self.ledger.good_trials(row["candidate"], row["head"])
        others = [trial["summary"] for trial in earlier]
        return steadiness.drift(result.summary, others) or result.message

    def _has_changed(self, head: Head, row: Row, result: TrialResult) -> bool:
        """Whether the machine is another one than it was: a repeated run is off from
        the others, and just as it was the first time."""
        if not result.ok:
            return False
        others = [x["summary"] for x in self._here(head)]
        before = [
            x["summary"]
            for x in self.ledger.waited_trials(head.id)
            if (x["seed_index"], x["device"]) == (row["seed_index"], self.device.id)
        ]
        return steadiness.is_off(result.summary, others) and any(
            not steadiness.is_off(result.summary, [x]) for x in before
        )

    def _run(
        self,
        head: Head,
        source: str,
        row: Row,
        budget: Budget,
        label: str,
        watch: Midway | None,
        keep_as: Path | None,
        positions: Positions | None,
    ) -> TrialResult:
        self._await_memory()
        limits, cpu_limit = self._limits(head, budget)
        # In pairs a candidate's first run may be a baseline's, and be met in mid-run.
        first = self.paired and row["seed_index"] == 0
        scored = watch is not None or row["candidate"] is None or first
        with self._scratch(source) as scratch, self._status(label, budget) as show:
            spec = replace(
                self._spec("train", source, scratch, row["seed"], budget),
                trial_id=f"t{row['id']:06d}",
                limits=limits,
                interim=early.AT if scored and midway.wanted(self) else None,
                tokens_per_step=self._step_tokens(head, row["candidate"]),
            )
            if spec.interim is not None:  # its clock stands still, ours does not
                extra = limits["train"] + limits.get("evaluate", 0.0)
                spec = replace(spec, limits={**limits, "train": extra})
            result = self.executor.trial(
                spec,
                self.device,
                evaluates=self.profile.evaluates,
                on_event=_both(show, watch.hear) if watch else show,
                should_stop=lambda: (watch and watch.reason) or self.should_stop(),
                cpu_limit=cpu_limit,
            )
            if result.ok and keep_as is not None:
                _store(Path(spec.checkpoint), keep_as)
            known = reference(self.root, head.id)
            if result.ok and row["candidate"] is None:
                self._refer_to(known, Path(spec.claims))
            if known.is_file():
                spec = replace(spec, reference=str(known))
                with contextlib.suppress(OSError):
                    known.touch()  # it is in use
            if result.ok and positions is not None:
                count = positions(result)
                if count and row["candidate"] is not None and self.profile.isolates:
                    path = promising(self.root, row["candidate"])
                    self._refer_to(path, Path(spec.claims))
                result = self._verified(spec, result, count, show)
            return result

    def _await_memory(self) -> None:
        """Wait until a GPU has the room that it had when the session began: the last
        run's memory may be slow to come back, or somebody else's job be there.

        Raises:
            DeviceLost: that takes too long.
        """
        due = time.monotonic() + MEMORY_PATIENCE
        while (used := self.executor.taken_mb(self.device)) is not None:
            if used <= max(MEMORY_SLACK_MB, MEMORY_SLACK * self.device.total_mb):
                return
            if time.monotonic() > due:
                raise DeviceLost(
                    f"{self.device.id} ({self.device.name}) is busy: {used:.0f} MB of "
                    "its memory are in use that were free when the session began, by "
                    "another job or by a process that does not die (nvidia-smi shows "
                    "it). End it; what this lane was trying waits for another device, "
                    "or for the same command later."
                )
            self.pause("waiting for a GPU's memory to come back")

    def _refer_to(self, path: Path, claims: Path) -> None:
        """Keep claims for a day, a baseline's and those of what may become one: a rare
        lie pays where it claims much less. On a GPU they are large."""
        with contextlib.suppress(OSError):
            part = path.with_suffix(f".{os.getpid()}.part")  # lanes share the head
            shutil.copyfile(claims, part)
            part.replace(path)
            for other in path.parent.iterdir():
                if time.time() - other.stat().st_mtime > REFERENCE_AGE:
                    other.unlink()

    def _verified(
        self,
        spec: TrialSpec,
        result: TrialResult,
        positions: int,
        on_event: Callable[[Mapping[str, Any]], None],
    ) -> TrialResult:
        """A result whose score was checked by fresh processes, and corrected."""
        if not (self.profile.isolates and positions):
            return result
        found = self.executor.verify(
            spec,
            self.device,
            positions,
            on_event=on_event,
            should_stop=self.should_stop,
        )
        seconds = {**result.seconds, "verify": found.wall_seconds}
        value = found.metrics.get(self.metric)
        outcome, message = found.outcome, found.message
        if found.ok and value is None:
            outcome = Outcome.ERROR
            message = f"`verify` reported no metric {self.metric!r}"
        if value is None:
            return replace(
                result, outcome=outcome, message=message, metrics={}, seconds=seconds
            )
        metrics = {**result.metrics, self.metric: value}
        return replace(result, metrics=metrics, verified=found.metrics, seconds=seconds)

    def hidden_score(
        self,
        head: Head,
        seed: int,
        sealed: Path | None,
        label: str,
        positions: int = 0,
    ) -> TrialResult:
        """Score a baseline on the hidden split: a sealed checkpoint, or a new run.

        Raises:
            SessionStopping: the session ends.
        """
        budget = self.budget_of(head)
        limits, cpu_limit = self._limits(head, budget)
        with (
            self._scratch(head.source) as scratch,
            self._status(label, budget) as on_event,
        ):
            spec = replace(
                self._spec("train", head.source, scratch, seed, budget),
                trial_id="audit",
                limits=limits,
                split="test",
                tokens_per_step=self._step_tokens(head, None),
            )
            if sealed is not None:
                shutil.copyfile(
                    sealed, spec.checkpoint
                )  # what lies elsewhere is hidden
                spec = replace(spec, phase="evaluate")
                result = self.executor.run(
                    spec, self.device, on_event=on_event, should_stop=self.should_stop
                )
            else:
                result = self.executor.trial(
                    spec,
                    self.device,
                    evaluates=self.profile.evaluates,
                    on_event=on_event,
                    should_stop=self.should_stop,
                    cpu_limit=cpu_limit,
                )
            if result.ok:
                result = self._verified(spec, result, positions, on_event)
        self._raise_if_stopped(result)
        return result

    def _spec(
        self, phase: str, source: str, scratch: Path, seed: int, budget: Budget
    ) -> TrialSpec:
        return TrialSpec(
            trial_id=phase,
            phase=phase,
            source=str(scratch / Path(self.settings.target).name),
            source_sha256=patch.sha256(source),
            profile=self.settings.profile,
            seed=seed,
            budget=budget,
            limits=dict(self.profile.limits),
            threads=self.device.threads,
            device="cuda" if self.device.kind == "cuda" else "cpu",
            data_dir=str(data_dir(self.root)),
            scratch=str(scratch),
            checkpoint=str(scratch / "checkpoint.safetensors"),
            claims=str(scratch / "claims.npy"),
        )

    @contextmanager
    def _scratch(self, source: str) -> Iterator[Path]:
        with scratch_dir(state_dir(self.root)) as scratch:
            path = scratch / Path(self.settings.target).name
            path.write_bytes(source.encode())
            yield scratch

    def value_text(self, result: TrialResult) -> str:
        value = result.metrics[self.metric]
        return f"{self.metric} {value:.4f}, {result.wall_seconds:.0f} s"


def _store(checkpoint: Path, path: Path) -> None:
    """Copy a checkpoint beside its place; without one the audit trains anew."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint, path.with_suffix(".part"))


def _seal(path: Path, good: bool) -> None:
    """Put the copy into its place if its run counts."""
    with contextlib.suppress(OSError):
        if good:
            path.with_suffix(".part").replace(path)
        else:
            path.with_suffix(".part").unlink()


def _both(
    first: Callable[[Mapping[str, Any]], None],
    second: Callable[[Mapping[str, Any]], None],
) -> Callable[[Mapping[str, Any]], None]:
    def on_event(event: Mapping[str, Any]) -> None:
        first(event)
        second(event)

    return on_event


def last_words(result: TrialResult) -> str:
    """The end of what a failed run printed, for a message."""
    lines = [line for line in result.log_tail.splitlines() if line.strip()][-8:]
    return "\nIts last words:\n" + barred("\n".join(lines)) if lines else ""
