"""Verbs that only look: at candidates, sessions, agents, prompts and old logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin.errors import LedgerError, SettingsError
from autoresearch_plugin.quoting import barred, flat
from autoresearch_plugin.verbs.project import (
    last_research,
    open_ledger,
    project_of,
    settings_of,
)

if TYPE_CHECKING:
    import argparse

    from autoresearch_plugin.agents import Agent
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.loop import Research


def log(options: argparse.Namespace) -> Iterator[str]:
    """All candidates of the ledger, newest last."""
    with closing(open_ledger(options.root)) as ledger:
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

    with closing(open_ledger(options.root)) as ledger:
        yield from session_lines(ledger, settings_of(options.root))


def show(options: argparse.Namespace) -> Iterator[str]:
    """One candidate, also of an earlier session."""
    with closing(open_ledger(options.root)) as ledger:
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
    if row["parts"]:
        parts = ", ".join(f"#{number:03d}" for number in json.loads(row["parts"]))
        yield f"  {'parts':<10} {parts}"
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
    with closing(open_ledger(options.root)) as ledger:
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

    research = last_research(options.root)
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

    if _isopen_ledger(options.file):
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


def _isopen_ledger(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"
    return False


def _second_look(path: Path, rule: str | None) -> Iterator[str]:
    from autoresearch_plugin import second_look
    from autoresearch_plugin.loop import load_rule

    research = last_research(project_of(path.parent))
    with closing(research.ledger) as ledger:
        research.fingerprint = ledger.session(research.session)["fingerprint"]
        if rule:
            research.rule = load_rule(rule)
        yield from second_look.lines(research)
