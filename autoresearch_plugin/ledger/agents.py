"""What agents did and cost, over all sessions of a fingerprint or in one of them."""

from __future__ import annotations

from autoresearch_plugin.ledger.connection import Connection, Row

_SESSIONS = (
    "session IN (SELECT id FROM sessions WHERE fingerprint=? AND (id=? OR ? IS NULL))"
)


class Agents(Connection):
    """Sums over rows that name an agent."""

    def agent_candidates(
        self, fingerprint: str, session: int | None = None
    ) -> list[Row]:
        """What became candidates, oldest first, whatever became of them."""
        return self._query(
            "SELECT agent, state, created FROM candidates WHERE agent IS NOT NULL AND "
            f"{_SESSIONS} ORDER BY id",
            *(fingerprint, session, session),
        )

    def agent_refusals(self, fingerprint: str, session: int | None = None) -> list[Row]:
        """Answers that could not be used, oldest first."""
        return self._query(
            f"SELECT * FROM events WHERE kind='refused' AND agent IS NOT NULL AND "
            f"{_SESSIONS} ORDER BY id",
            *(fingerprint, session, session),
        )

    def agent_seconds(
        self, fingerprint: str, session: int | None = None
    ) -> dict[str, float]:
        """Seconds that trials of each agent's candidates held a device."""
        rows = self._query(
            "SELECT c.agent AS agent, sum(t.finished - t.started) AS seconds FROM "
            "candidates c JOIN trials t ON t.candidate=c.id WHERE c.agent IS NOT NULL "
            f"AND t.{_SESSIONS} GROUP BY c.agent",
            *(fingerprint, session, session),
        )
        return {row["agent"]: row["seconds"] or 0.0 for row in rows}

    def agent_calls(
        self, fingerprint: str, session: int | None = None
    ) -> dict[str, tuple[float, int]]:
        """Dollars and number of each agent's calls."""
        rows = self._query(
            "SELECT agent, sum(usd) AS usd, count(*) AS n FROM llm_calls WHERE "
            f"agent IS NOT NULL AND {_SESSIONS} GROUP BY agent",
            *(fingerprint, session, session),
        )
        return {row["agent"]: (row["usd"], row["n"]) for row in rows}
