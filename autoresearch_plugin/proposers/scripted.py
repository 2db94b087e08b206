"""Proposals from a file, one JSON object a line: for demonstrations and replays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import PatchError, ProposerError, SettingsError
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.base import Answer, Exhausted
from autoresearch_plugin.proposers.checks import check, excerpt


class ScriptedProposer:
    """Line after line of a JSONL file; empty lines do not count.

    A new process starts at the first line again; what the ledger knows already is
    refused as a duplicate, so that a resumed session goes on where it was. Edits are
    applied to the parent of the moment, whatever it has become.
    """

    name = "scripted"

    def __init__(self, file: str) -> None:
        """Raises SettingsError: there is no such file."""
        self._path = Path(file.strip()).expanduser()
        if not self._path.is_file():
            raise SettingsError(
                f"--autoresearch-proposer scripted:{file}: there is no such file. Give "
                "one with a proposal a line, as JSON with title, hypothesis, category, "
                "edits."
            )
        self._position = 0
        self.note = f"scripted, {self._path}"

    def propose(self, request: Request) -> Answer:
        """The next `request.count` lines; a bad one is refused with its line number.

        Raises:
            Exhausted: the file has no more lines.
            ProposerError: the file cannot be read.
        """
        lines = self._lines()[self._position :][: request.count]
        self._position += len(lines)
        if not lines:
            raise Exhausted(f"{self._path} has no more proposals.")
        asked = replace(request, banned=())  # a script cannot turn to other ideas
        good: list[Proposal] = []
        bad: list[tuple[str, str]] = []
        for number, line in lines:
            try:
                good.append(check(json.loads(line), asked))
            except (ValueError, RecursionError) as error:
                words = str(getattr(error, "msg", error))
                bad.append((excerpt(line), f"line {number} is no JSON: {words}."))
            except PatchError as error:
                bad.append((excerpt(line), f"line {number}: {error}"))
        return Answer(tuple(good), tuple(bad))

    def _lines(self) -> list[tuple[int, str]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProposerError(f"{self._path} cannot be read: {error}.") from None
        numbered = enumerate(text.splitlines(), start=1)
        return [(number, line) for number, line in numbered if line.strip()]
