"""Work: units that lanes claim, leases, and what each lane does now."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_plugin.ledger.connection import Connection, Row
from autoresearch_plugin.ledger.processes import is_alive, this_process


class Work(Connection):
    """Rows of units, leases and lanes."""

    def add_unit(
        self,
        session: int,
        kind: str,
        target: str,
        nodeids: Sequence[str] = (),
        candidate: int | None = None,
    ) -> None:
        """Queue work: a `hand` file with its collected tests, or a `generated` file."""
        self._execute(
            "INSERT INTO units(session, kind, target, nodeids, candidate, state, "
            "created) VALUES(?, ?, ?, ?, ?, 'queued', ?)",
            *(session, kind, target, json.dumps(list(nodeids)), candidate, time.time()),
        )

    def without_unit(self, session: int) -> list[Row]:
        """Generated candidates whose process was killed, or whose disk was full, before
        they were in the queue."""
        return self._query(
            "SELECT id, title, test FROM candidates WHERE session=? AND "
            "kind='generated' AND state='queued' AND test IS NOT NULL AND id NOT IN "
            "(SELECT candidate FROM units WHERE candidate IS NOT NULL) ORDER BY id",
            session,
        )

    def claim_unit(
        self, session: int, lane: str, device: str, only_hand: bool = False
    ) -> Row | None:
        """The next unit, hand-written ones first, now ours; None when none waits."""
        first = (
            "SELECT id FROM units WHERE session=? AND state='queued' AND "
            "(kind='hand' OR NOT ?) ORDER BY kind<>'hand', id LIMIT 1"
        )
        if not self._one(first, session, only_hand):
            return None  # looked at often by lanes that wait: not worth a lock
        with self._transaction():
            rows = self._query(
                "UPDATE units SET state='running', owner=?, lane=?, device=?, "
                f"started=? WHERE id=({first}) RETURNING *",
                *(this_process(), lane, device, time.time(), session, only_hand),
            )
        return {**rows[0], "nodeids": json.loads(rows[0]["nodeids"])} if rows else None

    def begin_item(self, unit: int, nodeid: str, location: Sequence[Any]) -> None:
        """Note which test of a unit runs now, for the report of a dead worker."""
        self._note(
            "UPDATE units SET current=?, location=? WHERE id=?",
            *(nodeid, json.dumps(list(location)), unit),
        )

    def finish_unit(self, unit: int, state: str = "done") -> None:
        """Close a unit: `done`, `stopped` (to be resumed) or `died`."""
        self._execute(
            "UPDATE units SET state=?, finished=? WHERE id=?",
            *(state, time.time(), unit),
        )

    def take_up_again(self, unit: Row) -> bool:
        """Whether a generated candidate whose lane died waits for another one now.

        Once: a second death is the candidate's affair. The unit is closed as `died`.
        """
        with self._transaction():
            self.finish_unit(unit["id"], "died")
            row = self._one(
                "SELECT count(*) AS n FROM units WHERE candidate=? AND state='died'",
                unit["candidate"],
            )
            if not row or row["n"] != 1:
                return False
            undone = self._query(
                "UPDATE candidates SET state='queued' WHERE id=? AND (state IN "
                "('queued', 'running') OR (state='keep' AND commit_id IS NULL)) "
                "RETURNING id",
                unit["candidate"],
            )
            if not undone:
                return False
            self.add_unit(
                *(unit["session"], "generated", unit["target"]),
                candidate=unit["candidate"],
            )
        return True

    def unit_of_lane(self, session: int, lane: str) -> Row | None:
        """What a lane was doing, when it died."""
        row = self._one(
            "SELECT * FROM units WHERE session=? AND lane=? AND state='running'",
            *(session, lane),
        )
        return {**row, "nodeids": json.loads(row["nodeids"])} if row else None

    def unit_counts(self, session: int) -> Mapping[tuple[str, str], int]:
        """Numbers of units by (kind, state)."""
        rows = self._query(
            "SELECT kind, state, count(*) AS n FROM units WHERE session=? "
            "GROUP BY kind, state",
            session,
        )
        return {(row["kind"], row["state"]): row["n"] for row in rows}

    def units_running(self, session: int) -> bool:
        """Whether a living process is at work on a unit."""
        rows = self._query(
            "SELECT owner FROM units WHERE session=? AND state='running'", session
        )
        return any(is_alive(row["owner"]) for row in rows)

    def try_lease(self, name: str) -> bool:
        """Take a named lease that only one living process can hold."""
        with self._transaction():
            row = self._one("SELECT owner FROM leases WHERE name=?", name)
            if row and row["owner"] != this_process() and is_alive(row["owner"]):
                return False
            self._execute(
                "INSERT OR REPLACE INTO leases VALUES(?, ?, ?)",
                *(name, this_process(), time.time()),
            )
        return True

    def release_lease(self, name: str) -> None:
        """Give a lease back; nothing happens if it is not ours."""
        self._note("DELETE FROM leases WHERE name=? AND owner=?", name, this_process())

    def set_lane(
        self, session: int, name: str, device: str, status: Row | None
    ) -> None:
        """What a lane does now; None when it is idle."""
        self._note(
            "INSERT OR REPLACE INTO lanes VALUES(?, ?, ?, ?, ?)",
            *(session, name, device, json.dumps(status), time.time()),
        )

    def add_wait(self, session: int, lane: str, reason: str, since: float) -> None:
        """Record that this process' lane has waited from `since` until now."""
        self._note(
            "INSERT INTO waits(session, lane, owner, reason, started, finished) "
            "VALUES(?, ?, ?, ?, ?, ?)",
            *(session, lane, this_process(), reason, since, time.time()),
        )

    def waits(self, session: int) -> list[Row]:
        """What lanes have waited for, oldest first."""
        return self._query("SELECT * FROM waits WHERE session=? ORDER BY id", session)

    def unit_seconds(self, session: int, count: int = 20) -> list[float]:
        """How long the latest generated candidates held their lanes."""
        rows = self._query(
            "SELECT finished - started AS s FROM units WHERE session=? AND "
            "kind='generated' AND state='done' ORDER BY finished DESC LIMIT ?",
            *(session, count),
        )
        return [row["s"] for row in rows]

    def lanes(self, session: int) -> list[Row]:
        """What each lane does now."""
        rows = self._query("SELECT * FROM lanes WHERE session=? ORDER BY name", session)
        return [{**row, "status": json.loads(row["status"])} for row in rows]
