"""A program of the user's as proposer: JSON request on stdin, proposals on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_plugin import prompt
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import (
    PatchError,
    ProposerError,
    SettingsError,
    Unavailable,
)
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.base import Answer, Exhausted, Patience
from autoresearch_plugin.proposers.checks import check, excerpt
from autoresearch_plugin.quoting import clean

TIMEOUT = 600.0  # seconds for one answer
TICK = 0.1  # seconds between looks at the stop event
GRACE = 1.0  # seconds for the pipes to run dry once the program has ended
CAP = 1 << 20  # bytes that it may print
CHUNK = 1 << 16  # bytes read at once, and kept of stderr
SURPLUS = 10  # proposals beyond those asked for that are named
TOO_DEEP = "nested too deeply to be read; print flat objects."


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
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Raises SettingsError: the command cannot be split, or is not there."""
        self._stop = stop or threading.Event()
        self._timeout = timeout
        self._environ = environ
        self._patience = Patience(2 * Patience.LIMIT)
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
            ProposerError: it cannot be started.
            Unavailable: it failed, ran too long, or was of no use several times.
        """
        printed = self._run(json.dumps(prompt.to_data(request)))
        try:
            found = read_proposals(printed)
        except ValueError as error:
            answer = Answer(refused=((excerpt(printed), f"no JSON: {error}."),))
        except RecursionError:
            answer = Answer(refused=((excerpt(printed), TOO_DEEP),))
        else:
            answer = _checked(found, request)
        return self._patience.watch(answer)

    def _run(self, text: str) -> str:
        try:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=self._environ,
            )
        except OSError as error:
            raise ProposerError(f"{self._words[0]} cannot start: {error}.") from None
        with process, contextlib.closing(_Pipes(process, text.encode())) as pipes:
            try:
                self._wait(process, pipes)
            finally:
                _kill_group(process)
        if process.returncode != 0:
            raise Unavailable(
                f"the proposing program {self._words[0]!r} failed with status "
                f"{process.returncode}: {_tail(pipes.said) or 'it said nothing'}"
            )
        return pipes.printed.decode(errors="replace")

    def _wait(self, process: subprocess.Popen[bytes], pipes: _Pipes) -> None:
        """Serve the program until it ends, looking at the stop event now and then.

        Its end is what counts: a daemon that it leaves behind may hold the pipes open
        for ever.
        """
        deadline = time.monotonic() + self._timeout
        ended = False
        while not (ended and pipes.at_end):
            pipes.serve(TICK)
            if len(pipes.printed) > CAP:
                raise Unavailable(
                    f"the proposing program {self._words[0]!r} printed more than "
                    f"{CAP >> 20} MiB and was killed. Print the proposals only; the "
                    "rest belongs on stderr."
                )
            if not ended and process.poll() is not None:
                ended, deadline = True, time.monotonic() + GRACE
            if self._stop.is_set():
                raise Exhausted("stopped while the proposing program was running.")
            if time.monotonic() > deadline:
                if ended:
                    return
                raise Unavailable(
                    f"the proposing program {self._words[0]!r} gave no answer within "
                    f"{self._timeout:g} s. {_tail(pipes.said)}".rstrip()
                )


def _checked(found: Sequence[object], request: Request) -> Answer:
    """Which of the proposals can be tried; raises Exhausted when there is none."""
    if not found:
        raise Exhausted("the program proposed nothing, so it has no more ideas.")
    good: list[Proposal] = []
    bad: list[tuple[str, str]] = []
    for data in found[: request.count]:
        try:
            good.append(check(data, request))
        except PatchError as error:
            bad.append((_excerpt(data), str(error)))
        except RecursionError:
            bad.append((_excerpt(data), TOO_DEEP))
    asked = f"more than the {request.count} asked for."
    # Each becomes an event in the ledger, and an answer has room for 500,000 of them.
    surplus = found[request.count :][:SURPLUS]
    bad += [(_excerpt(data), asked) for data in surplus]
    return Answer(tuple(good), tuple(bad))


def _excerpt(data: object) -> str:
    try:
        return excerpt(data)
    except RecursionError:  # json reads a little deeper than it writes
        return "(too deep to be quoted)"


class _Pipes:
    """The program's pipes: none of them blocks us, and none fills our memory."""

    def __init__(self, process: subprocess.Popen[bytes], text: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.printed = bytearray()  # at most CAP and the CHUNK that goes beyond it
        self.said = bytearray()  # the end of stderr
        self._unsent = memoryview(text)
        self._stdin = process.stdin
        self._selector = selectors.DefaultSelector()
        write, read = selectors.EVENT_WRITE, selectors.EVENT_READ
        self._selector.register(process.stdin, write, self._feed)
        self._selector.register(process.stdout, read, self._hear)
        self._selector.register(process.stderr, read, self._overhear)
        self._open = 2  # of those we read

    @property
    def at_end(self) -> bool:
        """Whether all was read that the program, or a child of it, can have written."""
        return not self._open

    def serve(self, seconds: float) -> None:
        """Move what can be moved now; wait up to `seconds` if that is nothing."""
        for key, _ in self._selector.select(seconds):
            key.data(key.fd)

    def close(self) -> None:
        """Forget the pipes; they are closed with their process."""
        self._selector.close()

    def _feed(self, pipe: int) -> None:
        try:  # so little does not block once the pipe is ready
            sent = os.write(pipe, self._unsent[: select.PIPE_BUF])
        except BrokenPipeError:  # it need not read its input
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._selector.unregister(pipe)
            self._stdin.close()

    def _hear(self, pipe: int) -> None:
        self.printed += self._read(pipe)

    def _overhear(self, pipe: int) -> None:
        self.said += self._read(pipe)
        del self.said[:-CHUNK]

    def _read(self, pipe: int) -> bytes:
        data = os.read(pipe, CHUNK)
        if not data:
            self._selector.unregister(pipe)
            self._open -= 1
        return data


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


def _tail(said: bytearray) -> str:
    lines = clean(said.decode(errors="replace"), lines=5).splitlines()
    return " / ".join(lines)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
