"""The project of a soak: a git repository with the stand-in training, and sessions of
the real plugin in it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from autoresearch_plugin.bench.soak import program, training
from autoresearch_plugin.errors import InfrastructureError, SettingsError

INI = """\
[pytest]
addopts = -p no:hypothesispytest -p no:anyio
autoresearch_target = train.py
autoresearch_command = {{python}} -I -S {training} --seconds {seconds:g}
"""
DROPPED = ("PYTEST_ADDOPTS", "CI", "ANTHROPIC_AUTH_TOKEN", "PYTEST_CURRENT_TEST")
DECIDED = ("keep", "discard", "crash", "refused")


class Project:
    """A fresh repository below `folder`, its log beside it."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Raises SettingsError: there is no git, or the folder is in use."""
        self.path = folder / "project"
        self.log = folder / "pytest.log"
        self.ledger = self.path / ".autoresearch" / "ledger.db"
        self._locks = folder / "locks"
        if shutil.which("git") is None:
            raise SettingsError("a soak needs git, which is not on the PATH.")
        try:
            (self.path / "experiments").mkdir(parents=True)
        except FileExistsError:
            raise SettingsError(
                f"--folder {folder}: there is a soak's project in it already. Name an "
                "empty folder."
            ) from None
        self._locks.mkdir()
        text = INI.format(training=Path(training.__file__).resolve(), seconds=seconds)
        (self.path / "pytest.ini").write_text(text)
        (self.path / "train.py").write_text(training.TARGET)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Soak")
        self.git("config", "user.email", "soak@example.org")
        self.git("add", "-A")
        self.git("commit", "-qm", "start")

    def git(self, *words: str) -> str:
        """Run git in the project."""
        done = subprocess.run(
            ["git", *words], cwd=self.path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def start(self, words: Sequence[str], url: str) -> subprocess.Popen[bytes]:
        """`pytest --autoresearch` in a session of its own; its output goes to the log.

        The model's server is `url`; the locks of devices are the soak's own.

        Raises:
            InfrastructureError: this Python is gone, or no process can be made.
        """
        environ = {k: v for k, v in os.environ.items() if k not in DROPPED}
        environ |= {
            "ANTHROPIC_API_KEY": "soak",
            "ANTHROPIC_BASE_URL": url,
            "AUTORESEARCH_RUNTIME_DIR": str(self._locks),
            "NO_PROXY": "127.0.0.1",
        }
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(
                    [sys.executable, "-m", "pytest", "--autoresearch", *words],
                    cwd=self.path,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise InfrastructureError(
                f"pytest cannot be started: {error}. See whether {sys.executable} is "
                "still there, and try again."
            ) from None

    def query(self, sql: str, *values: Any) -> list[Mapping[str, Any]]:
        """Rows of the ledger, read from outside; none while there is no ledger."""
        if not self.ledger.exists():
            return []
        place = f"file:{self.ledger}?mode=ro"
        with (
            suppress(sqlite3.OperationalError),  # no tables yet
            closing(sqlite3.connect(place, uri=True, timeout=30)) as db,
        ):
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]
        return []

    def progress(self) -> tuple[int, str]:
        """Generated candidates decided in the last session, and its state."""
        marks = ", ".join("?" * len(DECIDED))
        rows = self.query(
            "SELECT s.state, (SELECT count(*) FROM candidates c WHERE c.session=s.id "
            f"AND kind='generated' AND c.state IN ({marks})) AS n "
            "FROM sessions s ORDER BY s.id DESC LIMIT 1",
            *DECIDED,
        )
        return (rows[0]["n"], rows[0]["state"]) if rows else (0, "none")

    def last_words(self, lines: int = 15) -> str:
        """The end of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a session, its whole process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def proposing_command() -> str:
    """The setting that makes `program.py` the proposer."""
    return f"command:{{python}} {Path(program.__file__).resolve()}"
