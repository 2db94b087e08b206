"""Audits: scores of a session's first and last baseline on hidden text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoresearch_plugin.ledger.connection import Connection, Row
from autoresearch_plugin.ledger.processes import is_alive, this_process


class Audits(Connection):
    """Rows of audits: one for each baseline and seed."""

    def claim_audit(
        self,
        session: int,
        items: Sequence[tuple[str, int]],
        device: str = "",
        fits: Callable[[str], bool] = lambda device: True,
    ) -> Row | None:
        """The first of these (head, seed) that nobody has or makes, now ours.

        `fits` says whether what another device scored can be compared with ours. What
        cannot is made again, unless who made it is still at it: then there is none.
        """
        with self._transaction():
            if self.is_audited_elsewhere(session, fits):
                return None
            self._drop_misfits(session, fits)
            taken = {
                (row["head"], row["seed"])
                for row in self._audit_rows(session)
                if row["state"] == "done" or is_alive(row["owner"])
            }
            free = next((item for item in items if item not in taken), None)
            if free is None:
                return None
            number = self._execute(
                "INSERT INTO audits(session, head, seed, state, owner, device, "
                "started) VALUES(?, ?, ?, 'running', ?, ?, ?)",
                *(session, *free, this_process(), device, time.time()),
            )
            return self._one("SELECT * FROM audits WHERE id=?", number)

    def is_audited_elsewhere(self, session: int, fits: Callable[[str], bool]) -> bool:
        """Whether a living process makes the audit on a device that does not fit."""
        return any(is_alive(row["owner"]) for row in self._misfits(session, fits))

    def _drop_misfits(self, session: int, fits: Callable[[str], bool]) -> None:
        for row in self._misfits(session, fits):
            self.drop_audit(row["id"])

    def _misfits(self, session: int, fits: Callable[[str], bool]) -> list[Row]:
        rows = self._audit_rows(session)
        return [row for row in rows if row["device"] and not fits(row["device"])]

    def _audit_rows(self, session: int) -> list[Row]:
        return self._query(
            "SELECT * FROM audits WHERE session=? AND state<>'lost'", session
        )

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
