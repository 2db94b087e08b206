"""One pytest process' state: its session, its claims, its proposer thread.

`plugin.py` forwards hooks to it. Everything that needs the ledger, git or a device
happens behind this module, and only once a candidate or the flag asks for it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import devices, keeps, keys, outcomes
from autoresearch_plugin.errors import (
    AutoresearchError,
    DeviceLost,
    InfrastructureError,
    LedgerError,
    SettingsError,
)
from autoresearch_plugin.fixtures import (
    Baseline,
    Claim,
    GpuBudget,
    Measured,
    Result,
    TrainModule,
)
from autoresearch_plugin.generated import clear_generated, restore_generated
from autoresearch_plugin.lanes import SUBJECT
from autoresearch_plugin.outcomes import CLAIM
from autoresearch_plugin.proposers import is_built_in
from autoresearch_plugin.proposing import ProposerThread
from autoresearch_plugin.screen import Screen, plan
from autoresearch_plugin.session import Opened, join_session, open_ledger, open_session

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head, Idea, Judgement
    from autoresearch_plugin.judge import AnyRule
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.settings import Settings
    from autoresearch_plugin.team import Team


class State:
    """What this process knows and holds."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.session: pytest.Session | None = None
        self.hand_written = 0
        self.screen: Screen | None = None
        self._opened: Opened | None = None
        self._research: Research | None = None
        self._proposer: ProposerThread | None = None
        self._lease: Any = None
        self._interrupted = False
        self._keys: dict[str, str] = {}
        self._broken: list[str] = []
        self.worker_lost = False  # one died before a test could tell
        self.lost: str | None = None  # why this lane's device cannot be used any more
        keys.hide_process()

    # ------------------------------------------------------------- what it is

    @property
    def is_worker(self) -> bool:
        """Whether this is an xdist worker of a session that a controller holds."""
        return hasattr(self.config, "workerinput")

    @property
    def is_controller(self) -> bool:
        """Whether this is an xdist controller, which runs no test itself."""
        return self.config.pluginmanager.has_plugin("dsession")

    @property
    def kind(self) -> str:
        """`research`, `diff` or `plain`."""
        if self.config.option.autoresearch_diff:
            return "diff"
        return "research" if self.config.option.autoresearch else "plain"

    @property
    def lanes(self) -> int:
        """How many candidates run at a time."""
        return getattr(self.config.option, "numprocesses", None) or 1

    @property
    def only_shows_setup(self) -> bool:
        """--setup-plan and --setup-only must not train anything."""
        option = self.config.option
        return bool(option.setupplan or option.setuponly)

    @property
    def opened(self) -> Opened:
        """The session that this process opened."""
        if self._opened is None:
            raise InfrastructureError("the session is not open.")
        return self._opened

    @property
    def research(self) -> Research:
        """This process' hold of the session; opened or joined on first use."""
        if self._research is None:
            if self.is_worker and self.kind == "research":
                self._research = self._join()
            else:
                self._research = self.open().research
        return self._research

    def open(self) -> Opened:
        """Open the session; the settings' faults become usage errors (exit 4)."""
        if self._opened is None:
            try:
                self._opened = open_session(
                    self.config.rootpath,
                    self.settings,
                    os.environ,
                    self.kind,
                    rule=self._rule(),
                )
            except (SettingsError, LedgerError) as error:
                raise pytest.UsageError(str(error)) from error
            if self.kind != "research":
                self.screen = Screen(self.config, self._opened.research)
                self.screen.say(plan(self._opened.research))
        return self._opened

    def _join(self) -> Research:
        given = self.config.workerinput  # type: ignore[attr-defined]
        device = devices.Device(**given["autoresearch_device"])
        return join_session(
            self.config.rootpath,
            self.settings,
            given["autoresearch_session"],
            device,
            given["workerid"],
            rule=self._rule(),
        )

    def _rule(self) -> AnyRule | None:
        """The rule of the project's conftest.py, unless an option or ini names one."""
        if self.settings.sources["rule"] != "default":
            return None
        rule: AnyRule | None = self.config.hook.pytest_autoresearch_rule(
            config=self.config
        )
        return rule

    # --------------------------------------------------------------- candidates

    def train_module(self) -> TrainModule:
        """A fresh module text for one test."""
        return TrainModule(
            lambda: self.research.head().source,
            self.config.rootpath,
            self.settings.target,
        )

    def gpu_budget(self, item: pytest.Item) -> GpuBudget:
        """The budget of one test, which thereby is a candidate."""
        claim = item.stash[CLAIM] = self._claim(item)
        return GpuBudget(
            claim,
            lambda idea: self.decide(idea),
            lambda judgement: self._finish(item, claim, judgement),
        )

    def _claim(self, item: pytest.Item) -> Claim:
        row = item.stash.get(SUBJECT, None)
        if row is not None:
            return Claim(
                title=row["title"],
                hypothesis=row["hypothesis"],
                nodeid=item.nodeid,
                kind="generated",
                strict=False,
                category=row["category"],
                number=row["id"],
                file=row["file"],
                test=row["test"],
            )
        marker = item.get_closest_marker("candidate")
        strict = _is_strict(item, marker) if marker else True
        title, hypothesis = _words(item)
        inside = item.path.is_relative_to(self.config.rootpath)
        return Claim(
            title=title,
            hypothesis=hypothesis,
            nodeid=item.nodeid,
            strict=strict,
            file=str(item.path.relative_to(self.config.rootpath)) if inside else None,
            test=_text_of(item.path) if inside else None,
        )

    def hold_device(self) -> None:
        """Lease the device before the first run, until the process ends."""
        research = self.research
        if self._lease is None:
            wait = self.kind != "research" and research.device.kind != "cpu"
            self._lease = devices.lease(research.device, wait=wait)
            research.executor.lease = self._lease
        if self.screen is not None:
            research.tick = self.screen.tick

    def decide(self, idea: Idea) -> Judgement:
        """Run an idea until it is decided, on a device that is ours meanwhile."""
        self.hold_device()
        return self.research.decide(idea)

    def _finish(self, item: pytest.Item, claim: Claim, judgement: Judgement) -> Result:
        """Turn a judgement into the test's result, or into a skip."""
        if judgement.number:
            row = self.research.ledger.candidate(judgement.number)
            claim.notes.append(row["diff"] or "")
        if judgement.state == "before":
            pytest.skip(judgement.reason)
        told_before = judgement.from_ledger and judgement.state != "keep"
        if told_before and claim.kind == "hand" and self.kind == "research":
            pytest.skip(judgement.reason)
        return Result(self.research.metric, self.research.profile.direction, judgement)

    def baseline_of(self, item: pytest.Item) -> Baseline:
        """The number that one test's candidate has to beat."""
        return Baseline(lambda: self.research.metric, lambda: self._measured(item))

    def _measured(self, item: pytest.Item) -> Measured:
        research = self.research
        claim = item.stash.get(CLAIM, None)
        judgement = claim.judgement if claim else None
        head: Head = judgement.head if judgement else research.head()
        research.ensure_head(head, 1)
        return Measured(research.baseline(head), research.profile.direction)

    def after_candidate(self, item: pytest.Item) -> None:
        """Whatever happened, other lanes may move the head again."""
        if self._research is not None:
            self._research.release_keep()

    # ------------------------------------------------------------------ reports

    def report(
        self, item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport
    ) -> None:
        """Map a report; commit a keep before it is told."""
        claim = item.stash.get(CLAIM, None)
        kept = claim is not None and claim.judgement is not None
        if claim is not None and kept and report.when == "call":
            if report.passed:
                self._keep(item, claim, report)
            elif claim.judgement is not None and claim.judgement.state == "keep":
                self._disown(claim, claim.judgement, call.excinfo)
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, DeviceLost) and not self.leaves_lane(error):
            report.outcome, report.longrepr = "failed", str(error)
        else:
            outcomes.map_report(item, call, report)
        if isinstance(error, InfrastructureError) and self.kind == "research":
            self.fail(str(error).splitlines()[0])  # it would hit every other one too
        if claim is not None and report.when == "call" and self._research is not None:
            found = outcomes.properties(self._research, claim)
            item.user_properties.extend(found)
            report.user_properties.extend(found)

    def _disown(
        self,
        claim: Claim,
        judgement: Judgement,
        error: pytest.ExceptionInfo[BaseException] | None,
    ) -> None:
        """The judge would keep it, but its own test failed: then it is not kept."""
        proven = judgement.verdict is not None and judgement.verdict.proven_lower
        why = "not worse and simpler, which a test claims with <= or >="
        if proven:
            why = (
                f"its own test failed: {error.exconly(tryshort=True) if error else ''}"
            )
            why = why.splitlines()[0][:200]
        reason = f"{judgement.reason}; {why}"
        claim.judgement = replace(judgement, state="discard", reason=reason)
        self.research.ledger.update_candidate(
            judgement.number, state="discard", reason=reason
        )
        self.research.release_keep()

    def _keep(self, item: pytest.Item, claim: Claim, report: pytest.TestReport) -> None:
        judgement = claim.judgement
        if judgement is None or judgement.state != "keep" or self.kind != "research":
            return
        try:
            claim.commit = keeps.commit(self.research, claim)
        except AutoresearchError as error:
            report.outcome, report.longrepr = "failed", str(error)
            self.fail(str(error).splitlines()[0])
            return
        finally:
            self.research.release_keep()
        self.config.hook.pytest_autoresearch_kept(
            config=self.config,
            title=claim.title,
            commit=claim.commit,
            verdict=judgement.verdict,
        )

    # ------------------------------------------------------------ session's life

    def choose_proposer(self) -> None:
        """Make the proposer; one that cannot be used is a usage error (exit 4)."""
        try:
            self._proposer = ProposerThread(self.research, dict(os.environ), self.lanes)
        except SettingsError as error:
            self.opened.close("interrupted", str(error))
            raise pytest.UsageError(str(error)) from error
        ours = all(map(is_built_in, self._proposer.team.proposer_settings()))
        if self.is_controller and ours:
            self._keys = keys.take(os.environ)  # lanes, started next, ask no model

    def start_proposer(self) -> None:
        """Ask for candidates from now on; collection has succeeded."""
        assert self._proposer is not None
        research = self.research
        restore_generated(research)
        research.ledger.set_proposing(research.session, "yes")
        self._proposer.start()

    @property
    def proposing(self) -> ProposerThread:
        """Who asks for candidates, once `choose_proposer` has chosen."""
        assert self._proposer is not None
        return self._proposer

    @property
    def team(self) -> Team | None:
        """Who writes candidates."""
        return self._proposer.team if self._proposer else None

    def leaves_lane(self, error: DeviceLost) -> bool:
        """Note that this lane's device is lost; False if it was the last lane, which
        ends the session."""
        research = self.research
        if self.lost is None:
            self.lost = str(error)
            research.ledger.add_event(research.session, "device", self.lost)
        given = getattr(self.config, "workerinput", {})
        lost = self._events("device")
        if self.kind == "research" and len(lost) < given.get("workercount", 1):
            return True
        self.fail(self.lost)
        return False

    def stop(self, reason: str) -> None:
        """Tell every lane to stop."""
        if self._research is not None:
            self._research.ledger.stop(self._research.session, reason)

    def note_error(self, text: str) -> None:
        """Something broke; the closing screen tells it, and the session has failed."""
        research = self.research
        self._broken.append(text)
        with contextlib.suppress(LedgerError):  # that may be what broke
            research.ledger.add_event(research.session, "error", text)

    def fail(self, reason: str) -> None:
        """Stop every lane: the machinery is broken. The same command goes on later.

        A lane that could not even join stops nobody; what it says is recorded.
        """
        if self.is_worker and self._research is None:
            session = self.config.workerinput["autoresearch_session"]  # type: ignore[attr-defined]
            with (
                contextlib.suppress(LedgerError),
                contextlib.closing(open_ledger(self.config.rootpath)) as ledger,
            ):
                ledger.add_event(session, "error", reason)
            return
        self.note_error(reason)
        with contextlib.suppress(LedgerError):
            self.stop(reason)

    def interrupted(self) -> None:
        """Ctrl-C or SIGTERM: the same command goes on later."""
        self._interrupted = True
        self.stop("interrupted")

    def close(self, exitstatus: int) -> None:
        """End the session: the proposer, its files, its row in the ledger."""
        if self._proposer is not None:
            self._proposer.stop()
            if self._proposer.is_alive():
                self._proposer.join(timeout=1)  # it may wait for a model: leave it
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        if self._opened is None:
            return
        research = self._opened.research
        if self.kind == "research":
            names = set(research.ledger.generated_files(research.session))
            clear_generated(self.config.rootpath, names)
        cut_short = self._interrupted or exitstatus in (2, 3)  # 3: pytest itself broke
        state = "interrupted" if cut_short else "finished"
        if state == "finished" and (
            self.failures() or self.gave_up() or self.left_undone()
        ):
            state = "failed"
        self._opened.close(state, research.used_up() or self._why_ended())

    def left_undone(self) -> bool:
        """Whether candidates wait that nothing but a fault kept from being tried."""
        if self.research.used_up() or (self.session and self.session.shouldfail):
            return False
        return any(self.research.ledger.open_counts(self.research.session).values())

    def failures(self) -> list[str]:
        """What broke in this session since it was started or resumed."""
        return self._broken or self._events("error")

    def gave_up(self) -> list[str]:
        """Why there was nobody left to propose: the proposer gave up, nothing fills
        in. The same command goes on."""
        return self._events("gave-up")

    def _events(self, kind: str) -> list[str]:
        events = self.research.ledger.news(self.research.session)
        return [row["text"] for row in events if row["kind"] == kind]

    def _why_ended(self) -> str:
        wanted = self.settings.experiments
        research = self.research
        if wanted is not None and research.ledger.decided_count(research.session) >= (
            wanted
        ):
            return f"{wanted} experiments decided"
        if self._proposer is not None and self._proposer.ended:
            return self._proposer.ended
        return "the proposer gave up" if self.gave_up() else "nothing more to try"

    def let_go(self) -> None:
        """Close this process' connection to the ledger; nothing comes after it."""
        os.environ.update(self._keys)
        if self._opened is not None:
            self._opened.research.ledger.close()
        if self._research is not None:
            self._research.ledger.close()


def _text_of(path: Path) -> str | None:
    """A test file's text, line ends included; None for one that is not UTF-8, which a
    keep leaves out of its commit."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        return None


def _words(item: pytest.Item) -> tuple[str, str]:
    """Title and hypothesis of a hand-written candidate: from its docstrings."""
    function = getattr(item, "function", None)
    module = getattr(item, "module", None)
    text = getattr(function, "__doc__", None) or ""
    if not text and _is_alone(item):
        text = getattr(module, "__doc__", None) or ""
    text = " ".join(text.encode(errors="replace").decode().split())  # no surrogates
    title, colon, rest = text.partition(": ")
    if not title or "[" in item.name:
        return item.name.removeprefix("test_").replace("_", " "), text
    return (title.rstrip("."), rest) if colon else (text[:100].rstrip("."), text)


def _is_alone(item: pytest.Item) -> bool:
    """Whether its module's docstring speaks of this candidate only."""
    siblings = {  # by name: while an item runs in a lane it is listed twice
        x.nodeid
        for x in item.session.items
        if x.path == item.path and "gpu_budget" in getattr(x, "fixturenames", ())
    }
    return len(siblings) <= 1


def _is_strict(item: pytest.Item, marker: pytest.Mark) -> bool:
    """What the marker says; anything but `strict=` in it is a mistake."""

    def candidate(*, strict: bool = True) -> bool:
        return bool(strict)

    try:
        return candidate(*marker.args, **marker.kwargs)
    except TypeError as error:
        # Python names what it did not expect; from 3.13 on it guesses what was meant.
        said = str(error).partition("<locals>.")[2].partition(". ")[0]
        raise SettingsError(
            f"the marker of {item.nodeid} cannot be read: {said}. "
            "Write @pytest.mark.candidate(strict=False), or leave the marker out."
        ) from None
