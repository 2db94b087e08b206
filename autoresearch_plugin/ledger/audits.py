"""Audits: scores of a session's first and last baseline on hidden text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_plugin.ledger.connection import Connection, Row
from autoresearch_plugin.ledger.processes import is_alive, this_process


class Audits(Connection):
    """Rows of audits: one for each baseline and seed."""

    def claim_audit(self, session: int, items: Sequence[tuple[str, int]]) -> Row | None:
        """The first of these (head, seed) that nobody has or makes, now ours."""
        with self._transaction():
            taken = {
                (row["head"], row["seed"])
                for row in self._query(
                    "SELECT * FROM audits WHERE session=? AND state<>'lost'", session
                )
                if row["state"] == "done" or is_alive(row["owner"])
            }
            free = next((item for item in items if item not in taken), None)
            if free is None:
                return None
            number = self._execute(
                "INSERT INTO audits(session, head, seed, state, owner, started) "
                "VALUES(?, ?, ?, 'running', ?, ?)",
                *(session, *free, this_process(), time.time()),
            )
            return self._one("SELECT * FROM audits WHERE id=?", number)

    def finish_audit(
        self, audit: int, value: float, summary: Mapping[str, Any], trained: bool
    ) -> None:
        """Record a score; `trained` says that a run was made for it."""
        self._execute(
            "UPDATE audits SET state='done', finished=?, value=?, tokens_per_step=?, "
            "first_loss=?, trained=? WHERE id=?",
            *(time.time(), value, summary.get("tokens_per_step")),
            *(summary.get("first_loss"), int(trained), audit),
        )

    def drop_audit(self, audit: int) -> None:
        """A score that was not made."""
        self._execute("UPDATE audits SET state='lost' WHERE id=?", audit)

    def audits(self, session: int) -> list[Row]:
        """The scores that were made, oldest first."""
        return self._query(
            "SELECT * FROM audits WHERE session=? AND state='done' ORDER BY id", session
        )

    def audit_seconds(self, session: int) -> float:
        """Seconds that the audit held a device."""
        spans = (row["finished"] - row["started"] for row in self.audits(session))
        return float(sum(spans))
