"""Ledgers from elsewhere: of older releases, damaged, locked, on a full disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger import VERSION, Ledger, connection, mend
from autoresearch_plugin.ledger.schema import SCHEMA
from autoresearch_plugin.settings import remembered

OLD = sorted((Path(__file__).parent / "ledgers").glob("schema-*.sql"))


def golden(path: Path, script: Path) -> Path:
    """The ledger of a session of an older release, as that release left it."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(script.read_text())
    return path


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A ledger of some hundred pages, in one file."""
    path = golden(tmp_path / "ledger.db", OLD[-1])
    with closing(Ledger(path)) as ledger:
        for number in range(500):
            ledger.add_event(1, "progress", f"{number} " * 200)
        ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def events(path: Path) -> int:
    """How many events a ledger tells."""
    with closing(Ledger(path)) as ledger:
        return len(ledger.events(1))


def columns(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Every column of every table."""
    return {(table, name) for table, name, _ in db.execute(connection.COLUMNS)}


@pytest.mark.parametrize("script", OLD, ids=lambda path: path.stem)
def test_a_ledger_of_an_older_release_is_brought_up_to_date(
    tmp_path: Path, script: Path
) -> None:
    """Its candidates, runs, verdicts and keeps are what they were, in today's tables;
    also those of a version that grew before it was released."""
    path = golden(tmp_path / "ledger.db", script)
    with closing(Ledger(path)) as ledger, closing(sqlite3.connect(":memory:")) as new:
        new.executescript(SCHEMA)
        assert columns(ledger._db) == columns(new)
        assert ledger._db.execute("PRAGMA user_version").fetchone()[0] == VERSION
        titles = {row["title"]: row["state"] for row in ledger.candidates()}
        assert titles == {"Lower LR": "keep", "Harm": "discard", "Crash": "crash"}
        kept = ledger.candidate(1)
        assert kept["evidence"]["n"] == 3
        assert len(kept["commit_id"]) == 40
        row = ledger.session(1)
        assert len(ledger.head_trials(row["first_head"])) == 3
        assert len(ledger.candidate_trials(1)) == 3
        assert ledger.audits(1) == []
        assert remembered(row["settings"]).target == "train.py"


@pytest.mark.parametrize("script", OLD, ids=lambda path: path.stem)
def test_a_session_of_an_older_release_goes_on(tmp_path: Path, script: Path) -> None:
    """A setting that did not exist then has its default, so the command is the same."""
    path = golden(tmp_path / "ledger.db", script)
    with closing(Ledger(path)) as ledger:
        ledger._execute("UPDATE sessions SET state='interrupted'")
        settings = ledger.session(1)["settings"]
        grown = f'{{"new": 2, {settings[1:]}'
        assert ledger.start_session("research", "main", grown)["id"] == 2
        again = ledger.start_session("research", "main", settings, {"new": 1})
        assert (again["id"], again.get("resumed")) == (1, True)


def test_a_sound_ledger_is_left_alone(big: Path) -> None:
    """No copy, no word."""
    before = big.read_bytes()
    assert mend(big) is None
    assert big.read_bytes() == before
    assert mend(big.with_name("nowhere.db")) is None


def damage_an_index(path: Path) -> None:
    """So that no row is touched."""
    with closing(sqlite3.connect(path)) as db:
        name = "sqlite_autoindex_meta_1"
        sql = "SELECT rootpage FROM sqlite_master WHERE name=?"
        page = db.execute(sql, (name,)).fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_a_damaged_index_is_rebuilt(big: Path) -> None:
    """As long as every row can be read nothing is lost, and the old file is kept."""
    damage_an_index(big)
    damaged = big.read_bytes()

    words = mend(big) or ""

    assert "is rebuilt, with every row" in words
    assert big.with_name("ledger.db.damaged-1").read_bytes() == damaged
    assert str(big.with_name("ledger.db.damaged-1")) in words
    assert events(big) > 500
    assert mend(big) is None
    assert big.stat().st_mode & 0o777 == 0o600


def test_a_damaged_ledger_that_others_have_open_is_left(big: Path) -> None:
    """What they write would go into the file that is put aside."""
    damage_an_index(big)
    with closing(sqlite3.connect(big)) as shell:
        shell.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(LedgerError, match="another process has it open"):
            mend(big)
        assert not list(big.parent.glob("*.damaged-*"))
    assert "is rebuilt" in (mend(big) or "")


def test_a_truncated_ledger_is_refused_with_the_way_out(big: Path) -> None:
    """The file stays as it is; however often it is tried there is one copy."""
    os.truncate(big, big.stat().st_size // 2)
    half = big.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError) as caught:
            mend(big)
    said = str(caught.value)
    assert big.read_bytes() == half
    assert [x.name for x in big.parent.glob("*.damaged-*")] == ["ledger.db.damaged-1"]
    for part in (str(big), "malformed", "cannot be read", f"mv {big} {big}.old"):
        assert part in said


def test_a_truncated_log_costs_the_last_transactions(big: Path, tmp_path: Path) -> None:
    """What a power cut leaves of SQLite's log is recovered by SQLite itself."""
    with closing(Ledger(big)) as ledger:
        for number in range(50):
            ledger.add_event(1, "progress", f"{number}")
        copy = tmp_path / "copy" / "ledger.db"
        copy.parent.mkdir()
        copy.write_bytes(big.read_bytes())
        log = big.with_name("ledger.db-wal").read_bytes()
        copy.with_name("ledger.db-wal").write_bytes(log[: len(log) // 2])
    assert mend(copy) is None
    assert events(copy) > 500


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a lock gives up at once."""
    monkeypatch.setattr(connection, "PATIENCE", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_ledger_names_what_to_close(big: Path) -> None:
    """It is no damage, so nobody is told to move it away."""
    with closing(sqlite3.connect(big, isolation_level=None)) as shell:
        shell.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match=r"close SQLite shells and backups") as e:
            Ledger(big)
        assert "move it away" not in str(e.value)
        assert mend(big) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte; needs root."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {path} 2>/dev/null"):
        pytest.skip("no right to mount a disk")
    try:
        yield path
    finally:
        os.system(f"umount {path}")


def test_a_full_disk_is_named_and_costs_nothing_that_was_written(
    small_disk: Path,
) -> None:
    """The message says to make room; after that everything is there and goes on."""
    path = small_disk / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.add_event(1, "progress", "before")
        (small_disk / "filler").write_bytes(b"x" * (small_disk_free(small_disk)))

        def fill() -> None:
            for _ in range(100):
                ledger.add_event(1, "progress", "x" * 2000)

        with pytest.raises(LedgerError, match=r"Make room on the disk \(`autoresearch"):
            fill()
        (small_disk / "filler").unlink()
        ledger.add_event(1, "progress", "after")
        texts = [row["text"] for row in ledger.events(1)]
    assert (texts[0], texts[-1]) == ("before", "after")


def small_disk_free(path: Path) -> int:
    """Bytes that are left there."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_bsize
