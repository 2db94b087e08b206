"""Under the flag: which plugin objects a process needs, and the session's life."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from autoresearch_plugin import devices
from autoresearch_plugin.diff import DiffPlugin
from autoresearch_plugin.errors import InfrastructureError, LedgerError, SettingsError
from autoresearch_plugin.lanes import (
    LanePlugin,
    collection_errors,
    refuse_dist_each,
)

if TYPE_CHECKING:
    from autoresearch_plugin.settings import Settings
    from autoresearch_plugin.state import State


GAVE_UP = 6  # exit code, of ours: pytest's go up to 5


def activate(config: pytest.Config, state: State) -> None:
    """Under the flag: register what runs lanes, reports and a diff."""
    if config.option.autoresearch_dry_run and not config.option.autoresearch:
        raise pytest.UsageError(
            "--autoresearch-dry-run says what a session would do, so it needs "
            "--autoresearch; nothing was run."
        )
    if config.option.autoresearch and config.option.autoresearch_diff:
        raise pytest.UsageError(
            "--autoresearch and --autoresearch-diff are two different sessions; "
            "give one of them."
        )
    if state.kind == "diff":
        config.pluginmanager.register(DiffPlugin(config, state), "autoresearch-diff")
        return
    refuse_dist_each(config)
    _choose_paths(config)
    idle = config.option.collectonly or state.only_shows_setup
    if state.settings.dry_run and not idle:
        from autoresearch_plugin.dry_run import DryRunPlugin

        if hasattr(config.option, "dist"):
            config.option.dist = "no"  # workers would have nothing to do
        config.pluginmanager.register(DryRunPlugin(state), "autoresearch-dry-run")
        return
    config.pluginmanager.register(LanePlugin(config, state), "autoresearch-lanes")
    if state.is_worker:
        config.pluginmanager.register(WorkerPlugin(state), "autoresearch-worker")
        return
    from autoresearch_plugin.reporting import ReportingPlugin

    config.pluginmanager.register(SessionPlugin(state), "autoresearch-session")
    try:
        reporting = ReportingPlugin(state)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(reporting, "autoresearch-reporting")
    if config.pluginmanager.hasplugin("xdist") and not state.only_shows_setup:
        from autoresearch_plugin.lanes_xdist import ControllerPlugin

        config.pluginmanager.register(
            ControllerPlugin(config, state), "autoresearch-xdist"
        )


def _choose_paths(config: pytest.Config) -> None:
    """Without paths on the command line the flag means experiments/, not tests/."""
    if config.args_source == pytest.Config.ArgsSource.ARGS:
        _refuse_missing(config)
        return
    experiments = config.rootpath / "experiments"
    if not experiments.is_dir():
        raise pytest.UsageError(
            f"no directory {experiments}: --autoresearch runs the candidates in it. "
            "Make it (it may be empty), or name a path."
        )
    config.args[:] = [str(experiments)]


def _refuse_missing(config: pytest.Config) -> None:
    """Now: pytest would notice when a session has begun and reports are written."""
    if config.option.pyargs:
        return
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        if not path.exists():
            raise pytest.UsageError(f"file or directory not found: {argument}")


def count_devices(settings: Settings) -> int:
    """How many lanes `-n auto` means."""
    try:
        return len(devices.discover(os.environ, settings.devices))
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error


class WorkerPlugin:
    """In an xdist worker: join the session, give the device back at the end."""

    def __init__(self, state: State) -> None:
        self.state = state

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Join before anything is collected."""
        self.state.session = session

    @pytest.hookimpl
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Release the device."""
        self.state.close(exitstatus)


class SessionPlugin:
    """In the controller or the only process: the session's life and exit code."""

    def __init__(self, state: State) -> None:
        self.state = state

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Open the session before the header is written; SIGTERM acts as Ctrl-C."""
        self.state.session = session
        if session.config.option.collectonly or self.state.only_shows_setup:
            return
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # no `nohup`
                signal.signal(signal.SIGHUP, signal.default_int_handler)
        try:
            self.state.open()
            self.state.choose_proposer()
        except InfrastructureError as error:
            raise pytest.exit.Exception(str(error), returncode=1) from error

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(
        self, session: pytest.Session
    ) -> Generator[None, object, object]:
        """Without xdist: ask for candidates once collection has succeeded."""
        state = self.state
        idle = session.config.option.collectonly or state.only_shows_setup
        if not (state.is_controller or idle or collection_errors(session)):
            state.hand_written = len(session.items) - 1
            state.start_proposer()
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Lanes stop at once; an impatient second Ctrl-C must not cost the reports."""
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        session = self.state.session
        if session is None or not session.shouldfail:  # not xdist's way to say -x
            self.state.interrupted()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Close the session and mend the exit code."""
        state = self.state
        if state._opened is None:
            return
        try:
            session.exitstatus = exit_code(session, state)
            state.close(session.exitstatus)
        except LedgerError as error:  # its owner is gone: the same command goes on
            session.exitstatus = 1
            if state.screen is not None:
                state.screen.say(str(error))


def exit_code(session: pytest.Session, state: State) -> int:
    """0 budget used up, 1 real failures, 2 interrupted, 6 nobody left to propose."""
    status = int(session.exitstatus)
    research = state.research
    if status == 2 and session.shouldfail:
        status = 1  # xdist reports --maxfail as an interruption
    if status == 5:
        status = 0  # nothing collected: the generated ones were the work
    broken = state.failures() or state.worker_lost or state.left_undone()
    if status == 0 and broken:
        status = 1
    if status == 0 and state.gave_up():
        status = GAVE_UP
    if status == 0 and state.settings.require_keep:
        from autoresearch_plugin.auditing import is_revoked

        kept = research.ledger.committed(research.session)
        status = 0 if kept and not is_revoked(research) else 1
    return status
