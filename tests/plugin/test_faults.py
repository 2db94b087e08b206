"""Faults from outside while a session runs: no idea is blamed and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from autoresearch_plugin import cli
from autoresearch_plugin.executors import suspension
from autoresearch_plugin.executors.suspension import GAP, LOOK, Suspension
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.paths import state_dir
from tests.plugin.belongings import belongings, make_dirty
from tests.plugin.conftest import Project, Terminal, own_environment

SLOW = {"STEP_COST": 120.0, "LR": 0.8}  # a run of two seconds and more; a harm


class Clock:
    """Time that goes on when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


# ------------------------------------------------------------------------ suspension


def test_a_machine_that_slept_is_noticed() -> None:
    """By the clock that goes on while it sleeps."""
    slept = Clock()
    suspended = Suspension(Clock(), slept)
    assert suspended.seen(0.0, None) is None
    slept.now = 31.0
    assert suspended.seen(0.0, None) == "the machine slept for 31 s"


def test_a_pytest_that_was_stopped_notices_it() -> None:
    """A short wait that took long; a busy machine makes no such gaps."""
    suspended = Suspension(Clock(), lambda: 0.0)
    assert suspended.seen(GAP - 0.1, None) is None
    assert suspended.seen(30.0, None) == "pytest was stopped for 30 s"


def test_a_command_that_is_stopped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second look: a stop that is over at once has done no harm."""
    clock, states = Clock(), iter([True, False, True, True])
    monkeypatch.setattr(suspension, "is_stopped", lambda pid: next(states))
    suspended = Suspension(clock, lambda: 0.0)
    said = []
    for _ in range(4):
        said += [suspended.seen(0.0, 1), suspended.seen(0.0, 1)]
        clock.now += LOOK
    assert said == [*([None] * 6), "its process was stopped (SIGSTOP)", None]


# --------------------------------------------------------- in the middle of a session


class Broken:
    """A session in whose slow candidate's first run something breaks in."""

    def __init__(self, project: Any, *options: str) -> None:
        self.project = project
        (project.path / "notes.txt").write_text("mine\n")
        project.commit()
        make_dirty(project.path)
        self.before = belongings(project.path)
        self.words = (project.script(slow=SLOW, harm={"LR": 0.9}), *options)
        self.process = project.start("--autoresearch", *self.words)
        self.out = ""

    def in_the_middle(self) -> None:
        """Wait until that run has begun."""
        path = self.project.path / ".autoresearch" / "ledger.db"
        self.project.until(lambda: path.exists() and path.stat().st_size > 0)
        self.project.until(self._is_running)

    def command(self) -> int:
        """The process that the runner of that run has started."""
        self.in_the_middle()
        found: list[int] = []

        def look() -> list[int]:
            for pid, line in self.project.alive().items():
                if "executors/run.py" in line:
                    children = Path(f"/proc/{pid}/task/{pid}/children")
                    with contextlib.suppress(OSError):
                        found.extend(map(int, children.read_text().split()))
            return found

        self.project.until(look)
        return found[0]

    def _is_running(self) -> bool:
        row = self.project.ledger()._one(
            "SELECT count(*) AS n FROM trials JOIN candidates c ON c.id=candidate "
            "WHERE trials.state='running' AND c.title='slow'"
        )
        return bool(row and row["n"])

    def end(self) -> None:
        """Wait for its end; whatever it was, the user's files are as they were."""
        self.out, _ = self.process.communicate(timeout=90)
        assert "Traceback" not in self.out
        assert "INTERNALERROR" not in self.out

    def has_noticed(self) -> bool:
        """Whether it has taken back the room that it had set aside."""
        return not (self.project.path / ".autoresearch" / "reserve").exists()

    def kill(self) -> None:
        """The end of it, whatever became of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdout and not self.process.stdout.closed:
            print(self.process.communicate()[0])


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(signal.SIGSTOP, "suspended"), (signal.SIGKILL, "killed")],
)
def test_a_run_that_something_broke_in_on_is_repeated_once(
    project: Any, number: int, outcome: str
) -> None:
    """It does not count, and the candidate has its verdict all the same."""
    broken = Broken(project, "-pno:xdist")
    try:
        os.kill(broken.command(), number)
        broken.end()
    finally:
        broken.kill()

    assert broken.process.returncode == 0, broken.out
    assert "not counted, trying once more" in broken.out
    ledger = project.ledger()
    rows = ledger.candidate_trials(ledger.candidates()[0]["id"])
    assert [row["outcome"] for row in rows] == [outcome, "ok"]
    assert {row["seed_index"] for row in rows} == {0}
    assert project.states() == {"slow": "discard", "harm": "discard"}
    assert belongings(project.path) == broken.before


# ----------------------------------------------------------------------------- disks


def fill(path: Path) -> None:
    """Leave no byte on the disk."""
    with (
        contextlib.suppress(OSError),
        (path / "filler").open("ab", buffering=0) as file,
    ):
        while file.write(b"x" * 4096):
            pass


def empty(path: Path) -> None:
    """Room again."""
    (path / "filler").unlink()


def mount(*words: str) -> None:
    """Only root may, and not in every container."""
    if subprocess.run(["mount", *words], capture_output=True).returncode:
        pytest.skip("no right to mount a disk")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of three megabytes with nothing of the machine's settings on it."""
    path = tmp_path / "disk"
    path.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path))
    own_environment(path, monkeypatch)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n1"])
def test_a_disk_that_fills_up_ends_a_session_in_words(disk: Path, lanes: str) -> None:
    """What was decided is saved, reports are whole, and with room the same command
    goes on."""
    project = Project(Terminal(disk / "project"))
    project.configure("--noise 0.0005 --no-evaluate")
    broken = Broken(project, lanes)
    try:
        broken.in_the_middle()
        project.until(lambda: fill(disk) or broken.has_noticed())
        broken.end()
    finally:
        broken.kill()
    assert broken.process.returncode == 1, broken.out
    assert "Make room on the disk" in broken.out
    assert "start the same command again" in broken.out
    ET.parse(project.path / "autoresearch-report" / "junit.xml")
    assert belongings(project.path) == broken.before

    empty(disk)
    assert cli.main(["--root", str(project.path), "gc"]) == 0
    ran = project.research(*broken.words)

    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines(["autoresearch *: autoresearch/main at *, resumed"])
    assert project.states() == {"slow": "discard", "harm": "discard"}
    assert belongings(project.path) == broken.before
    project.close()


def test_a_read_only_disk_is_said_before_anything_runs(disk: Path) -> None:
    """As disks become after an error; the same command goes on when it is mended."""
    project = Project(Terminal(disk / "project"))
    project.configure("--no-evaluate")
    project.commit()
    script = project.script(harm={"LR": 0.9})
    project.research(script, "-pno:xdist")
    project.close()
    remount(disk, "ro")
    before = belongings(project.path)

    ran = project.research(script, "-pno:xdist", "-pno:cacheprovider")

    text = ran.stdout.str() + ran.stderr.str()
    assert ran.ret == 4, text
    assert "Traceback" not in text
    assert ".autoresearch" in text
    assert re.search(r"[Rr]ead-only|yours to write|writable", text)
    assert belongings(project.path) == before
    remount(disk, "rw")
    assert project.states() == {"harm": "discard"}
    project.close()


def remount(path: Path, how: str) -> None:
    """Change what may be done there."""
    mount("-o", f"remount,{how},size=3m", str(path))


DIES = """
import os
from pathlib import Path


def pytest_collection(session):
    once = Path(__file__).with_name("died.txt")
    if hasattr(session.config, "workerinput") and not once.exists():
        once.touch()
        os._exit(9)
"""


def test_a_worker_that_dies_before_its_first_test_is_told(project: Any) -> None:
    """Its work is done by another, and the exit code says that something failed."""
    (project.path / "conftest.py").write_text(DIES)
    project.commit()

    ran = project.research(project.script(harm={"LR": 0.9}), "-n1")

    assert ran.ret == 1, ran.stdout.str()
    ran.stdout.fnmatch_lines(["note *worker gw0 died before its first test*"])
    assert project.states() == {"harm": "discard"}
    assert project.ledger().session(1)["state"] == "finished"


def test_room_can_be_made_on_a_full_disk(disk: Path) -> None:
    """What a killed session left goes before the ledger, which needs room to open."""
    state = state_dir(disk)
    Ledger(state / "ledger.db").close()
    left = state / "scratch" / "4194305.1.aa-x"
    left.mkdir(parents=True)
    (left / "model").write_bytes(b"x" * 200_000)
    fill(disk)
    assert cli.main(["--root", str(disk), "gc"]) == 0
    assert not left.exists()
