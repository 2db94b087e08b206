"""One process' hold of a session: what it works with, whom it tells, how it waits."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import containment, fingerprint, judge, patch
from autoresearch_plugin.errors import SessionStopping
from autoresearch_plugin.idea import Head
from autoresearch_plugin.settings import BUNDLES_FROM
from autoresearch_plugin.trial import Budget, Outcome, Profile, TrialResult

if TYPE_CHECKING:
    from autoresearch_plugin.devices import Device
    from autoresearch_plugin.executors.local import LocalExecutor
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.repository import Kept, Repository
    from autoresearch_plugin.settings import Settings

POLL_SECONDS = 0.05  # between two looks of a process that waits, doubled from look to
LONGEST_POLL = 0.5  # look up to this
WAITS = "waits"  # phase of a lane that has nothing to do


@dataclass
class Hold:
    """Everything a trial needs. `tick` is called often while one runs.

    `heeds_stop` is False where a finished session is worked on once more.
    """

    root: Path
    settings: Settings
    ledger: Ledger
    session: int
    profile: Profile
    device: Device
    executor: LocalExecutor
    repository: Repository | None
    rule: judge.AnyRule
    lane: str = "main"
    moves_head: bool = False
    heeds_stop: bool = True
    tick: Callable[[], None] = field(default=lambda: None)
    _wait: tuple[str, float] | None = field(default=None, init=False)  # for what, since
    _poll: float = field(default=POLL_SECONDS, init=False)
    _kept: tuple[str, Mapping[str, Kept]] = field(default=("", {}), init=False)

    # -------------------------------------------------------------------- facts

    @property
    def metric(self) -> str:
        """Name of the number that decides."""
        return self.settings.metric or self.profile.metric

    @property
    def budget(self) -> Budget:
        """What one run of the baseline may use."""
        return self.settings.budget or self.profile.budget

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identity of the measuring set-up."""
        return fingerprint.fingerprint(
            self.profile, self.budget, self.settings.command, self.device.name
        )

    @property
    def paired(self) -> bool:
        """Whether runs are compared seed by seed (step budgets only)."""
        return self.budget.unit == "steps"

    @property
    def recorded(self) -> bool:
        """Whether the rule compares with recorded runs and measures no new baseline."""
        return bool(getattr(self.rule, "recorded", False))

    @property
    def max_runs(self) -> int:
        """The most runs of a candidate."""
        return 1 if self.recorded else self.settings.max_runs

    @property
    def baseline_runs(self) -> int:
        """How many runs the first baseline needs before anything is kept."""
        return 1 if self.recorded else judge.HEAD_MIN

    @property
    def bundles(self) -> bool:
        """Whether near misses are tried together: in a long search, by our own rule."""
        own, limit = isinstance(self.rule, judge.Rule), self.settings.experiments
        is_long = limit is None or limit >= BUNDLES_FROM
        return self.moves_head and own and is_long and self.settings.bundle > 0

    @property
    def sandbox(self) -> str:
        """Level of the sandbox that candidates run in, for the records."""
        return containment.label(self.executor.sandbox)

    def head(self) -> Head:
        """The session's present baseline."""
        session = self.ledger.session(self.session)
        return replace(self.head_of(session["head"]), commit=session["head_commit"])

    def head_of(self, name: str) -> Head:
        """A baseline of this or an earlier session."""
        row = self.ledger.head(name)
        return Head(row["id"], row["source"], row["commit_id"], row["amount"])

    def budget_of(self, head: Head) -> Budget:
        """What one run of this baseline may use.

        A kept candidate goes on with the steps that it was charged for: were they
        reset, every cheaper model would shrink the computation of the next one.
        """
        return Budget(self.budget.unit, head.amount or self.budget.amount)

    def enter_head(
        self,
        source: str,
        commit: str | None,
        amount: float | None = None,
        inherits: int | None = None,
    ) -> Head:
        """Make `source` the baseline that candidates meet from now on.

        `inherits` is the kept candidate that it was, if its runs shall go on counting.
        """
        sha = patch.sha256(source)
        head = fingerprint.head_id(self.fingerprint, sha)
        self.ledger.add_head(
            head, self.fingerprint, sha, source, commit, amount, inherits
        )
        self.ledger.set_head(self.session, head, commit, self.fingerprint)
        return self.head()

    def used_up(self) -> str | None:
        """Which budget of the session is used up, if one is."""
        hours, gpu_hours = self.settings.hours, self.settings.gpu_hours
        if hours is not None and self._hours() >= hours:
            return f"time budget of {hours:g} h used up"
        if gpu_hours is not None:
            used = self.ledger.device_seconds(self.session) / 3600
            if used >= gpu_hours:
                return f"device budget of {gpu_hours:g} h used up"
        return None

    def _hours(self) -> float:
        return self.ledger.session_seconds(self.session) / 3600

    # -------------------------------------------------------------- what it does

    @contextmanager
    def _status(
        self, label: str, budget: Budget
    ) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Publish what this lane does, at most twice a second."""
        status: Row = {"label": label, "phase": "start", "share": 0.0}
        status["started"] = last = time.time()

        def on_event(event: Mapping[str, Any]) -> None:
            nonlocal last
            if event.get("event") == "phase":
                scoring = status["phase"] != "start" and event.get("phase") == "start"
                status["phase"] = "evaluate" if scoring else str(event.get("phase"))
            elif event.get("event") == "step":
                key = "step" if budget.unit == "steps" else "elapsed"
                done = event.get(key)
                if isinstance(done, int | float):
                    status["share"] = min(1.0, max(0.0, done / budget.amount))
            if time.time() - last > 0.5:
                last = time.time()
                self._publish(status)

        self._publish(status)
        try:
            yield on_event
        finally:
            self._publish(None)

    def _publish(self, status: Row | None) -> None:
        if status is not None:
            self.end_wait()
        self._show(status)

    def _show(self, status: Row | None) -> None:
        self.ledger.set_lane(self.session, self.lane, self.device.id, status)

    # --------------------------------------------------------- stopping, waiting

    def should_stop(self) -> str | None:
        self.tick()
        return self.ledger.stopping(self.session) if self.heeds_stop else None

    def _raise_if_stopped(self, result: TrialResult) -> None:
        if result.outcome is Outcome.STOPPED:
            raise SessionStopping(result.message or "the session is ending")

    def check_time(self) -> None:
        reason = self.ledger.stopping(self.session) or self.used_up()
        if reason:
            raise SessionStopping(reason)

    def pause(self, why: str) -> None:
        """Wait a moment for `why`, which another process has under way.

        Raises:
            SessionStopping: the session ends.
        """
        if reason := self.should_stop():
            raise SessionStopping(reason)
        self.idle(why)

    def idle(self, why: str) -> None:
        """Wait a moment, longer from call to call; the ledger learns for what."""
        if self._wait is None or self._wait[0] != why:
            self.end_wait()
            self._wait = why, time.time()
            status = {"label": f"waiting for {why}", "phase": WAITS}
            self._show({**status, "share": 0.0, "started": time.time()})
        self.tick()
        time.sleep(self._poll)
        self._poll = min(LONGEST_POLL, 2 * self._poll)

    def end_wait(self) -> None:
        """What was waited for is there: record the wait, if there was one."""
        if self._wait is not None:
            (why, since), self._wait, self._poll = self._wait, None, POLL_SECONDS
            self.ledger.add_wait(self.session, self.lane, why, since)
            self._show(None)

    def tell(self, text: str) -> None:
        self.ledger.add_event(self.session, "progress", f"{self.lane}  {text}")
        self.tick()
