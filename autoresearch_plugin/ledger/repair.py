"""A damaged ledger: rebuilt where all its rows can be read, else refused and left."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger.connection import DAMAGED, primary_code


def mend(path: Path) -> str | None:
    """Look the whole file over; what was done about damage, in words, or None.

    What SQLite says of other things than damage is left to who opens the file next.

    Raises:
        LedgerError: rows cannot be read, or another process has it open and would go on
            writing into the old file. The file stays as it is.
    """
    if path.is_symlink() or not path.is_file() or not path.stat().st_size:
        return None
    damage = _damage(path)
    if damage is None:
        return None
    if _is_open_elsewhere(path):
        raise LedgerError(
            f"the ledger {path} is damaged ({damage}), and another process has it "
            "open: a plain pytest run of a candidate, or an SQLite shell. Nothing was "
            "changed; end it and start the same command again, which mends the ledger "
            "if it can."
        )
    try:
        copy = _copied(path)
        unread = _rebuilt(path)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} is damaged ({damage}), and a copy cannot be made: "
            f"{error.strerror}. Make room on the disk and start again."
        ) from None
    if unread:
        raise LedgerError(
            f"the ledger {path} is damaged ({damage}): {unread} cannot be read. It is "
            f"left as it is; a copy is {copy}. If you have a backup, put it there. "
            f"What can be saved: mv {path} {path}.old && sqlite3 {copy} .recover | "
            f"sqlite3 {path}. To begin anew, with the keeps that are on their branch: "
            f"mv {path} {path}.old."
        )
    return (
        f"the ledger was damaged ({damage}) and is rebuilt, with every row; the "
        f"damaged file is {copy}"
    )


def _damage(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error) if primary_code(error) in DAMAGED else None
    return None if found == "ok" else " ".join(found.split())


def _is_open_elsewhere(path: Path) -> bool:
    """Whether another connection is there: each holds a shared lock on the file."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as db:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        return primary_code(error) == sqlite3.SQLITE_BUSY
    return False


def _copied(path: Path) -> Path:
    """The file and its log beside themselves; the same damage is copied once."""
    for number in range(1, 1000):
        copy = path.with_name(f"{path.name}.damaged-{number}")
        if not copy.exists():
            for end in ("", "-wal"):
                if path.with_name(path.name + end).exists():
                    shutil.copy2(path.with_name(path.name + end), f"{copy}{end}")
            return copy
        if filecmp.cmp(path, copy, shallow=False):
            return copy
    raise OSError(0, "there are a thousand copies already")


def _rebuilt(path: Path) -> str:
    """Write all rows into a new file, and put it in place if that went well; else
    what could not be read."""
    new = path.with_name(f"{path.name}.rebuilt")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    unread = ["its list of tables"]
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA trusted_schema=OFF")
        fresh = sqlite3.connect(new)
        with contextlib.closing(fresh), contextlib.suppress(sqlite3.DatabaseError):
            unread = list(_copy_tables(old, fresh))
    if unread:
        new.unlink()
        return ", ".join(unread)
    new.replace(path)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return ""


def _copy_tables(old: sqlite3.Connection, new: sqlite3.Connection) -> Iterator[str]:
    """Copy everything; names of the tables that could not be read to their end."""
    parts = old.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND "
        "name NOT LIKE 'sqlite%' ORDER BY type='index'"
    ).fetchall()
    for kind, name, sql in parts:
        if not str(name).isidentifier():
            yield str(name)  # none of our tables
            continue
        new.execute(sql)
        if kind != "table":
            continue
        try:
            rows = old.execute(f'SELECT * FROM "{name}" NOT INDEXED').fetchall()
        except sqlite3.DatabaseError:
            yield name
            continue
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            new.executemany(f'INSERT INTO "{name}" VALUES({marks})', rows)
    version = old.execute("PRAGMA user_version").fetchone()[0]
    new.execute(f"PRAGMA user_version={version}")
    new.commit()
