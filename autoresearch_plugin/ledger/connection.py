"""One process' connection to the ledger's file: transactions, and errors in words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger.schema import MIGRATIONS, SCHEMA, VERSION
from autoresearch_plugin.paths import free_reserve
from autoresearch_plugin.quoting import visible

Row = dict[str, Any]
LINE = 2000  # characters of an event or a reason
PATIENCE = 30.0  # seconds for another process that holds the file
COLUMNS = (
    "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
    "WHERE m.type='table' AND m.name NOT LIKE 'sqlite%'"
)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CODES = {
    "full": (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
    "held": (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
    "shut": (
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
    ),
}
ADVICE = {  # what to do, by what SQLite could not do
    "full": "Make room on the disk (`autoresearch gc` frees what nobody needs) and "
    "start the same command again: what was decided is saved.",
    "held": "Another program holds the file: close SQLite shells and backups of it and "
    "start the same command again; nothing is lost.",
    "shut": "Make the file and its directory yours to write, and start again.",
    "damaged": "If the file is damaged, move it away; a new one starts empty.",
}


def line(text: str) -> str:
    """Words, from outside perhaps, as the one line that people are shown."""
    return visible(" ".join(text[: 2 * LINE].splitlines()))[:LINE]


class Connection:
    """Opens the file, makes its tables; safe to share between a process' threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._began: dict[int, float] = {}  # trial -> when, by a clock nobody sets
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._explained():
                self._create()
        except LedgerError:
            self.close()
            raise

    @property
    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None or self._local.pid != os.getpid():
            db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._local.db, self._local.pid = db, os.getpid()
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA trusted_schema=OFF")  # no functions in planted views
            self._local.hasty = False
        if self._local.hasty:  # after a note, even one that Ctrl-C cut off
            db.execute("PRAGMA synchronous=FULL")
            self._local.hasty = False
        return db

    def _create(self) -> None:
        self._make_private()
        self._db.execute("PRAGMA journal_mode=WAL")
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version in MIGRATIONS:
                version = self._migrate(version)
            if version == VERSION:
                return
            if version or self._query("SELECT name FROM sqlite_master LIMIT 1"):
                raise LedgerError(
                    f"{self.path} has schema version {version}, this release needs "
                    f"{VERSION}. Use the release that wrote it, or move it away."
                )
            self._run(SCHEMA)
            salt = os.urandom(8).hex()
            self._db.execute("INSERT INTO meta VALUES('salt', ?)", (salt,))
            self._db.execute(f"PRAGMA user_version={VERSION}")

    def _migrate(self, version: int) -> int:
        """Bring an older file up to date; the version it has then.

        Columns that came between two versions are added at the end.
        """
        while version in MIGRATIONS:
            self._run(MIGRATIONS[version])
            version += 1
        with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(SCHEMA)
            for table, column, kind in fresh.execute(COLUMNS).fetchall():
                if column not in {row[1] for row in self._columns(table)}:
                    self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._db.execute(f"PRAGMA user_version={version}")
        return version

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        return list(map(tuple, self._db.execute(f"PRAGMA table_info({table})")))

    def _make_private(self) -> None:
        """The file exists, is no link, and nobody else may read it; so are its log and
        index, which SQLite makes with the same mode.

        An existing one is not opened: closing it would drop this process' locks on it.
        """
        ends = ("", "-wal", "-shm", "-journal")
        files = [self.path.with_name(self.path.name + end) for end in ends]
        for path in (self.path.parent, *files):
            if path.is_symlink():
                raise LedgerError(
                    f"{path} is a symbolic link to {path.readlink()}. The ledger is "
                    "a file of its own: remove the link and start again."
                )
        with contextlib.suppress(OSError):  # SQLite says why it cannot be used
            if not self.path.exists():
                flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW
                os.close(os.open(self.path, flags, 0o600))
            for path in filter(Path.is_file, files):
                if stat.S_IMODE(path.stat().st_mode) != 0o600:
                    path.chmod(0o600)

    def _run(self, script: str) -> None:
        for statement in script.split(";"):
            self._db.execute(statement)

    def close(self) -> None:
        """Close this thread's connection."""
        db = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if primary_code(error) in _CODES["full"]:
                free_reserve(self.path)
            raise LedgerError(
                f"cannot use the ledger {self.path}: {error}. {_advice(error)}"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing; one within another is a part of that."""
        with self._explained():
            if self._db.in_transaction:
                yield
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:  # Ctrl-C comes between any two lines
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _query(self, sql: str, *values: Any) -> list[Row]:
        with self._explained():
            return [dict(row) for row in self._db.execute(sql, values)]

    def _one(self, sql: str, *values: Any) -> Row | None:
        rows = self._query(sql, *values)
        return rows[0] if rows else None

    def _meta(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key=?", key)
        return str(row["value"]) if row else None

    def _set_meta(self, key: str, value: str) -> None:
        self._execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", key, value)

    def _note(self, sql: str, *values: Any) -> None:
        """A statement that may be lost with the machine's power, and only with it: it
        is on its way to the disk before the next one of any other kind is.

        Most statements of a run say what a lane does at the moment. If the disk were
        waited for each time, no other lane could write meanwhile.
        """
        with self._explained():
            db = self._db
            if not db.in_transaction:  # which is waited for as a whole
                self._local.hasty = True
                db.execute("PRAGMA synchronous=NORMAL")
            db.execute(sql, values)

    def _execute(self, sql: str, *values: Any) -> int:
        with self._explained():
            return int(self._db.execute(sql, values).lastrowid or 0)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of Python's module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _advice(error: sqlite3.Error) -> str:
    """What to do, by what SQLite could not do."""
    code = primary_code(error)
    for kind, codes in _CODES.items():
        if code in codes:
            return ADVICE[kind]
    return ADVICE["damaged"]
