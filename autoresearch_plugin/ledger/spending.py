"""Money and events: what calls cost, what is worth telling."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_plugin.ledger.connection import Connection, Row, line


class Spending(Connection):
    """Rows of LLM calls, reservations and events."""

    def reserve(
        self, session: int, usd: float, cap: float, agent: str | None = None
    ) -> int | None:
        """Set `usd` aside if spent + reserved stays within `cap`; a handle or None."""
        with self._transaction():
            if self._committed(session) + usd > cap:
                return None
            return self._execute(
                "INSERT INTO reservations(session, usd, agent) VALUES(?, ?, ?)",
                *(session, usd, agent),
            )

    def settle(self, session: int, handle: int | None, call: Mapping[str, Any]) -> None:
        """Turn a reservation into what the call really cost."""
        with self._transaction():
            if handle is not None and not self._reserved(handle):
                return  # booked in full when the session was closed meanwhile
            self._execute("DELETE FROM reservations WHERE id=?", handle)
            row = {**call, "session": session, "created": time.time()}
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            self._execute(
                f"INSERT INTO llm_calls({names}) VALUES({marks})", *row.values()
            )

    def _reserved(self, handle: int) -> bool:
        return bool(self._one("SELECT id FROM reservations WHERE id=?", handle))

    def _committed(self, session: int) -> float:
        row = self._one(
            "SELECT coalesce((SELECT sum(usd) FROM llm_calls WHERE session=?), 0) + "
            "coalesce((SELECT sum(usd) FROM reservations WHERE session=?), 0) AS usd",
            *(session, session),
        )
        return float(row["usd"]) if row else 0.0

    def calls(self, session: int) -> list[Row]:
        """LLM calls of a session."""
        return self._query("SELECT * FROM llm_calls WHERE session=?", session)

    def unused_answers(self, session: int) -> list[Row]:
        """Calls whose answers were paid for and are not in the queue, oldest first."""
        return self._query(
            "SELECT * FROM llm_calls WHERE session=? AND answer IS NOT NULL "
            "ORDER BY id",
            session,
        )

    def answers_used(self, session: int, answers: Sequence[str]) -> None:
        """Forget answers: what could be used of them is in the queue."""
        for answer in answers:
            self._execute(
                "UPDATE llm_calls SET answer=NULL WHERE session=? AND answer=?",
                *(session, answer),
            )

    def add_event(
        self, session: int, kind: str, text: str, agent: str | None = None
    ) -> None:
        """Record something worth telling at the end, as one line."""
        self._note(
            "INSERT INTO events(session, created, kind, text, agent) "
            "VALUES(?, ?, ?, ?, ?)",
            *(session, time.time(), kind, line(text), agent),
        )

    def events(self, session: int, after: int = 0) -> list[Row]:
        """Events of a session, oldest first, after event number `after`."""
        return self._query(
            "SELECT * FROM events WHERE session=? AND id>? ORDER BY id", session, after
        )

    def told(self, session: int, kind: str) -> list[str]:
        """The texts of all events of a kind, oldest first."""
        rows = self._query(
            "SELECT text FROM events WHERE session=? AND kind=? ORDER BY id",
            *(session, kind),
        )
        return [row["text"] for row in rows]

    def refused_since(self, session: int, agent: str | None = None) -> list[str]:
        """Answers of an agent that were refused since its last proposal, in order."""
        rows = self._query(
            "SELECT text FROM events WHERE session=? AND kind='refused' AND agent IS ? "
            "AND id>(SELECT coalesce(max(id), 0) FROM events WHERE session=? AND "
            "kind='proposed' AND agent IS ?) ORDER BY id",
            *(session, agent, session, agent),
        )
        return [row["text"] for row in rows]
