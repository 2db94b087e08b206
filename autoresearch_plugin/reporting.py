"""What a session shows and leaves behind: header, progress, files, closing screen."""

from __future__ import annotations

import math
import os
import shlex
import statistics
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import (
    __version__,
    auditing,
    busy,
    comparing,
    containment,
    judge,
    midway,
    standings,
)
from autoresearch_plugin.errors import LedgerError, SettingsError
from autoresearch_plugin.estimate import brief
from autoresearch_plugin.estimating import estimate_of
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.paths import (
    RESERVE,
    free_reserve,
    report_dir,
    state_dir,
    write_new,
)
from autoresearch_plugin.quoting import barred, visible
from autoresearch_plugin.reports import closing, kept_xml, results_tsv
from autoresearch_plugin.reports.agents import AgentFacts
from autoresearch_plugin.screen import Screen, Ticker, plan

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.state import State

SHORT = 0.1  # seconds that all reports may take after every single test ...
WRITING_SHARE = 0.05  # ... and else at most this share of the time


NOTED = ("fallback", "gave-up", "error", "device")  # events that people must not miss


class ReportingPlugin:
    """In the controller or the only process: the one writer of reports."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._ticker: Ticker | None = None
        self._junit: Any = None
        self._told = self._broken = False
        self._due = 0.0
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


# -------------------------------------------------------------------- header


def header(state: State) -> Iterator[str]:
    """The lines below pytest's own header."""
    research, opened = state.research, state.opened
    settings, head = research.settings, research.head()
    source = settings.sources
    branch = f"autoresearch/{settings.tag}"
    resumed = ", resumed" if opened.resumed else ""
    yield f"autoresearch {__version__}: {branch} at {head.short}{resumed}"
    budget_source = source["budget"] if settings.budget else "profile"
    yield (
        f"  target {settings.target} ({source['target']}), "
        f"profile {research.profile.name} ({source['profile']}), "
        f"budget {research.budget} ({budget_source})"
    )
    kinds = ", ".join(sorted({device.name for device in opened.devices}))
    names = ", ".join(device.id for device in opened.devices)
    yield f"  device {kinds}: {names} ({source['devices']})"
    inside = containment.words(
        research.executor.sandbox, isolates=research.profile.isolates
    )
    yield f"  sandbox {inside} ({source['sandbox']})"
    for line in research.profile.lines:
        yield f"  {line}"
    yield (
        f"  proposer {settings.proposer} ({source['proposer']}), rule "
        f"{rule_words(research)}, stop: {stop_text(state)}"
    )
    if state.team is not None and state.team.floors:
        for text in state.team.notes():
            yield f"  {text}"
    yield f"  {plan(research)}"
    yield f"  {brief(estimate_of(state))}"
    for text in opened.notes:
        yield f"  note: {text}"


def rule_name(research: Research) -> str:
    """The rule as its verdicts call it; one of the user's by where it comes from."""
    settings = research.settings
    named = settings.sources.get("rule", "default") != "default"
    return settings.rule if named else judge.name_of(research.rule)[0]


def rule_words(research: Research) -> str:
    """The rule and its source, for the header."""
    own = research.rule is not judge.RULES.get(rule_name(research))
    source = research.settings.sources["rule"]
    source = "conftest.py" if own and source == "default" else source
    return f"{rule_name(research)} ({source})"


def stop_text(state: State) -> str:
    """When the session ends by itself."""
    settings = state.research.settings
    parts = []
    if settings.experiments is not None:
        parts.append(
            f"after {settings.experiments} experiments "
            f"({settings.sources['experiments']})"
        )
    if settings.hours is not None:
        parts.append(f"after {settings.hours:g} h ({settings.sources['hours']})")
    if settings.gpu_hours is not None:
        parts.append(f"after {settings.gpu_hours:g} device hours")
    return " or ".join(parts) if parts else "at Ctrl-C; the same command resumes"


# --------------------------------------------------------------------- files


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


def write_files(state: State) -> None:
    """kept.xml and results.tsv, from the ledger."""
    directory = report_dir(state.config.rootpath, state.settings.report)
    write_reports(state.research, directory)


def write_reports(research: Research, directory: Path) -> None:
    """The same for a session that is not running: an audit may revoke its keeps."""
    kept = research.ledger.committed(research.session)
    revoked = auditing.is_revoked(research)
    cases = [] if revoked else [_case(research, row) for row in kept]
    _write(directory / "kept.xml", kept_xml.render(cases))
    table = results_tsv.render(result_rows(research), research.metric)
    _write(directory / "results.tsv", table)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    write_new(part, text.encode())
    part.replace(path)


def _case(research: Research, row: Row) -> kept_xml.Case:
    trials = research.ledger.candidate_trials(row["id"])
    evidence = row["evidence"] or {}
    properties = {
        "candidate": row["id"],
        "signature": row["signature"],
        "commit": row["commit_id"],
        "parent": research.ledger.head(row["head"])["commit_id"],
        "device": research.device.name,
        "sandbox": row["sandbox"],
        **({"agent": row["agent"]} if row["agent"] else {}),
        "runs": evidence.get("n"),
        **{
            key: evidence.get(key)
            for key in ("effect", "effect_sd", "e_value", "paired")
        },
        "grade": Verdict.from_data(evidence).grade if evidence else None,
        **{
            f"{side}_{key}": evidence[side][key]
            for side in ("baseline", "candidate")
            if side in evidence
            for key in ("mean", "sd", "n")
        },
    }
    nodeid = row["nodeid"] or row["file"] or row["title"]
    path, _, name = nodeid.partition("::")
    return kept_xml.Case(
        classname=path.removesuffix(".py").replace("/", "."),
        name=name or row["title"],
        seconds=sum(trial["finished"] - trial["started"] for trial in trials),
        properties=properties,
        text=barred(
            "\n".join(
                [row["title"], row["hypothesis"], row["reason"], row["diff"] or ""]
            ).rstrip()
        ),
    )


def result_rows(research: Research) -> Iterator[results_tsv.Row]:
    """The notebook's five columns: the baseline, then every decided candidate."""
    ledger = research.ledger
    first = ledger.session(research.session)["first_head"]
    head = ledger.head(first)
    revoked = auditing.is_revoked(research)
    base = ledger.head_trials(first)
    if base:
        yield results_tsv.Row(
            commit=(head["commit_id"] or "")[:7],
            value=statistics.fmean(row["value"] for row in base),
            memory_gb=_memory(base),
            status="keep",
            description="baseline",
        )
    for row in ledger.results(research.session):
        if row["state"] == "keep" and not row["commit_id"]:
            continue  # its process died, or its own test failed, before the commit
        failed = row["state"] in ("crash", "refused")
        status, words = row["state"], row["title"]
        if status == "keep" and revoked:
            status, words = "discard", f"{words} (revoked by the audit)"
        elif status == "refused":
            status = "discard"
        parent = ledger.head(row["head"])["commit_id"] if row["head"] else None
        yield results_tsv.Row(
            commit=(row["commit_id"] or parent or "")[:7],
            value=None if failed else row["mean"],
            memory_gb=(row["peak_mb"] or 0.0) / 1024,
            status=status,
            description=words,
        )


def _memory(trials: list[Row]) -> float:
    peaks = [trial["summary"].get("peak_vram_mb") or 0.0 for trial in trials]
    return max(peaks, default=0.0) / 1024


# ------------------------------------------------------------ numbers at the end


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


def collect_facts(state: State) -> closing.Facts:
    """Everything the closing screen says."""
    research, ledger = state.research, state.research.ledger
    session = research.session
    rows = ledger.candidates(session)
    trials = ledger.session_trials(session)
    spans = [(t["candidate"] is None, t["finished"] - t["started"]) for t in trials]
    head = research.head()
    unpaired = comparing.unpaired_noise(research, head)
    visible = [
        Verdict.from_data(r["evidence"]).smallest_visible for r in rows if r["evidence"]
    ]
    calls = ledger.calls(session)
    lanes = max(1, len({row["device"] for row in ledger.lanes(session)}))
    return closing.Facts(
        tag=research.settings.tag or "",
        wall_seconds=ledger.session_seconds(session),
        devices=f"{lanes} x {research.device.name}",
        rule=rule_name(research),
        sandbox=research.sandbox,
        revoked=auditing.is_revoked(research),
        metric=research.metric,
        kept=[_kept_line(row) for row in rows if row["commit_id"]],
        pruned=_pruned(rows),
        search_seconds=sum(span for is_head, span in spans if not is_head),
        baseline_seconds=sum(span for is_head, span in spans if is_head),
        lanes=lanes,
        usd=sum(call["usd"] for call in calls),
        max_usd=research.settings.max_usd,
        calls=len(calls),
        sigma=unpaired.sigma if trials else math.nan,
        paired_sigma=_paired_sigma(research),
        visible=statistics.median(visible) if visible else math.nan,
        branch=f"autoresearch/{research.settings.tag}",
        command=shlex.join(("pytest", *state.config.invocation_params.args)),
        report=state.settings.report,
        reason=ledger.session(session)["reason"] or "ended",
        first_commit=ledger.head(ledger.session(session)["first_head"])["commit_id"]
        or "",
        audit=auditing.outcome(research),
        not_audited=_not_audited(research),
        audit_seconds=ledger.audit_seconds(session),
        stopped_early=sum(trial["early"] == "stopped" for trial in trials),
        saved_seconds=midway.saved_seconds(trials),
        lane_time=busy.occupancy(
            [*trials, *ledger.audits(session)], ledger.waits(session)
        ),
        notes=_notes(state),
        agents=_agents(state),
    )


def _agents(state: State) -> list[AgentFacts]:
    """What each agent did in this session; nothing where there are none."""
    research, team = state.research, state.team
    floors, lost = (team.floors, team.lost) if team else ({}, {})
    return standings.facts_of(
        research.ledger, research.fingerprint, floors, research.session, lost
    )


def _not_audited(research: Research) -> str:
    """Why there is no audit, in words for the closing screen."""
    if research.settings.audit == "never":
        return "no audit was asked for; `autoresearch audit` makes one"
    todo = auditing.plan(research)
    return todo if isinstance(todo, str) else "`autoresearch audit` goes on with it"


def _paired_sigma(research: Research) -> float | None:
    if not research.paired:
        return None
    return comparing.paired_noise(research, research.head()).sigma


def _kept_line(row: Row) -> closing.KeptLine:
    verdict = Verdict.from_data(row["evidence"])
    return closing.KeptLine(
        row["id"],
        row["title"],
        verdict.effect,
        verdict.effect_sd,
        verdict.n,
        row["commit_id"],
        verdict.grade,
    )


def _pruned(rows: list[Row]) -> dict[str, int]:
    words = {
        "worse": 0,
        "not distinguishable": 0,
        "crashed": 0,
        "no-ops": 0,
        "other": 0,
    }
    for row in rows:
        if row["state"] == "crash":
            words["crashed"] += 1
        elif row["state"] == "refused":
            words["no-ops"] += 1
        elif row["state"] == "discard" and not row["evidence"]:
            words["other"] += 1
        elif row["state"] == "discard":
            worse = row["evidence"]["relation"] == "worse"
            words["worse" if worse else "not distinguishable"] += 1
    return words


def _notes(state: State) -> list[str]:
    """Events that people must not miss, since the session was started or resumed."""
    research = state.research
    events = research.ledger.news(research.session)
    notes = list(dict.fromkeys(r["text"] for r in events if r["kind"] in NOTED))
    refused = sum(row["kind"] == "refused" for row in events)
    if refused:
        notes.append(
            f"{refused} answers of the proposer could not be used (no run spent)"
        )
    if state.team is not None:
        notes += state.team.notes()
    return notes
