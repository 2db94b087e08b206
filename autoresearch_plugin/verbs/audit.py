"""The verb `audit`: it makes or extends the audit of a session that is over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin.audit import RUNS_MIN
from autoresearch_plugin.errors import LedgerError, SettingsError
from autoresearch_plugin.paths import report_dir
from autoresearch_plugin.verbs.project import open_ledger, settings_of

if TYPE_CHECKING:
    import argparse

    from autoresearch_plugin.loop import Research


def audit(options: argparse.Namespace) -> Iterator[str]:
    """Make or finish the audit of a session, and its reports anew."""
    from autoresearch_plugin import auditing, keys, report_files
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
            report_files.write_reports(research, directory)


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

    with closing(open_ledger(root)) as ledger:
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
