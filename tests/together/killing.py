"""A scripted session of real trainings that is killed again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.paths import state_dir
from tests.plugin.belongings import make_dirty

ROOT = Path(__file__).parents[2]
DECIDED = {"keep", "discard", "crash"}
PROPOSALS = {  # title -> knob and value; gains and losses that no seed can hide
    "No matrix rate": ("MATRIX_LR", 0.0001),
    "Crash on purpose": ("MLP_RATIO", -1),
    "Twice the batch": ("BATCH_SCALE", 2.0),
    "No embedding rate": ("EMBEDDING_LR", 0.001),
}
INI = f"""[pytest]
addopts = -p no:hypothesispytest -p no:anyio -p no:cacheprovider
autoresearch_target = nanochat_core/train.py
autoresearch_profile = tiny
autoresearch_devices = cpu:0
autoresearch_rule = greedy
autoresearch_proposer = scripted:proposals.jsonl
autoresearch_experiments = {len(PROPOSALS)}
"""
WHOM = ("controller", "machine", "lane", "trial", "runner")


def words(directory: Path, *command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout


def new_project(directory: Path) -> Path:
    """A repository with a dirty index and untracked files; the seeds are fixed."""
    (directory / "nanochat_core").mkdir(parents=True)
    (directory / "experiments").mkdir()
    source = (ROOT / "nanochat_core" / "train.py").read_bytes()
    (directory / "nanochat_core" / "train.py").write_bytes(source)
    (directory / "notes.txt").write_text("mine\n")
    (directory / "proposals.jsonl").write_text("\n".join(map(json.dumps, proposals())))
    (directory / "pytest.ini").write_text(INI)
    for command in (
        "git init -q -b main",
        "git config user.email ada@example.org",
        "git config user.name Ada",
        "git add -A",
        "git commit -qm start",
    ):
        words(directory, *command.split())
    make_dirty(directory)
    ledger = Ledger(state_dir(directory) / "ledger.db")
    ledger._execute("UPDATE meta SET value='fixed' WHERE key='salt'")
    ledger.close()
    return directory


def proposals() -> Iterator[dict[str, Any]]:
    """What the scripted proposer reads."""
    for title, (knob, value) in PROPOSALS.items():
        edit = {"op": "set", "knob": knob, "value": value}
        yield {"title": title, "category": "other", "edits": [edit]}


def kept(directory: Path) -> list[str]:
    """What is on the research branch: trees and subjects, newest first."""
    log = ("git", "log", "--format=%T %s", "main..autoresearch/main")
    return words(directory, *log).splitlines()


@dataclass
class Killed:
    """One session, and whom to kill in it how long after each start."""

    directory: Path
    kills: Sequence[tuple[str, float]] = ()
    done: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Start it, kill as told, and start it again until it ends by itself."""
        todo = list(self.kills)
        while True:
            self._start()
            alive = True
            while todo and alive and self._sleeps(todo[0][1]):
                whom, _ = todo.pop(0)
                if self._kill(whom):
                    self.done.append(whom)
                alive = whom not in ("controller", "machine")
            self._wait()
            if self.is_finished():
                return
            assert len(self.codes) < 2 * len(self.kills) + 2, self.output[-1]

    def _start(self) -> None:
        environ = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
        environ["PYTHONDONTWRITEBYTECODE"] = "1"
        environ["AUTORESEARCH_RUNTIME_DIR"] = str(self.directory.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--autoresearch", "-n1"],
            cwd=self.directory,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _sleeps(self, seconds: float) -> bool:
        """Wait so long; False if the session has ended meanwhile."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is None

    def _wait(self) -> None:
        assert self._process is not None
        text, _ = self._process.communicate(timeout=1200)
        self.output.append(text)
        self.codes.append(self._process.returncode)
        end = time.monotonic() + 20  # what a killed controller had started ends itself
        while self._processes() and time.monotonic() < end:
            time.sleep(0.05)

    def _processes(self) -> dict[int, str]:
        """Processes that work in the project: pid -> command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.directory):
                    line = (entry / "cmdline").read_bytes().split(b"\0")
                    found[int(entry.name)] = b" ".join(line).decode()
        return found

    def _kill(self, whom: str) -> bool:
        """SIGKILL; False if there is no such process at the moment."""
        assert self._process is not None
        alive = self._processes()
        chosen: Callable[[str], bool] = {
            "lane": lambda line: "sys.stdin.readline" in line,
            "trial": lambda line: " nanochat_core --spec" in line and "-I" not in line,
            "runner": lambda line: "executors/run.py" in line,
            "machine": lambda line: True,
        }.get(whom, lambda line: False)
        pids = [pid for pid, line in alive.items() if chosen(line)]
        if whom in ("controller", "machine"):
            pids = [self._process.pid, *pids]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    # ------------------------------------------------------------------ what came of it

    def is_finished(self) -> bool:
        """Whether the session has ended by itself, and not by a kill."""
        rows = self.rows("SELECT state FROM sessions ORDER BY id DESC LIMIT 1")
        return bool(rows) and rows[0]["state"] == "finished"

    def rows(self, sql: str) -> list[sqlite3.Row]:
        """Rows of its ledger."""
        db = sqlite3.connect(self.directory / ".autoresearch" / "ledger.db")
        db.row_factory = sqlite3.Row
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def undecided(self) -> list[str]:
        """Proposals without a verdict."""
        rows = self.rows("SELECT title, state FROM candidates WHERE kind='generated'")
        good = {row["title"] for row in rows if row["state"] in DECIDED}
        return [title for title in PROPOSALS if title not in good]

    def twice(self) -> list[object]:
        """Runs that were made and counted more than once."""
        rows = self.rows(
            "SELECT t.head, c.source_key, t.seed_index FROM trials t LEFT JOIN "
            "candidates c ON c.id=t.candidate WHERE t.outcome='ok'"
        )
        return [key for key, n in Counter(map(tuple, rows)).items() if n > 1]

    def repeated(self) -> int:
        """Runs that were begun and do not count."""
        sql = "SELECT count(*) FROM trials WHERE state='lost' OR outcome='killed'"
        return int(self.rows(sql)[0][0])


def plan(seed: int, count: int, longest: float) -> list[tuple[str, float]]:
    """Whom to kill and when, for one session."""
    dice = random.Random(seed)
    return [
        (WHOM[(seed + number) % len(WHOM)], dice.uniform(0.5, longest))
        for number in range(count)
    ]
