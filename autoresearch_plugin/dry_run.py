"""`--autoresearch-dry-run`: each proposer is asked once, and nothing is trained.

The session stays open as if it had been interrupted, so that the same command without
the option begins with the proposals that were paid for.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Edit, apply_edits
from autoresearch_plugin.errors import InfrastructureError, PatchError
from autoresearch_plugin.estimate import lines
from autoresearch_plugin.estimating import estimate_of
from autoresearch_plugin.generated import restore_generated
from autoresearch_plugin.header import header
from autoresearch_plugin.lanes import collection_errors
from autoresearch_plugin.paths import own_directory, report_dir, write_new
from autoresearch_plugin.proposers import Exhausted
from autoresearch_plugin.proposing import words_of
from autoresearch_plugin.quoting import barred, visible

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.state import State
    from autoresearch_plugin.team import Member

SHOWN_LINES = 40  # of a proposal's diff


class DryRunPlugin:
    """In place of lanes and reports: open, ask, show, leave it to be resumed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._said: list[str] = []
        self._failed = False
        self._hand = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Open the session and choose who proposes; mistakes show here."""
        self.state.session = session
        try:
            self.state.open()
            self.state.choose_proposer()
        except InfrastructureError as error:
            raise pytest.exit.Exception(str(error), returncode=1) from error

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """As in the session itself."""
        return list(header(self.state))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Ask everybody once, in place of running tests."""
        if collection_errors(session):
            return None
        self._hand = sum(
            "gpu_budget" in getattr(item, "fixturenames", ()) for item in session.items
        )
        restore_generated(self.state.research)
        self.state.proposing.take_left_over()
        terminal: Any = session.config.pluginmanager.getplugin("terminalreporter")
        for member in list(self.state.proposing.team.members):
            terminal.write_line(visible(f"  asking {member.title}"))
            self._ask(member)
        return True

    def _ask(self, member: Member) -> None:
        """What waits from an earlier dry run is not paid for twice."""
        thread = self.state.proposing
        try:
            if not any(row["agent"] == member.name for row in self._waiting()):
                request = replace(thread.request(member), turn="dry run")
                answer = member.proposer.propose(request)
                thread.take(member, request, answer)
                for excerpt, reason in answer.refused:
                    self._said.append(f"refused {reason} ({excerpt})")
        except Exhausted as reason:
            self._said.append(f"nothing {reason}")
        except (Exception, SystemExit) as error:
            self._failed = True
            self._said.append(f"failed  {member.title}: {words_of(error)}")

    def _waiting(self) -> list[Row]:
        research = self.state.research
        rows = research.ledger.candidates(research.session)
        return [row for row in rows if row["state"] == "queued" and row["test"]]

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Proposals, the estimate, and how to go on."""
        if self.state._opened is None:
            return
        tag = self.state.research.settings.tag
        terminalreporter.write_sep("=", f"autoresearch {tag}: dry run, nothing trained")
        for line in self._lines():
            terminalreporter.write_line(visible(line))

    def _lines(self) -> Iterator[str]:
        rows = self._waiting()
        for row in rows:
            agent = f" of {row['agent']}" if row["agent"] else ""
            yield f"#{row['id']:03d}{agent} {row['title']} ({row['category']})"
            yield f"        {row['hypothesis']}"
            yield from self._diff(row)
        yield from self._said
        yield from lines(estimate_of(self.state, self._hand))
        if rows:
            yield f"read    {self._write(rows)}/  the tests as they would run"
        words = self.state.config.invocation_params.args
        again = [word for word in words if word != "--autoresearch-dry-run"]
        first = ", with these proposals first" if rows else ""
        yield f"next    {shlex.join(('pytest', *again))}   (trains{first})"

    def _diff(self, row: Row) -> Iterator[str]:
        """What it would change, in the file that it is written for."""
        research = self.state.research
        source = research.head().source
        try:
            edits = tuple(map(Edit.from_data, row["edits"]))
            text = patch.unified_diff(
                source, apply_edits(edits, source), research.settings.target
            )
        except PatchError as error:
            text = f"does not apply: {error}"
        shown = text.rstrip("\n").split("\n")
        yield from barred("\n".join(shown[:SHOWN_LINES])).split("\n")
        if len(shown) > SHOWN_LINES:
            yield f"        ({len(shown) - SHOWN_LINES} more lines)"

    def _write(self, rows: list[Row]) -> Path:
        """The tests, under names that no pytest collects."""
        root, name = self.state.config.rootpath, self.state.settings.report
        directory = own_directory(report_dir(root, name) / "dry-run", alone=True)
        for row in rows:
            file = Path(row["file"]).name.removeprefix("test_")
            write_new(directory / file, row["test"].encode())
        return directory.relative_to(root)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Leave it to be resumed; exit 1 where somebody could not be asked."""
        if self.state._opened is None:
            return
        if int(exitstatus) in (0, 5):
            session.exitstatus = int(self._failed)
        self.state.stop("dry run")
        self.state.close(2)
