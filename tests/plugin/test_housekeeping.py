"""`autoresearch gc` and `sessions`: what can go, what is there, how it goes on."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from autoresearch_plugin import cli, session
from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger import Ledger, this_process
from autoresearch_plugin.paths import state_dir
from tests.plugin.test_ledger_files import OLD, golden

DAY = 24 * 3600.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a session of an older release and what such sessions leave."""
    state = state_dir(tmp_path)
    golden(state / "ledger.db", OLD[-1])
    with closing(Ledger(state / "ledger.db")) as ledger:
        ledger.start_session("research", "next", ledger.session(1)["settings"])
        ledger._execute("UPDATE sessions SET first_head='new', head='new' WHERE id=2")
        ledger._execute("UPDATE trials SET log=printf('%10000s', 'x')")
        ledger._execute("UPDATE sessions SET owner='4194305:1:aa' WHERE id=2")
    mine = this_process().replace(":", ".")
    for name in (
        *("scratch/4194305.1.aa-x/model", f"scratch/{mine}-y/model"),
        *("checkpoints/old/1.safetensors", "checkpoints/new/1.safetensors"),
        *("claims/old.npy", "claims/new.npy", "claims/young.npy", "claims/new.1.part"),
        *("ledger.db.damaged-1", "ledger.db.rebuilt", "data/corpus.bin"),
    ):
        path = state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10_000)
        if "young" not in name:
            os.utime(path, (time.time() - 2 * DAY,) * 2)
    return tmp_path


GONE = {
    *("scratch/4194305.1.aa-x/model", "checkpoints/old/1.safetensors"),
    *("claims/old.npy", "claims/new.1.part", "ledger.db.rebuilt"),
}


def files(root: Path) -> set[str]:
    """Everything below .autoresearch/ but the ledger and its lock."""
    state = root / ".autoresearch"
    names = {x.relative_to(state).as_posix() for x in state.rglob("*") if x.is_file()}
    own = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "controller.lock"}
    return names - own - {".gitignore"}


def run(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> str:
    """What a verb prints."""
    assert cli.main(["--root", str(root), *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_gc_frees_what_nobody_needs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scratch of the dead, files of earlier baselines, halves, copies of a damaged
    ledger, what good runs printed; never what a session or a person may want."""
    before = files(root)
    said = run(capsys, root, "gc", "--dry-run")
    assert files(root) == before
    assert "would free" in said
    freed = run(capsys, root, "gc")

    assert before - files(root) == GONE | {"ledger.db.damaged-1"}
    assert (
        freed.replace("freed", "would free").splitlines()[:-1]
        == (said.splitlines()[:-1])
    )
    with closing(Ledger(root / ".autoresearch" / "ledger.db")) as ledger:
        logs = {
            (row["outcome"], bool(row["log"].strip()))
            for row in ledger._query("SELECT outcome, log FROM trials")
        }
    assert logs == {("ok", False), ("error", True)}
    assert "would free 0.0 MB in all" in run(capsys, root, "gc", "--dry-run")


def test_a_session_begins_by_sweeping(root: Path) -> None:
    """The same, but for copies that a person may want."""
    from autoresearch_plugin.housekeeping import sweep

    before = files(root)
    with closing(Ledger(root / ".autoresearch" / "ledger.db")) as ledger:
        sweep(root, ledger)
    assert before - files(root) == GONE


@pytest.mark.parametrize("verb", ["gc", "audit"])
def test_no_verb_works_on_a_session_that_runs(
    root: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """It is refused with the pid of who runs it."""
    (root / "train.py").touch()
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (
        ("init", "-q"),
        ("add", "train.py"),
        (*who, "commit", "-qm", "start"),
    ):
        subprocess.run(["git", *words], cwd=root, check=True)
    with closing(session.controller_lock(root)):
        with closing(Ledger(root / ".autoresearch" / "ledger.db")) as ledger:
            ledger.stop(1, "ended")
            ledger._execute("UPDATE sessions SET head='another' WHERE id=1")
        assert cli.main(["--root", str(root), verb]) == 1
    said = capsys.readouterr().err
    assert f"another `pytest --autoresearch` (pid {os.getpid()}) works on" in said


def test_a_second_controller_is_refused_by_name(root: Path) -> None:
    """Whoever holds the lock, and as long as it is held."""
    with (root / ".autoresearch" / "controller.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match=r"\(pid 4711\) works on"):
            session.controller_lock(root)
    session.controller_lock(root).close()


def test_sessions_say_how_to_go_on(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Number, branch, state and what came of it; a killed one with the command that
    resumes it, made of what differs from the project's settings."""
    first, second, command = run(capsys, root, "sessions").splitlines()

    assert first.split()[:3] == ["1", "autoresearch/main", "finished"]
    assert first.endswith("3 candidates, 1 kept")
    assert second.split()[:3] == ["2", "autoresearch/next", "killed"]
    assert command.split(": ", 1)[1] == (
        "pytest --autoresearch --autoresearch-target=train.py "
        "'--autoresearch-command={python} /project/tests/plugin/toy_command.py --noise "
        "0.0005 --no-evaluate' --autoresearch-devices=cpu:0 "
        "--autoresearch-proposer=scripted:p.jsonl"
    )
