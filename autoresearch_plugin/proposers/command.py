"""A program of the user's as proposer: JSON request on stdin, proposals on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from autoresearch_plugin import prompt
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import PatchError, ProposerError, SettingsError
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.base import Answer, Exhausted, Patience
from autoresearch_plugin.proposers.checks import check, excerpt
from autoresearch_plugin.quoting import clean

TIMEOUT = 600.0  # seconds for one answer
TICK = 0.1  # seconds between looks at the stop event


class CommandProposer:
    """Starts the program anew for every request, in a process group of its own.

    It prints a list of proposals, an object `{"proposals": [...]}`, one proposal, or
    one a line. Printing nothing means that it has no more ideas. `{python}` in the
    command is this interpreter.
    """

    name = "command"

    def __init__(
        self,
        command: str,
        *,
        stop: threading.Event | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Raises SettingsError: the command cannot be split, or is not there."""
        self._stop = stop or threading.Event()
        self._timeout = timeout
        self._patience = Patience()
        setting = f"--autoresearch-proposer command:{command}"
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise SettingsError(f"{setting}: {error}; mend the quotes.") from None
        self._words = [word.replace("{python}", sys.executable) for word in words]
        if not self._words or shutil.which(self._words[0]) is None:
            raise SettingsError(f"{setting}: there is no such program to run.")
        self.note = f"command, {command}"

    def propose(self, request: Request) -> Answer:
        """Run the program once.

        Raises:
            Exhausted: it printed nothing, or an empty list, or the session is stopping.
            ProposerError: it failed, ran too long, or was of no use several times.
        """
        printed = self._run(json.dumps(prompt.to_data(request)))
        try:
            found = read_proposals(printed)
        except ValueError as error:
            refused = ((excerpt(printed), f"no JSON: {error}."),)
            return self._patience.watch(Answer(refused=refused))
        if not found:
            raise Exhausted("the program proposed nothing, so it has no more ideas.")
        good: list[Proposal] = []
        bad: list[tuple[str, str]] = []
        for data in found[: request.count]:
            try:
                good.append(check(data, request))
            except PatchError as error:
                bad.append((excerpt(data), str(error)))
        asked = f"more than the {request.count} asked for."
        bad += [(excerpt(data), asked) for data in found[request.count :]]
        return self._patience.watch(Answer(tuple(good), tuple(bad)))

    def _run(self, text: str) -> str:
        try:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProposerError(f"{self._words[0]} cannot start: {error}.") from None
        with process:
            try:
                printed, said = self._communicate(process, text)
            finally:
                _kill_group(process)
        if process.returncode != 0:
            raise ProposerError(
                f"the proposing program {self._words[0]!r} failed with status "
                f"{process.returncode}: {_tail(said) or 'it said nothing'}"
            )
        return printed.decode(errors="replace")

    def _communicate(
        self, process: subprocess.Popen[bytes], text: str
    ) -> tuple[bytes, bytes]:
        """Feed the program and wait for it, looking at the stop event now and then."""
        deadline = time.monotonic() + self._timeout
        data: bytes | None = text.encode()
        while True:
            try:
                return process.communicate(data, timeout=TICK)
            except subprocess.TimeoutExpired as expired:
                said = expired.stderr or b""
            data = None
            if self._stop.is_set():
                raise Exhausted("stopped while the proposing program was running.")
            if time.monotonic() > deadline:
                raise ProposerError(
                    f"the proposing program {self._words[0]!r} gave no answer within "
                    f"{self._timeout:g} s. {_tail(said)}".rstrip()
                )


def read_proposals(text: str) -> list[Any]:
    """Proposals in any of the forms that a program may print.

    Raises:
        ValueError: it is not JSON, as a whole or line by line.
    """
    if not text.strip():
        return []
    try:
        data = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(data, dict) and isinstance(data.get("proposals"), list):
        data = data["proposals"]
    return data if isinstance(data, list) else [data]


def _tail(said: bytes) -> str:
    lines = clean(said.decode(errors="replace"), lines=5).splitlines()
    return " / ".join(lines)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
