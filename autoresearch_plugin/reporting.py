"""When a session shows what: header, progress, files, closing screen."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import __version__
from autoresearch_plugin.closing_facts import collect_facts
from autoresearch_plugin.errors import LedgerError, SettingsError
from autoresearch_plugin.header import header
from autoresearch_plugin.paths import RESERVE, free_reserve, report_dir, state_dir
from autoresearch_plugin.quoting import visible
from autoresearch_plugin.report_files import write_reports
from autoresearch_plugin.reports import closing
from autoresearch_plugin.screen import Screen, Ticker
from autoresearch_plugin.spent_reports import SpentReports

if TYPE_CHECKING:
    from autoresearch_plugin.state import State

SHORT = 0.1  # seconds that all reports may take after every single test ...
WRITING_SHARE = 0.05  # ... and else at most this share of the time


class ReportingPlugin:
    """In the controller or the only process: the one writer of reports."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._ticker: Ticker | None = None
        self._junit: Any = None
        self._told = self._broken = False
        self._due = 0.0
        self._spent = SpentReports(state.config.option)
        choose_junit(state)

    @property
    def _opened(self) -> bool:
        return self.state._opened is not None

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """Each value, and where it came from."""
        return list(header(self.state)) if self._opened else []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        """The session is open by now; show its progress from here on."""
        if not self._opened:
            return
        config = self.state.config
        self._junit = find_junit(config)
        self.state.screen = Screen(config, self.state.research)
        if self.state.is_controller:
            self._ticker = Ticker(self.state.screen)
            self._ticker.start()
        self._write()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, None, None]:
        """Keep the percentage meaningful, and the files up to date."""
        if self._opened:
            set_total(self.state)
            if self.state.screen is not None:
                self.state.screen.catch_up()
        yield
        if self._opened and report.when == "teardown":
            self._write()
        self._spent.take(report)

    def _write(self, at_last: bool = False) -> None:
        """Bring the files up to date; one that cannot be written ends no session.

        The more there is to write, the longer the next time waits, or thousands of
        candidates would cost more in reports than in lanes; `at_last` does not wait.
        """
        began = time.monotonic()
        if began < self._due and not at_last:
            return
        try:
            write_files(self.state)
            flush_junit(self._junit)
            self._broken = False
        except (OSError, SettingsError) as error:
            self._broken = True
            if not self._told:
                self._told = True
                free_reserve(state_dir(self.state.config.rootpath) / RESERVE)
                self.state.note_error(
                    f"reports cannot be written: {error}. Nothing is lost: the "
                    "ledger has it, and `autoresearch log` reads it."
                )
        took = time.monotonic() - began
        self._due = began + (took / WRITING_SHARE if took > SHORT else 0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Stop the ticker; add what belongs to the whole suite."""
        if self._ticker is not None:
            self._ticker.quit.set()
            self._ticker.join(timeout=2)
        if not self._opened:
            return
        if self.state.screen is not None:
            self.state.screen.catch_up()
        if self._junit is not None:
            facts = self.state.research
            self._junit.node_reporters_ordered = _named(
                self._junit.node_reporters_ordered
            )
            self._junit.add_global_property("autoresearch", __version__)
            self._junit.add_global_property("fingerprint", facts.fingerprint)
            self._junit.add_global_property("profile", facts.profile.name)
        self._write(at_last=True)  # complete now: xdist may wait for its workers
        if self._broken and self._junit is not None:
            self._junit.logfile = os.devnull  # what is on the disk stays whole

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The closing screen."""
        if not self._opened or self.state.research.ledger is None:
            return
        try:
            facts = collect_facts(self.state)
        except LedgerError as error:
            terminalreporter.write_line(visible(str(error)))
            return
        terminalreporter.write_sep("=", facts.title)
        for line in closing.lines(facts):
            terminalreporter.write_line(visible(line))


def write_files(state: State) -> None:
    """kept.xml and results.tsv, from the ledger."""
    directory = report_dir(state.config.rootpath, state.settings.report)
    write_reports(state.research, directory)


def choose_junit(state: State) -> None:
    """junit.xml in the report directory, unless the user names a file."""
    option = state.config.option
    if state.config.option.collectonly or state.only_shows_setup:
        return
    if not getattr(option, "xmlpath", None):
        directory = report_dir(state.config.rootpath, state.settings.report)
        option.xmlpath = str(directory / "junit.xml")
    if getattr(option, "verbose", 1) == 0:
        option.verbose = 1  # a line a test: runs take minutes, letters say too little


def find_junit(config: pytest.Config) -> Any:
    """pytest's own JUnit writer, by what it can do; system-out is switched on."""
    for plugin in config.pluginmanager.get_plugins():
        if hasattr(plugin, "add_global_property") and hasattr(plugin, "logfile"):
            if getattr(plugin, "logging", "") == "no":
                plugin.logging = "system-out"
            return plugin
    return None


def flush_junit(junit: Any) -> None:
    """Write the report so far; a reader never sees half of it."""
    if junit is None:
        return
    final, cases = junit.logfile, junit.node_reporters_ordered
    junit.logfile = f"{final}.part"
    junit.node_reporters_ordered = _named(cases)
    try:
        junit.pytest_sessionfinish()
        Path(junit.logfile).replace(final)
    finally:
        junit.logfile, junit.node_reporters_ordered = final, cases


def _named(cases: list[Any]) -> list[Any]:
    """Without tests that have begun and not ended, which have no name there yet."""
    # A finished one has turned into its XML and lost its attributes.
    return [case for case in cases if getattr(case, "attrs", True)]


def set_total(state: State) -> None:
    """The percentage on the terminal: share of the candidates asked for."""
    session = state.session
    if session is None:
        return
    research = state.research
    counts = research.ledger.unit_counts(research.session)
    made = sum(n for (kind, _), n in counts.items() if kind == "generated")
    row = research.ledger.session(research.session)
    wanted = research.settings.experiments
    if wanted is None or row["proposing"] == "no":
        wanted = made
    session.testscollected = total = max(1, state.hand_written + max(made, wanted))
    terminal: Any = state.config.pluginmanager.getplugin("terminalreporter")
    if hasattr(terminal, "tests_count"):  # pytest-sugar keeps its own copy
        terminal.tests_count = total
