"""experiments/_generated/: only what the ledger rendered runs, and nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from autoresearch_plugin import generated
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.idea import Head
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.settings import GENERATED

BURN = Proposal.from_data(
    {"title": "burn", "edits": [{"op": "set", "knob": "LR", "value": 0.9}]}
)
# Waits for the first generated file and changes it, as a rogue test could.
ROGUE = """
import pathlib, time

def test_rogue():
    folder = pathlib.Path(__file__).parent / "_generated"
    while not list(folder.glob("test_*.py")):
        time.sleep(0.02)
    for path in folder.glob("test_*.py"):
        path.write_text(path.read_text().replace("0.9", "0.8"))
    (folder.parent / "changed").touch()
"""
ACCOMPLICE = """
import pathlib, time

def test_accomplice():
    while not (pathlib.Path(__file__).parent / "changed").exists():
        time.sleep(0.02)
"""
LATE = """
import pathlib, time

def pytest_sessionstart(session):
    folder = pathlib.Path("experiments/_generated")
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text("raise SystemExit('ran')")
"""


# ------------------------------------------------------------- the check by itself


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """What the check needs of a session: its ledger with one written candidate."""
    ledger = Ledger(tmp_path / "ledger.db")
    session = ledger.start_session("research", None, "{}")["id"]
    profile = SimpleNamespace(direction="min")
    facts = SimpleNamespace(
        root=tmp_path,
        ledger=ledger,
        session=session,
        profile=profile,
        metric="score",
        head=lambda: Head("h", "LR = 0.1\n", None),
    )
    number = generated.add_generated(facts, BURN, "scripted")  # type: ignore[arg-type]
    facts.path = tmp_path / GENERATED / f"test_{number:04d}_burn.py"
    yield facts
    ledger.close()


def test_what_the_ledger_rendered_passes(facts: Any) -> None:
    """The file as written; __pycache__ and the .gitignore are no strangers."""
    (facts.path.parent / "__pycache__").mkdir()

    assert generated.check_generated(facts, facts.path)["title"] == "burn"
    assert (facts.path.parent / ".gitignore").read_text() == "*\n"


def plant_file(name: str) -> Callable[[Path], str]:
    """A stranger's file."""

    def plant(path: Path) -> str:
        (path.parent / name).write_text("print('ran')\n")
        return f"_generated/{name} was not written by this session"

    return plant


def plant_link(path: Path) -> str:
    """A link in the place of the candidate, to a file with the right bytes."""
    outside = path.parents[1] / "elsewhere.py"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)
    return f"{path.name} was not written by this session"


def plant_cache(path: Path) -> str:
    """A link that calls itself __pycache__."""
    (path.parent / "__pycache__").symlink_to(path.parents[1])
    return "__pycache__ was not written by this session"


def change_byte(path: Path) -> str:
    """The candidate, one byte different."""
    path.write_bytes(path.read_bytes().replace(b"0.9", b"0.8"))
    return f"{path.name} is not what the ledger rendered"


def remove(path: Path) -> str:
    """No candidate any more."""
    path.unlink()
    return f"{path.name} is not what the ledger rendered"


@pytest.mark.parametrize(
    "change",
    [
        plant_file("conftest.py"),
        plant_file("test_0002_mine.py"),
        plant_file("notes.txt"),
        plant_file("test_0001_burn.so"),
        plant_link,
        plant_cache,
        change_byte,
        remove,
    ],
)
def test_anything_else_is_refused_by_name(
    facts: Any, change: Callable[[Path], str]
) -> None:
    """A stranger, a link or another byte: the sentence names the file."""
    words = change(facts.path)

    with pytest.raises(InfrastructureError) as error:
        generated.check_generated(facts, facts.path)
    assert words in str(error.value)


def test_what_another_session_left_goes_if_it_is_ours(facts: Any) -> None:
    """A killed session's file is removed; one that was changed since then stays."""
    other = facts.ledger.start_session("research", "other", "{}")["id"]
    changed = facts.path.with_name("test_0002_burn.py")
    generated.add_generated(facts, BURN, "scripted")
    changed.write_text("mine now\n")
    facts.session = other
    generated.restore_generated(facts)

    assert [path.name for path in facts.path.parent.glob("*.py")] == [changed.name]


def test_a_resume_finds_its_queue_again(facts: Any) -> None:
    """Queued candidates are rendered again, decided ones are not."""
    generated.add_generated(facts, BURN, "scripted")
    facts.ledger.update_candidate(1, state="discard")
    for path in facts.path.parent.glob("*.py"):
        path.unlink()
    generated.restore_generated(facts)

    names = [path.name for path in facts.path.parent.glob("*.py")]
    assert names == ["test_0002_burn.py"]
    again = facts.path.with_name(names[0])
    assert generated.check_generated(facts, again)["id"] == 2


# ------------------------------------------------------------------ at the terminal


@pytest.fixture(scope="module")
def project(new_project: Any) -> Any:
    """A project with nothing hand-written."""
    made = new_project("generated")
    made.commit()
    return made


def outcomes(project: Any) -> dict[str, str]:
    """Test -> failure, error, skipped or passed, from JUnit."""
    root = ET.parse(project.path / "autoresearch-report" / "junit.xml").getroot()
    return {
        case.attrib["name"]: next(
            (x.tag for x in case if x.tag in ("failure", "error", "skipped")), "passed"
        )
        for case in root.iter("testcase")
    }


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n2"])
def test_a_changed_file_ends_the_session(project: Any, lanes: str) -> None:
    """Nothing of it runs, the file is named, exit code 1, no lane waits for ever."""
    rogue = project.path / "experiments" / "test_rogue.py"
    rogue.write_text(ROGUE)
    accomplice = rogue.with_name("test_sit.py")  # keeps the other lane busy meanwhile
    accomplice.write_text(ACCOMPLICE)
    words = (project.script(burn={"LR": 0.9}), lanes, "--autoresearch-experiments=1")
    ran = project.research(*words, timeout=60)
    for path in (rogue, accomplice, rogue.with_name("changed")):
        path.unlink()

    assert ran.ret == 1, ran.stdout.str()
    assert "_burn.py is not what the ledger rendered" in ran.stdout.str()
    assert outcomes(project)["test_rogue"] == "passed"
    assert "test_burn" not in outcomes(project)
    assert list((project.path / GENERATED).glob("*.py")) == []


def test_a_planted_conftest_never_runs(project: Any) -> None:
    """Neither collected nor imported; the sentence says where it belongs."""
    (project.path / "conftest.py").write_text(LATE)
    ran = project.research(project.script(burn={"LR": 0.7}), "-pno:xdist")
    planted = project.path / GENERATED / "conftest.py"

    assert ran.ret == 1, ran.stdout.str()
    assert "conftest.py was not written by this session" in ran.stdout.str()
    assert "move the file to experiments/" in ran.stdout.str()
    assert "ran'" not in ran.stderr.str()
    assert planted.exists()  # a stranger's file is not ours to remove
    planted.unlink()
    (project.path / "conftest.py").unlink()


@pytest.mark.parametrize(
    "words", ["--autoresearch --autoresearch-proposer=none", "experiments"]
)
def test_stale_files_are_not_hand_written_tests(project: Any, words: str) -> None:
    """What a killed session left is collected by nobody, with or without the flag."""
    folder = project.path / GENERATED
    folder.mkdir(exist_ok=True)
    stale = folder / "test_0099_stale.py"
    stale.write_text("def test_stale():\n    assert 0\n")
    (project.path / "experiments" / "test_it.py").write_text("def test_it(): pass\n")
    ran = project.run(*words.split(), "-pno:xdist")
    stale.unlink()

    assert ran.ret == 0, ran.stdout.str()
    assert "stale" not in ran.stdout.str()
