"""A lane: the place in a pytest process where units of work from the ledger run.

The lane is one item per process, but works in `pytest_runtest_protocol` and not in
`runtest()`: so it never lies on pytest's setup stack, and the tests it brings in run
the ordinary protocol. While one of them runs it takes the lane's place in
`session.items`, because xdist compares the two.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.abc
import importlib.machinery
import importlib.util
from collections.abc import Generator, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import auditing
from autoresearch_plugin.errors import (
    DeviceLost,
    InfrastructureError,
    LedgerError,
    SessionStopping,
)
from autoresearch_plugin.generated import check_generated

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.state import State

LANE = "autoresearch-lane"
A_PROPOSAL = "a proposal"  # what a lane waits for that has nothing to do
SUBJECT = pytest.StashKey["Row"]()  # the ledger's row of a generated candidate


class Lane(pytest.Item):
    """Marks where generated candidates run; `runtest` does nothing on purpose.

    Its teardown with `nextitem=None` tears session fixtures down in the usual way.
    """

    def runtest(self) -> None:
        """Nothing: the work is done in `LanePlugin.pytest_runtest_protocol`."""

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where a failure of the lane's own machinery is reported."""
        return self.path, None, self.name


class LaneAppender:
    """Appends the lane when every other plugin has had its say over the items."""

    def __init__(self, lanes: LanePlugin) -> None:
        self.lanes = lanes

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Outermost: -k, --lf and plugins that deselect have acted by now."""
        yield
        self.lanes.append(session, items)


class LanePlugin:
    """In every process that runs tests: each xdist worker, or the only one."""

    def __init__(self, config: pytest.Config, state: State) -> None:
        self.config = config
        self.state = state
        self.directory = config.rootpath / "experiments"
        self.lane: Lane | None = None
        self._parent: pytest.Collector | None = None
        self._generated: pytest.Collector | None = None
        self._collecting: Path | None = None
        self._collect_error = ""

    @property
    def research(self) -> Research:
        """This process' hold of the session."""
        return self.state.research

    # --------------------------------------------------------------- collection

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_directory(
        self, path: Path
    ) -> Generator[None, pytest.Collector | None, pytest.Collector | None]:
        """Remember the node of experiments/: fixtures of conftest.py hang on it."""
        node = yield
        if path == self.directory:
            self._parent = node
        return node

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Put our own `modifyitems` outside those of all other plugins."""
        plugin = LaneAppender(self)  # the last one to be registered is the outermost
        self.config.pluginmanager.register(plugin, "autoresearch-lane-appender")

    def append(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Append the lane after every deselection: -k or --lf do not concern it."""
        if self.config.option.collectonly or self.state.only_shows_setup:
            return
        parent = self._parent or session
        self.lane = Lane.from_parent(parent, name=LANE)
        if self.config.pluginmanager.hasplugin("timeout"):
            self.lane.add_marker(pytest.mark.timeout(0))
        for item in items:
            if "gpu_budget" in getattr(item, "fixturenames", ()):
                self._without_timeout(item)
        items.append(self.lane)

    def _without_timeout(self, item: pytest.Item) -> None:
        plugins = self.config.pluginmanager
        if plugins.hasplugin("timeout") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(0))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Keep the error of a generated file; the lane says it better."""
        report = yield
        if self._collecting is not None and collector.path == self._collecting:
            if report.outcome != "passed":
                self._collect_error = str(report.longrepr) or report.outcome
            if report.outcome != "passed":
                report.outcome, report.longrepr, report.result = "passed", None, []
        return report

    def _collect(self, session: pytest.Session, path: Path, row: Row) -> list[Any]:
        """The items of a generated file; parents are the nodes collection made."""
        if self._generated is None:
            parent = self._parent or session
            self._generated = pytest.Dir.from_parent(parent, path=path.parent)
        for name in ("lfplugin-collwrapper", "lfplugin-collskip"):
            if self.config.pluginmanager.has_plugin(name):  # --lf would skip new files
                self.config.pluginmanager.unregister(name=name)
        self._collecting, self._collect_error = path, ""
        try:
            module = pytest.Module.from_parent(self._generated, path=path)
            module.obj = _module_of(row["test"], path)
            items = list(session.genitems(module))
        finally:
            self._collecting = None
        if not items:
            raise InfrastructureError(
                f"pytest collected no test from {path.name}, which autoresearch wrote: "
                f"{self._collect_error or 'nothing in it matched'}. Let "
                "python_functions take test_*."
            )
        for item in items:
            item.stash[SUBJECT] = row
            self._without_timeout(item)
        return items

    # ------------------------------------------------------------------ running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run the lane when its turn comes; every other item goes its usual way."""
        if not isinstance(item, Lane):
            return None
        faulthandler.cancel_dump_traceback_later()
        call = pytest.CallInfo.from_call(
            lambda: self._run(item.session),
            when="setup",
            reraise=(KeyboardInterrupt, pytest.exit.Exception),
        )
        if call.excinfo and not isinstance(call.excinfo.value, SessionStopping):
            self._report(item, call)
            self._stop(call.excinfo.value)
        self._close(item, nextitem)
        return True

    def _stop(self, error: BaseException) -> None:
        """What broke this lane would break the others, or leave them waiting for it."""
        if isinstance(error, InfrastructureError):
            return  # its report has told the others
        with contextlib.suppress(LedgerError):  # that may be what broke
            words = str(error).splitlines() or [""]
            self.state.fail(f"a lane failed: {type(error).__name__}: {words[0]}")

    def _report(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        item.ihook.pytest_runtest_logreport(report=report)

    def _close(self, lane: Lane, nextitem: pytest.Item | None) -> None:
        """Tear down what candidates left set up; reported only when that fails."""
        setup = pytest.CallInfo.from_call(
            lambda: lane.ihook.pytest_runtest_setup(item=lane), when="setup"
        )
        teardown = pytest.CallInfo.from_call(
            lambda: lane.ihook.pytest_runtest_teardown(item=lane, nextitem=nextitem),
            when="teardown",
        )
        for call in (setup, teardown):
            if call.excinfo:
                self._report(lane, call)

    def _run(self, session: pytest.Session) -> None:
        """Work until there is no work, or no device any more."""
        self.state.hold_device()
        try:
            self._work(session)
        except DeviceLost as error:
            if not self.state.leaves_lane(error):
                raise InfrastructureError(str(error)) from None
        finally:
            self.research.end_wait()

    def _work(self, session: pytest.Session) -> None:
        """Claim work until there is none: baseline runs, tests, or a short wait."""
        research, ledger = self.research, self.research.ledger
        slot = session.items.index(self.lane)  # type: ignore[arg-type]
        by_id = {item.nodeid: item for item in session.items}
        while not (session.shouldstop or session.shouldfail or self.state.lost):
            if ledger.stopping(research.session):
                return
            over = bool(research.used_up())
            proposing = self._proposing()
            more = not over and (proposing != "no" or self._work_left())
            if more and research.calibrate(late=proposing == "late"):
                continue
            unit = ledger.claim_unit(
                research.session, research.lane, research.device.id, only_hand=over
            )
            if unit is not None:
                research.end_wait()
                self._run_unit(session, slot, by_id, unit)
            elif over or proposing == "no":
                self._audit()
                return
            else:
                research.idle(A_PROPOSAL)

    def _audit(self) -> None:
        """Take part in the audit, once nobody can move the baseline any more."""
        research, ledger = self.research, self.research.ledger
        while ledger.units_running(research.session) or ledger.running_head_trials(
            research.head().id
        ):
            if ledger.stopping(research.session):
                return
            research.idle("the last runs of other lanes")
        if research.settings.audit == "never":
            return
        while isinstance(todo := auditing.plan(research), auditing.Plan):
            if ledger.stopping(research.session):
                return
            if auditing.is_done(research, todo):
                break
            if not auditing.step(research, todo):
                research.idle("the audit's runs in other lanes")
        auditing.conclude(research)

    def _work_left(self) -> bool:
        counts = self.research.ledger.unit_counts(self.research.session)
        return any(state == "queued" for _, state in counts)

    def _proposing(self) -> str:
        """`yes`, `late` or `no`: see `set_proposing`."""
        row = self.research.ledger.session(self.research.session)
        return str(row["proposing"])

    def _run_unit(
        self,
        session: pytest.Session,
        slot: int,
        by_id: dict[str, pytest.Item],
        unit: Row,
    ) -> None:
        """Run a unit's tests; what a sibling shares stays set up until the last."""
        ledger = self.research.ledger
        state = "stopped"
        try:
            with self._only_valid(session, unit) as path:
                items, after = self._items(session, by_id, unit, path)
                for index, item in enumerate(items):
                    following = items[index + 1] if index + 1 < len(items) else after
                    ledger.begin_item(unit["id"], item.nodeid, item.location)
                    self._run_item(session, slot, item, following)
                    if session.shouldfail or session.shouldstop:
                        break
            if self.state.lost:
                state = "queued"  # for another lane
            elif not (
                ledger.stopping(self.research.session) or self.research.used_up()
            ):
                state = "done"
        finally:
            self._settle(unit, state)
            ledger.finish_unit(unit["id"], state)

    def _items(
        self,
        session: pytest.Session,
        by_id: dict[str, pytest.Item],
        unit: Row,
        path: Path,
    ) -> tuple[list[pytest.Item], pytest.Item | None]:
        if unit["kind"] == "hand":
            # The next claim may live anywhere, so only the session stays set up.
            after = Lane.from_parent(session, name=LANE)
            return [by_id[nodeid] for nodeid in unit["nodeids"]], after
        row = self.research.ledger.candidate(unit["candidate"])
        return self._collect(session, path, row), self.lane

    @contextlib.contextmanager
    def _only_valid(self, session: pytest.Session, unit: Row) -> Iterator[Path]:
        """A generated file must be what the ledger rendered, byte for byte."""
        path: Path = self.config.rootpath / unit["target"]
        if unit["kind"] == "generated":
            check_generated(self.research, path)
        yield path

    def _run_item(
        self,
        session: pytest.Session,
        slot: int,
        item: pytest.Item,
        following: pytest.Item | None,
    ) -> None:
        session.items[slot] = item
        try:
            self.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        finally:
            assert self.lane is not None
            session.items[slot] = self.lane

    def _settle(self, unit: Row, state: str) -> None:
        """A generated candidate without a verdict: resumable, or failed for good."""
        if unit["candidate"] is None:
            return
        ledger = self.research.ledger
        if ledger.candidate(unit["candidate"])["state"] in ("queued", "running"):
            new = "failed" if state == "done" else "queued"
            ledger.update_candidate(unit["candidate"], state=new)


class _LedgerText(importlib.abc.InspectLoader):
    """Loads a module from a text, so that no file and no cached bytecode is read."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path

    def is_package(self, fullname: str) -> bool:
        """No."""
        return False

    def get_source(self, fullname: str) -> str:
        """The text itself."""
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """The text compiled; tracebacks name the file that shows it."""
        return self.source_to_code(self._text, str(self._path))


def _module_of(text: str, path: Path) -> ModuleType:
    """The module of a generated test: what the ledger holds, wherever it was written.

    Between the check of the file and its import somebody could swap it, or leave
    bytecode of his own in __pycache__; so neither is imported.
    """
    loader = _LedgerText(text, path)
    spec = importlib.machinery.ModuleSpec(path.stem, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def collection_errors(session: pytest.Session) -> int:
    """Errors that end a session before it asks for candidates."""
    goes_on = session.config.getoption("continue_on_collection_errors", False)
    return 0 if goes_on else session.testsfailed


def refuse_dist_each(config: pytest.Config) -> None:
    """`--dist each` would run every candidate once per worker.

    Raises:
        UsageError: it was asked for.
    """
    if config.getoption("dist", "no") == "each":
        raise pytest.UsageError(
            "--autoresearch cannot run with --dist each: every worker would run every "
            "candidate. Leave --dist out."
        )
