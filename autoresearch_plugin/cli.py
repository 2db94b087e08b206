"""The console script `autoresearch`: thin verbs over the ledger and pure modules."""

from __future__ import annotations

import argparse
import configparser
import json
import math
import os
import statistics
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin.audit import RUNS_MIN
from autoresearch_plugin.errors import AutoresearchError, LedgerError, SettingsError
from autoresearch_plugin.paths import report_dir
from autoresearch_plugin.quoting import barred, flat, visible

if TYPE_CHECKING:
    from autoresearch_plugin.agents import Agent
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.settings import Settings

LEDGER = Path(".autoresearch") / "ledger.db"
DESCRIPTION = """\
Look at what `pytest --autoresearch` did, and at what it would do.
The work itself is done by pytest: pytest --autoresearch -n auto."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0 fine, 1 not fine, 2 usage)."""
    options = _parser().parse_args(arguments)
    try:
        options.root = project_of(options.root)
        sys.path.append(str(options.root))  # for rules and proposers as MODULE:NAME
        raw = getattr(options, "patch", False) and not sys.stdout.isatty()
        for line in options.run(options):
            _print(line if raw else visible(line))
        _print("", end="", flush=True)
    except AutoresearchError as error:
        print(f"autoresearch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough; nor may the exit flush fail
        _mute()
        return 0
    return int(getattr(options, "exit", 0))


def _print(line: str, **how: Any) -> None:
    try:
        print(line, **how)
    except BrokenPipeError:
        raise
    except OSError as error:
        _mute()
        raise SettingsError(
            f"the output cannot be written: {error.strerror}. Make room, or send it "
            "elsewhere."
        ) from None


def _mute() -> None:
    """What waits in the buffer goes nowhere, or the flush at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "autoresearch",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=Path(), help="project directory")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, help_text in (
        ("doctor", doctor, "check this machine and this project, with a fix per fault"),
        ("sessions", sessions, "all sessions, and the command that goes on with each"),
        ("log", log, "all candidates, a line each"),
        ("show", show, "one candidate: verdict, runs, and its patch with --patch"),
        ("agents", agents, "what each agent has done, and its present share"),
        ("prompt", prompt, "print what the proposer would be told now"),
        (
            "rejudge",
            rejudge,
            "judge a results.tsv or a ledger again: which keeps stand",
        ),
        ("audit", audit, "score a session's first and last baseline on hidden text"),
        ("power", power, "how many device-hours it takes to see a gain here"),
        ("gc", gc, "free the room that nobody needs in .autoresearch/"),
        ("bench", bench, "measure decision rules, or the plugin itself under faults"),
    ):
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        verb.set_defaults(run=run)
        if name in _ARGUMENTS:
            _ARGUMENTS[name](verb)
    return parser


def _show_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("number", type=int, help="number of the candidate")
    verb.add_argument("--patch", action="store_true", help="only its diff")


def _prompt_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--agent", metavar="NAME", help="which one (whose turn it is)")


def _rejudge_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "file", type=Path, help="autoresearch's results.tsv, or a ledger.db of ours"
    )
    verb.add_argument("--rule", help="of a ledger: another one than it was judged by")


def _audit_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--session", type=int, help="its number (the latest with a keep)")
    verb.add_argument("--runs", type=int, help="of either baseline, 3 to 20")


def _gc_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only say what would go")


def _power_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("gain", type=float, help="in units of the metric, above 0")
    verb.add_argument("--sigma", type=float, help="sd of one run; else the ledger's")
    verb.add_argument(
        "--seconds", type=float, help="length of a run; else the ledger's"
    )


def _bench_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", choices=["judge", "soak"], help="what is measured")
    verb.add_argument("--json", action="store_true", help="a list of objects")
    judge = verb.add_argument_group("judge", "decision rules on simulated sessions")
    for name, text in (
        ("--world", "simulated world, or `all`; repeatable (reference)"),
        ("--rule", "repeatable (all of them)"),
    ):
        judge.add_argument(name, action="append", metavar="NAME", help=text)
    judge.add_argument("--gpus", type=int, default=1)
    judge.add_argument("--gpu-hours", type=float, default=27.5, help="of a session")
    judge.add_argument("--sessions", type=int, default=300, help="in each cell")
    soak = verb.add_argument_group(
        "soak",
        "the plugin itself under faults: real sessions of a stand-in training, in a "
        "project of their own. Processes of every kind are killed, a fifth of the "
        "model's calls fail, the disk is full twice; then the ledger is examined. No "
        "key is needed, and nothing outside a temporary folder is touched.",
    )
    for name, default, text in (
        ("--candidates", 2000, "how many are decided"),
        ("--lanes", 8, "workers; they sleep, so cores may be fewer"),
        ("--kills", 50, "SIGKILLs, spread over the candidates"),
        ("--seed", 0, "of the faults and ideas"),
    ):
        words = f"{text} ({default})"
        soak.add_argument(name, type=int, default=default, metavar="N", help=words)
    soak.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="length of a run (5)"
    )
    soak.add_argument(
        "--folder", type=Path, help="keep project, ledger and log here, to look at"
    )


_ARGUMENTS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "show": _show_arguments,
    "prompt": _prompt_arguments,
    "rejudge": _rejudge_arguments,
    "audit": _audit_arguments,
    "gc": _gc_arguments,
    "power": _power_arguments,
    "bench": _bench_arguments,
}


# ----------------------------------------------------------------------- verbs


def log(options: argparse.Namespace) -> Iterator[str]:
    """All candidates of the ledger, newest last."""
    with closing(_ledger(options.root)) as ledger:
        rows = ledger.candidates()
    if not rows:
        yield "no candidates yet: write one in experiments/ or run make research."
    for row in rows:
        commit = (row["commit_id"] or "")[:7]
        yield (
            f"#{row['id']:03d} {row['state']:<8} {commit:<7} "
            f"{flat(row['title'])[:40]:<40} "
            f"{flat(row['reason'].splitlines()[0]) if row['reason'] else ''}"
        )


def sessions(options: argparse.Namespace) -> Iterator[str]:
    """All sessions of the ledger, oldest first."""
    from autoresearch_plugin.housekeeping import session_lines

    with closing(_ledger(options.root)) as ledger:
        yield from session_lines(ledger, settings_of(options.root))


def gc(options: argparse.Namespace) -> Iterator[str]:
    """Remove what killed and earlier sessions have left."""
    from autoresearch_plugin.housekeeping import gc_lines
    from autoresearch_plugin.session import controller_lock

    def open_ledger() -> Ledger:
        return _ledger(options.root)

    if not _is_there(options.root / LEDGER):
        open_ledger()  # says that there is none
    with closing(controller_lock(options.root)):
        yield from gc_lines(options.root, open_ledger, options.dry_run)


def show(options: argparse.Namespace) -> Iterator[str]:
    """One candidate, also of an earlier session."""
    with closing(_ledger(options.root)) as ledger:
        row = _candidate(ledger, options.number)
        trials = ledger.candidate_trials(row["id"])
    if options.patch:
        if not row["diff"]:
            raise LedgerError(f"#{row['id']:03d} has no patch: {row['reason']}")
        yield row["diff"].rstrip("\n")
        return
    yield f"#{row['id']:03d} {flat(row['title'])}"
    names = ("hypothesis", "category", "kind", "proposer", "agent", "turn", "signature")
    for name in (*names, "file") if row["commit_id"] else names:
        if row[name]:
            yield f"  {name:<10} {flat(row[name])}"
    for name in ("retests", "repairs"):
        if row[name]:
            yield f"  {name:<10} #{row[name]:03d}"
    reason = row["reason"].removeprefix(f"{row['state']}: ")
    yield f"  {'state':<10} {row['state']}: {flat(reason)}"
    if row["commit_id"]:
        yield f"  {'commit':<10} {row['commit_id']}"
    for trial in trials:
        yield _trial_line(trial)
    yield from _evidence(row)
    yield ""
    diff = (row["diff"] or "").rstrip("\n")
    yield barred(diff) if diff else "(it never applied to a parent)"


def _candidate(ledger: Ledger, number: int) -> Row:
    try:
        return ledger.candidate(number)
    except OverflowError:  # SQLite's numbers have 64 bits
        raise LedgerError(
            f"there is no candidate {number}; `autoresearch log` lists them."
        ) from None


def _trial_line(trial: Row) -> str:
    value = "" if trial["value"] is None else f" {trial['value']:.6f}"
    message = f" {flat(trial['message'])}" if trial["message"] else ""
    seconds = (trial["finished"] or 0) - trial["started"]
    return (
        f"  run {trial['seed_index'] + 1:<6} {trial['outcome']}{value}{message} "
        f"(seed {trial['seed']}, {trial['budget']}, {seconds:.1f} s, {trial['device']})"
    )


def _evidence(row: Row) -> Iterator[str]:
    evidence = row["evidence"]
    if evidence:
        keys = (
            "relation",
            "d",
            "q",
            "sigma",
            "paired",
            "e_value",
            "effect",
            "effect_sd",
        )
        yield "  evidence   " + ", ".join(
            f"{key}={_brief(evidence[key])}" for key in keys
        )


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def agents(options: argparse.Namespace) -> Iterator[str]:
    """Every agent over all sessions that compare with the latest research session."""
    from autoresearch_plugin import standings
    from autoresearch_plugin.agents import AGENTS, read_agents
    from autoresearch_plugin.reports.agents import lines

    floors = {one.name: one.share for one in read_agents(options.root) if one.name}
    with closing(_ledger(options.root)) as ledger:
        found = [row for row in ledger.sessions() if row["kind"] == "research"]
        facts = (
            standings.facts_of(ledger, found[-1]["fingerprint"], floors)
            if found
            else []
        )
    if not facts:
        yield f"no agents yet: write a program for each in {AGENTS}/NAME.md."
    yield from lines(facts)


def prompt(options: argparse.Namespace) -> Iterator[str]:
    """What the proposer would be told, from the ledger; nothing is sent."""
    from autoresearch_plugin.prompt import system_blocks, tail
    from autoresearch_plugin.requesting import build_request

    research = _last_research(options.root)
    with closing(research.ledger):
        request = build_request(research, _agent_to_ask(research, options.agent))
    for block in system_blocks(request):
        yield block
        yield ""
    yield "-" * 72
    yield tail(request)


def _agent_to_ask(research: Research, name: str | None) -> Agent:
    """The agent of that name; without one, whose turn it is."""
    from autoresearch_plugin.agents import AGENTS, read_agents
    from autoresearch_plugin.standings import whose_turn

    here = {one.name: one for one in read_agents(research.root)}
    if name is None:
        floors = {one.name: one.share for one in here.values()}
        name = whose_turn(research.ledger, research.fingerprint, floors).agent
    if name not in here:
        raise SettingsError(
            f"--agent {name!r}: there is no {AGENTS}/{name}.md; there is "
            f"{', '.join(filter(None, here)) or 'none at all'}."
        )
    return here[name]


def rejudge(options: argparse.Namespace) -> Iterator[str]:
    """Judge the keeps of a finished log again."""
    from autoresearch_plugin import rejudge as again

    if _is_ledger(options.file):
        yield from _second_look(options.file, options.rule)
        return
    if options.rule:
        raise SettingsError(
            f"--rule {options.rule}: {options.file} is no ledger. A results.tsv holds "
            "one run a candidate, which no rule but its own can judge."
        )
    try:
        text = options.file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(
            f"cannot read {options.file}: {error}. It should be autoresearch's "
            "results.tsv: commit, val_bpb, memory_gb, status, description."
        ) from None
    yield from again.lines(again.rejudge(again.read_log(text)))


def _is_ledger(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"
    return False


def _second_look(path: Path, rule: str | None) -> Iterator[str]:
    from autoresearch_plugin import second_look
    from autoresearch_plugin.loop import load_rule

    research = _last_research(project_of(path.parent))
    with closing(research.ledger) as ledger:
        research.fingerprint = ledger.session(research.session)["fingerprint"]
        if rule:
            research.rule = load_rule(rule)
        yield from second_look.lines(research)


def audit(options: argparse.Namespace) -> Iterator[str]:
    """Make or finish the audit of a session, and its reports anew."""
    from autoresearch_plugin import auditing, keys, reporting
    from autoresearch_plugin.devices import lease
    from autoresearch_plugin.reports.closing import audit_lines
    from autoresearch_plugin.session import controller_lock

    if options.runs is not None and not 3 <= options.runs <= 20:
        raise SettingsError(f"--runs {options.runs}: give 3 to 20 runs.")
    keys.hide_process()
    research = _session_to_audit(options.root, options.session)
    with (
        closing(research.ledger),
        closing(controller_lock(options.root)),
        lease(research.device, wait=True) as held,
    ):
        research.executor.lease = held
        _check_same_measuring(research)
        todo = auditing.plan(research, options.runs or RUNS_MIN)
        if isinstance(todo, str):
            raise LedgerError(f"{todo}.")
        yield (
            f"session {research.session}: first baseline {todo.first.short} against "
            f"{todo.last.short}, {todo.runs} runs each of {research.budget}"
        )
        while auditing.step(research, todo):
            made = research.ledger.audits(research.session)[-1]
            side = "last" if made["head"] == todo.last.id else "first"
            yield f"  {side} baseline: {research.metric} {made['value']:.6f}"
        auditing.conclude(research)
        yield from audit_lines(research.metric, auditing.outcome(research), "")
        if research.session == research.ledger.sessions()[-1]["id"]:
            directory = report_dir(options.root, settings_of(options.root).report)
            reporting.write_reports(research, directory)


def _check_same_measuring(research: Research) -> None:
    """An audit measures as its session did, or not at all.

    Raises:
        LedgerError: the core, the data, torch or the device is another one now.
    """
    from autoresearch_plugin.session import describe

    research.profile = describe(
        research.executor,
        research.root,
        research.settings,
        research.device,
        research.head().source,
    )
    then = research.ledger.session(research.session)["fingerprint"]
    if research.fingerprint != then:
        raise LedgerError(
            f"session {research.session} was measured under fingerprint {then}, this "
            f"is {research.fingerprint}: another core, corpus, torch or device. Its "
            "audit would compare apples and oranges; run it where it was measured."
        )


def _session_to_audit(root: Path, number: int | None) -> Research:
    """A hold of a finished session that has moved its baseline.

    Raises:
        LedgerError: there is none, or it still runs.
    """
    from autoresearch_plugin import containment
    from autoresearch_plugin.devices import discover
    from autoresearch_plugin.paths import state_dir
    from autoresearch_plugin.session import join_session
    from autoresearch_plugin.settings import remembered

    with closing(_ledger(root)) as ledger:
        rows = [
            row
            for row in ledger.sessions()
            if row["kind"] == "research" and number in (None, row["id"])
        ]
        moved = [row for row in rows if row["head"] != row["first_head"]]
        if not moved:
            raise LedgerError(
                "there is no session whose keeps could be audited"
                f"{f' with number {number}' if number else ''}: nothing was kept."
            )
        if ledger.stopping(moved[-1]["id"]) is None:
            raise LedgerError("the session still runs; it is audited at its end.")
    settings = remembered(moved[-1]["settings"])
    device = discover(os.environ, settings.devices)[0]
    research = join_session(root, settings, moved[-1]["id"], device, "audit")
    if research.executor.sandbox is not None:
        containment.check(research.executor.sandbox, state_dir(root))
    research.heeds_stop = False
    return research


def power(options: argparse.Namespace) -> Iterator[str]:
    """How likely a gain of this size is proven, and what that costs."""
    from autoresearch_plugin.bench import power as bench_power

    sigma, seconds = options.sigma, options.seconds or 300.0
    where, paired = "as given", False
    if sigma is None:
        sigma, seconds, paired = _measured_noise(options.root)
        seconds, where = options.seconds or seconds, "measured, in the ledger"
    if not (0 < sigma < math.inf and 0 < seconds < math.inf):
        raise SettingsError("--sigma and --seconds must be above 0.")
    yield from bench_power.lines(options.gain, sigma, seconds, where, paired)


def _measured_noise(root: Path) -> tuple[float, float, bool]:
    """Sigma, seconds of a run, and whether runs are paired, of the last session."""
    from autoresearch_plugin import comparing

    research = _last_research(root)
    with closing(research.ledger) as ledger:
        head = research.head()
        seconds = ledger.recent_seconds(research.session) or [300.0]
        unpaired = comparing.unpaired_noise(research, head).sigma
        pairs = comparing.paired_noise(research, head).sigma
    paired = research.paired and pairs < unpaired * math.sqrt(2)
    return pairs if paired else unpaired, statistics.median(seconds), paired


def bench(options: argparse.Namespace) -> Iterator[str]:
    """A table of rules on the same simulated sessions, or the figures of a soak."""
    if options.what == "soak":
        yield from _soak(options)
        return
    from autoresearch_plugin.bench import policies, table, worlds

    names = options.world or ["reference"]
    if "all" in names:
        names = list(worlds.WORLDS)
    places = [table.Place(name, options.gpus, options.gpu_hours) for name in names]
    rules = options.rule or list(policies.POLICIES)
    cells = table.measure(places, rules, options.sessions)
    if options.json:
        yield json.dumps([asdict(cell) for cell in cells], indent=1)
        return
    yield f"{options.sessions} sessions a line; gains are true ones per GPU-hour"
    yield table.HEADER
    for cell in cells:
        yield table.line(cell)


def _soak(options: argparse.Namespace) -> Iterator[str]:
    """Exit code 1 if something was lost, doubled or decided without evidence."""
    from autoresearch_plugin.bench.soak import report
    from autoresearch_plugin.bench.soak.driver import Options

    names = ("candidates", "lanes", "kills", "seconds", "seed")
    asked = Options(**{name: getattr(options, name) for name in names})
    figures = report.soak(asked, options.folder)
    yield from [report.as_json(figures)] if options.json else report.lines(figures)
    options.exit = 1 if figures["findings"] or figures["spend_error"] > 0 else 0


def doctor(options: argparse.Namespace) -> Iterator[str]:
    """Check what a session needs; exit code 1 if something is missing."""
    from autoresearch_plugin import doctor as checks

    for check in checks.run(options.root, settings_of(options.root)):
        yield f"{'ok  ' if check.ok else 'FAIL'} {check.name:<12} {check.text}"
        if not check.ok:
            yield f"     {'':<12} {check.fix}"
            options.exit = 1 if check.needed else getattr(options, "exit", 0)


# ---------------------------------------------------------------------- helpers


def project_of(folder: Path) -> Path:
    """The nearest folder upward that has a ledger; without one, `folder` itself."""
    folder = folder.resolve()
    every = (folder, *folder.parents)
    return next((one for one in every if _is_there(one / LEDGER)), folder)


def _is_there(path: Path) -> bool:
    return os.access(path, os.F_OK)  # where nobody may look Path.exists would raise


def _ledger(root: Path) -> Ledger:
    from autoresearch_plugin.ledger import Ledger

    path = root / LEDGER
    if not _is_there(path):  # looking never makes one
        raise LedgerError(
            f"there is no ledger at {path}. Run pytest --autoresearch there "
            "first, or name the project with --root."
        )
    return Ledger(path)


def _last_research(root: Path) -> Any:
    """The last session as it was asked for, options included; nothing is started.

    The last research session, or of the others the last one if there was none.
    """
    from autoresearch_plugin.devices import discover
    from autoresearch_plugin.session import join_session
    from autoresearch_plugin.settings import remembered

    with closing(_ledger(root)) as ledger:
        sessions = [row for row in ledger.sessions() if row["profile"]]
    if not sessions:
        raise LedgerError("no session has described its training command yet.")
    row = max(sessions, key=lambda row: (row["kind"] == "research", row["id"]))
    settings = remembered(row["settings"])
    device = discover(os.environ, settings.devices)[0]
    return join_session(root, settings, row["id"], device, "prompt", runs=False)


def settings_of(root: Path) -> Settings:
    """Settings from the project's ini values alone, as pytest would read them."""
    from autoresearch_plugin.settings import resolve

    return resolve(lambda name: None, _ini(root).get, os.environ)


def _ini(root: Path) -> dict[str, str]:
    for name in ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"):
        path = root / name
        if not path.is_file():
            continue
        try:
            found = _pytest_table(path)
        except (ValueError, configparser.Error) as error:
            words = " ".join(str(error).split())
            raise SettingsError(
                f"{path} cannot be read: {words.rstrip('.')}. pytest reads it too, so "
                "mend it first."
            ) from None
        if found:
            return {key: str(value) for key, value in found.items()}
    return {}


def _pytest_table(path: Path) -> dict[str, Any]:
    """pytest's part of a configuration file."""
    if path.suffix == ".toml":
        tables = tomllib.loads(path.read_text())
        tool = tables if path.name == "pytest.toml" else tables.get("tool", {})
        table = tool.get("pytest", {})
        return dict(table.get("ini_options", table))
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
    return dict(parser[section]) if parser.has_section(section) else {}
