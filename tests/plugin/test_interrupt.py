"""Ctrl-C, SIGTERM and SIGKILL: nothing is lost, nothing is left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

SLOW = {"STEP_COST": 120.0, "LR": 0.8}  # a run of two seconds and more; a harm
CASES = {  # name -> lanes, signal, whether the whole process group gets it
    "ctrl-c": ("-n2", signal.SIGINT, True),
    "controller": ("-n2", signal.SIGINT, False),
    "ctrl-c-alone": ("-pno:xdist", signal.SIGINT, True),
    "term-alone": ("-pno:xdist", signal.SIGTERM, False),
}


class Stopped:
    """A session that a signal ended while it trained its second candidate."""

    def __init__(self, project: Any, lanes: str) -> None:
        self.project = project
        self.words = (project.script(harm={"LR": 0.9}, slow=SLOW), lanes)
        self.process = project.start("--autoresearch", *self.words)
        self.code: int | None = None
        self.seconds = 0.0
        self.text = ""

    def when(self, holds: Callable[[], object]) -> None:
        """Wait until the session has come so far."""
        path = self.project.path / ".autoresearch" / "ledger.db"
        self.project.until(lambda: path.exists() and path.stat().st_size > 0)
        self.project.until(holds)

    def in_the_middle(self) -> bool:
        """One candidate is in junit.xml already, the other one in training."""
        ledger = self.project.ledger()
        running = (
            "SELECT count(*) AS n FROM trials JOIN candidates c ON c.id=candidate "
        )
        running += "WHERE trials.state='running' AND c.title='slow'"
        row = ledger._one(running)
        return bool(row and row["n"]) and "test_harm" in self.junit

    def signal(self, number: int, to_all: bool) -> None:
        """Send it, and see how and when the session ends."""
        (os.killpg if to_all else os.kill)(self.process.pid, number)
        if number != signal.SIGKILL:
            self.seconds = self.project.until(self.is_written)
        self.project.until(lambda: self.process.poll() is not None)
        self.text, _ = self.process.communicate()
        self.code = self.process.returncode

    def is_written(self) -> bool:
        """Whether ledger and JUnit are complete, the suite's properties too."""
        path = self.project.path / "autoresearch-report" / "junit.xml"
        state = self.project.ledger().session(1)["state"]
        return bool(state == "interrupted" and 'name="profile"' in path.read_text())

    @property
    def junit(self) -> dict[str, ET.Element]:
        """Testcases by name."""
        path = self.project.path / "autoresearch-report" / "junit.xml"
        if not path.exists():
            return {}
        root = ET.parse(path).getroot()
        return {case.attrib["name"]: case for case in root.iter("testcase")}


def kill(process: subprocess.Popen[str]) -> None:
    """The end of a background pytest, whatever became of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout and not process.stdout.closed:
        print(process.communicate()[0])


@pytest.fixture(scope="module", params=CASES)
def stopped(request: pytest.FixtureRequest, new_project: Any) -> Any:
    """One session for each way to stop it."""
    lanes, number, to_all = CASES[request.param]
    project = new_project(f"stopped-{request.param}")
    project.commit()
    session = Stopped(project, lanes)
    try:
        session.when(session.in_the_middle)
        session.signal(number, to_all)
    finally:
        kill(session.process)
    return session


def test_a_stopped_session_says_so(stopped: Stopped) -> None:
    """Exit code 2, all reports within five seconds, and the closing screen."""
    assert stopped.code == 2, stopped.text
    assert stopped.seconds < 5
    assert "this session: interrupted" in stopped.text
    assert "Traceback" not in stopped.text
    assert "INTERNALERROR" not in stopped.text


def test_nothing_is_left_running(stopped: Stopped) -> None:
    """No worker, no runner, no training; no generated file either."""
    assert stopped.project.alive() == {}
    generated = stopped.project.path / "experiments" / "_generated"
    assert [path.name for path in generated.iterdir()] == [".gitignore"]


def test_reports_are_complete(stopped: Stopped) -> None:
    """JUnit has what was decided; what was under way is no failure."""
    harm = stopped.junit["test_harm"].find("skipped")

    assert harm is not None
    assert "discarded" in harm.attrib["message"]
    assert set(stopped.junit) <= {"test_harm", "test_slow"}
    if "test_slow" in stopped.junit:
        skipped = stopped.junit["test_slow"].find("skipped")
        assert skipped is not None
        assert "aborted" in skipped.attrib["message"]


def test_the_ledger_is_complete(stopped: Stopped) -> None:
    """The session is interrupted, the verdict is there, the other candidate waits."""
    ledger = stopped.project.ledger()
    row = ledger.session(1)

    assert (row["state"], row["reason"]) == ("interrupted", "interrupted")
    assert stopped.project.states()["harm"] == "discard"
    assert stopped.project.states()["slow"] in ("queued", "running")
    slow = ledger.candidates()[1]["id"]
    assert ledger.candidate_trials(slow) == []


@pytest.mark.parametrize("stopped", ["ctrl-c", "term-alone"], indirect=True)
def test_the_same_command_resumes(stopped: Stopped) -> None:
    """It goes on with what was under way and repeats nothing that is decided."""
    ledger = stopped.project.ledger()
    before = [row["id"] for row in ledger.session_trials(1)]
    ran = stopped.project.research(*stopped.words)
    after = [row for row in ledger.session_trials(1) if row["id"] not in before]
    number = {row["title"]: row["id"] for row in ledger.candidates()}

    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines(["autoresearch *: autoresearch/main at *, resumed"])
    assert stopped.project.states() == {"harm": "discard", "slow": "discard"}
    assert number["harm"] not in {row["candidate"] for row in after}
    assert set(stopped.junit) == {"test_slow"}
    assert [row["state"] for row in ledger.sessions()] == ["finished"]


@pytest.mark.parametrize("lanes", ["-n2", "-pno:xdist"])
def test_a_baseline_can_be_stopped(new_project: Any, lanes: str) -> None:
    """Before the first verdict: exit code 2, a JUnit without results or lanes."""
    project = new_project("baseline")
    slow = project.target.replace("STEP_COST = 1.0", "STEP_COST = 900.0")
    (project.path / "train.py").write_text(slow)
    project.commit()
    session = Stopped(project, lanes)
    running = "SELECT count(*) AS n FROM trials WHERE state='running'"
    try:
        session.when(lambda: (project.ledger()._one(running) or {})["n"])
        session.signal(signal.SIGTERM, False)
    finally:
        kill(session.process)

    assert session.code == 2, session.text
    assert session.seconds < 5
    assert set(session.junit) <= {"test_harm"}
    assert all(case.find("skipped") is not None for case in session.junit.values())
    assert project.alive() == {}


@pytest.mark.parametrize("lanes", ["-n2", "-pno:xdist"])
def test_a_killed_session_leaves_nothing_running(new_project: Any, lanes: str) -> None:
    """SIGKILL to the controller ends workers and trainings too; it can be resumed."""
    project = new_project("killed")
    project.commit()
    session = Stopped(project, lanes)
    try:
        session.when(session.in_the_middle)
        session.signal(signal.SIGKILL, False)
        project.until(lambda: not project.alive(), seconds=10)
    finally:
        kill(session.process)
    stale = list((project.path / "experiments/_generated").glob("test_*.py"))
    ran = project.research(*session.words)

    assert session.code == -signal.SIGKILL
    assert len(stale) == 2
    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines(["autoresearch *: autoresearch/main at *, resumed"])
    assert project.states() == {"harm": "discard", "slow": "discard"}
    assert len(project.ledger().candidate_trials(1)) == 1
    assert set(session.junit) == {"test_slow"}
