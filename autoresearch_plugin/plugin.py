"""What pytest sees: options, hooks, fixtures. A switchboard; nothing is decided here.

Loaded in every pytest run of the user, so that nothing heavy is imported at the top:
without `--autoresearch` and without a candidate this module is all there is.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.settings import GENERATED, OPTIONS, Settings, resolve

if TYPE_CHECKING:
    from autoresearch_plugin.fixtures import Baseline, GpuBudget, TrainModule
    from autoresearch_plugin.state import State

STATE = pytest.StashKey["State"]()
SETTINGS = pytest.StashKey[Settings]()


# ------------------------------------------------------------------- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option has an ini twin where it is a decision of the project."""
    group = parser.getgroup("autoresearch", "training ideas as tests")
    group.addoption(
        "--autoresearch",
        action="store_true",
        help="run experiments/ and what a proposer writes; keep what is proven better",
    )
    for option in OPTIONS:
        keywords: dict[str, Any] = {"dest": option.dest, "help": option.help}
        if option.flag:
            keywords |= {"action": "store_true", "default": False}
        else:
            keywords |= {"metavar": option.metavar, "default": None}
        group.addoption(f"--autoresearch-{option.name}", **keywords)
        if option.ini:
            parser.addini(option.dest, option.help, default=None)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Hooks for a project's conftest.py."""
    from autoresearch_plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def is_active(config: pytest.Config) -> bool:
    """Whether this is a research session or a diff, and not a plain pytest run.

    A dry run of anything else is a mistake, which `activate` explains.
    """
    option = config.option
    asked = option.autoresearch or option.autoresearch_diff
    return bool(asked or option.autoresearch_dry_run)


def settings_of(config: pytest.Config) -> Settings:
    """The resolved settings; an unusable value is a usage error (exit 4)."""
    if SETTINGS not in config.stash:
        try:
            config.stash[SETTINGS] = resolve(
                lambda name: getattr(config.option, name, None),
                config.getini,
                os.environ,
            )
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SETTINGS]


def state_of(config: pytest.Config) -> State:
    """This process' state, made when a candidate or the flag first needs it."""
    if STATE not in config.stash:
        from autoresearch_plugin.state import State

        config.stash[STATE] = State(config, settings_of(config))
    return config.stash[STATE]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Nobody names what is in experiments/_generated/: a conftest.py that was planted
    there would run, or a pytest.ini count, before anything could be checked."""
    named = [early_config.inipath, *early_config.known_args_namespace.file_or_dir]
    for argument in filter(None, named):
        if _is_generated(str(argument)):
            raise pytest.UsageError(
                f"{argument}: {GENERATED}/ belongs to autoresearch, which alone runs "
                "what is in it. To run one yourself, copy it to experiments/."
            )


def _is_generated(argument: str) -> bool:
    """Whether a path, or a module that --pyargs names, is in experiments/_generated."""
    path = os.path.abspath(argument.partition("::")[0])  # noqa: PTH100 - links stay
    inside = f"/{path}/".replace(".", "/").replace(os.sep, "/")
    return f"/{GENERATED}/" in inside


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; under the flag also the plugins that do the work."""
    config.addinivalue_line(
        "markers",
        "candidate(strict=True): a claim that a change beats the baseline; "
        "strict=False makes it a proposal that may fail",
    )
    if is_active(config):
        from autoresearch_plugin.activation import activate

        activate(config, state_of(config))


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n auto` is one lane per device. Asked before pytest_configure."""
    if not config.option.autoresearch:
        return None
    from autoresearch_plugin.activation import count_devices

    return count_devices(settings_of(config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Close the session that a plain candidate opened; the others close their own."""
    state = session.config.stash.get(STATE, None)
    if state is not None and state.kind == "plain":
        state.close(int(exitstatus))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the ledger, after the last line of the summary."""
    state = config.stash.get(STATE, None)
    if state is not None:
        state.let_go()


# ------------------------------------------------------------------ collection


def pytest_ignore_collect(
    collection_path: os.PathLike[str], config: pytest.Config
) -> bool | None:
    """Generated files are brought in by the lane; a diff collects no file at all."""
    if config.option.autoresearch_diff:
        return True
    return True if _is_generated(os.fspath(collection_path)) else None


# -------------------------------------------------------------------- fixtures


@pytest.fixture
def train_module(request: pytest.FixtureRequest) -> TrainModule:
    """The target's source, to be edited: replace, set, define, apply."""
    return state_of(request.config).train_module()


@pytest.fixture
def gpu_budget(
    request: pytest.FixtureRequest, train_module: TrainModule
) -> Iterator[GpuBudget]:
    """As many training runs as the verdict needs, on one device. Once a test."""
    state = state_of(request.config)
    yield state.gpu_budget(request.node)
    state.after_candidate(request.node)


@pytest.fixture
def baseline(request: pytest.FixtureRequest) -> Baseline:
    """The number to beat, under the metric's name."""
    return state_of(request.config).baseline_of(request.node)


# -------------------------------------------------------------------- outcomes


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Map a candidate's outcome; commit a keep before it is reported."""
    report = yield
    if STATE in item.config.stash:
        item.config.stash[STATE].report(item, call, report)
    elif call.excinfo and isinstance(call.excinfo.value, pytest.UsageError):
        report.longrepr = str(call.excinfo.value)  # settings that cannot be read
    return report


def pytest_report_teststatus(
    report: pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Letters K and d; the categories stay pytest's own, which all tools know."""
    told = getattr(report, "user_properties", ())
    if getattr(report, "when", "") != "call" or not told:
        return None
    from autoresearch_plugin.spent_reports import verdict_of

    verdict = verdict_of(report)
    if verdict is None:
        return None
    if report.passed and verdict == "keep":
        return "passed", "K", ("KEPT", {"green": True, "bold": True})
    if report.skipped and hasattr(report, "wasxfail"):
        return "xfailed", "d", ("DISCARDED", {"yellow": True})
    return None


def pytest_assertrepr_compare(left: object, right: object) -> list[str] | None:
    """One line instead of a tree: `not proven lower: 0.9971 vs 0.9972 ± 0.0003 ...`."""
    if not type(left).__name__ == type(right).__name__ == "Measured":
        return None  # a comparison with a number is no verdict
    for side in (left, right):
        verdict = getattr(side, "verdict", None)
        if verdict is not None:
            return [verdict.sentence]
    return None
