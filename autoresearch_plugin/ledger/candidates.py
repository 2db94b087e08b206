"""Candidates and their verdicts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger.connection import Connection, Row


class Candidates(Connection):
    """Rows of candidates and verdicts."""

    def add_candidate(self, session: int, kind: str, fields: Mapping[str, Any]) -> int:
        """Record a candidate before anything runs; its id."""
        row = {
            "hypothesis": "",
            "category": "other",
            "state": "queued",
            **fields,
            "session": session,
            "kind": kind,
            "created": time.time(),
        }
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        return self._execute(
            f"INSERT INTO candidates({names}) VALUES({marks})", *row.values()
        )

    def update_candidate(self, candidate: int, **fields: Any) -> None:
        """Change columns of a candidate."""
        changes = ", ".join(f"{name}=?" for name in fields)
        self._execute(
            f"UPDATE candidates SET {changes} WHERE id=?", *fields.values(), candidate
        )

    def candidate(self, candidate: int) -> Row:
        """One candidate's row with its last verdict as `evidence`."""
        rows = self._candidates("c.id=?", candidate)
        if not rows:
            raise LedgerError(
                f"there is no candidate {candidate} in {self.path}; "
                "`autoresearch log` lists them."
            )
        return rows[0]

    def candidates(self, session: int | None = None) -> list[Row]:
        """Candidates in order of their numbers."""
        if session is None:
            return self._candidates("1")
        return self._candidates("c.session=?", session)

    def committed(self, session: int) -> list[Row]:
        """A session's keeps that have their commit."""
        return self._candidates("c.session=? AND c.commit_id IS NOT NULL", session)

    def results(self, session: int) -> list[Row]:
        """What a table of results says of each decided candidate, in the order of the
        decisions: `mean` of its runs, None without evidence, and `peak_mb` of memory.

        The latest of a test's, where a resume has several.
        """
        return self._query(
            "SELECT max(c.id) AS id, c.head, c.state, c.title, c.commit_id, "
            "json_extract(v.evidence, '$.candidate.mean') AS mean, "
            "(SELECT max(json_extract(t.summary, '$.peak_vram_mb')) FROM trials t "
            "WHERE t.candidate=c.id AND t.outcome='ok' AND json_valid(t.summary)) "
            "AS peak_mb FROM candidates c LEFT JOIN verdicts v "
            "ON v.id = (SELECT max(id) FROM verdicts WHERE candidate=c.id) "
            "WHERE c.session=? GROUP BY coalesce(c.nodeid, c.id) HAVING c.state IN "
            "('keep', 'discard', 'crash', 'refused') ORDER BY coalesce(c.decided, 0), "
            "c.id",
            session,
        )

    def kept_evidence(self, session: int, but: int) -> list[Mapping[str, Any]]:
        """What the judge said of a session's keeps, except candidate `but`."""
        rows = self._query(
            "SELECT v.evidence FROM candidates c JOIN verdicts v "
            "ON v.id = (SELECT max(id) FROM verdicts WHERE candidate=c.id) "
            "WHERE c.session=? AND c.state='keep' AND c.id<>? ORDER BY c.id",
            *(session, but),
        )
        return [json.loads(row["evidence"]) for row in rows]

    def generated_files(self, session: int) -> dict[str, int]:
        """Numbers of a session's generated candidates, by the names of their files."""
        rows = self._query(
            "SELECT id, file FROM candidates WHERE session=? AND kind='generated' AND "
            "file IS NOT NULL",
            session,
        )
        return {row["file"].rpartition("/")[2]: row["id"] for row in rows}

    def ideas(self, fingerprint: str) -> list[Row]:
        """What prompts are made of: candidates that were run under a fingerprint, or
        wait to be, in order of their numbers.

        Without what only people read. `verdict` is the last one's effect, its sd, the
        candidate's mean and the relation, as JSON; `trial` the last run of one that
        failed without a verdict, and `scored` whether that run had the validation text
        in hand.
        """
        return self._query(
            "SELECT c.id, c.session, c.kind, c.title, c.category, c.edits, "
            "c.signature, c.source_key, c.head, c.changes, c.retests, c.repairs, "
            "c.parts, c.agent, c.state, c.reason, c.commit_id, "
            "json_extract(v.evidence, '$.effect', '$.effect_sd', '$.candidate.mean', "
            "'$.relation') AS verdict, t.id AS trial, "
            "coalesce(t.summary, '{}')<>'{}' OR coalesce(t.interim, 'null')<>'null' OR "
            "instr(coalesce(t.seconds, ''), '\"evaluate\"') AS scored "
            "FROM candidates c LEFT JOIN verdicts v ON v.id="
            "(SELECT max(id) FROM verdicts WHERE candidate=c.id) "
            "LEFT JOIN trials t ON (c.state='crash' OR (c.state='discard' AND "
            "(v.id IS NULL OR v.head<>c.head))) AND t.id=(SELECT max(id) FROM trials "
            "WHERE candidate=c.id AND state='done') WHERE c.head IS NULL OR c.head IN "
            "(SELECT id FROM heads WHERE fingerprint=?) ORDER BY c.id",
            fingerprint,
        )

    def decided_before(self, head: str, source_key: str, than: int) -> Row | None:
        """The first equal candidate judged on the same head; a crash is no verdict."""
        rows = self._candidates(
            "c.head=? AND c.source_key=? AND c.id<>? AND v.head=c.head AND "
            "c.state IN ('keep', 'discard') AND v.decision=c.state",
            *(head, source_key, than),
        )
        return rows[0] if rows else None

    def crashed_before(self, head: str, source_key: str, than: int) -> list[Row]:
        """Equal candidates that crashed on the same head."""
        return self._candidates(
            "c.head=? AND c.source_key=? AND c.id<>? AND c.state='crash'",
            *(head, source_key, than),
        )

    def verdict_on(self, candidate: int, head: str) -> Row | None:
        """A candidate's last verdict on a head, whatever became of it."""
        row = self._one(
            "SELECT * FROM verdicts WHERE candidate=? AND head=? ORDER BY id DESC "
            "LIMIT 1",
            *(candidate, head),
        )
        return {**row, "evidence": json.loads(row["evidence"])} if row else None

    def kept_as(self, signature: str, source_sha256: str) -> Row | None:
        """The kept candidate of this signature that left exactly this source."""
        rows = self._candidates(
            "c.signature=? AND c.commit_id IN "
            "(SELECT commit_id FROM heads WHERE source_sha256=?)",
            *(signature, source_sha256),
        )
        return rows[-1] if rows else None

    def last_decided(self, session: int, count: int) -> list[Row]:
        """The latest candidates of a session that had a run and a verdict, latest
        first."""
        rows = self._candidates(
            "c.session=? AND c.state IN ('keep', 'discard', 'crash') AND "
            "c.started IS NOT NULL AND c.decided IS NOT NULL",
            session,
        )
        return sorted(rows, key=lambda row: -row["decided"])[:count]

    def put_back(self, numbers: Sequence[int]) -> None:
        """Candidates that were charged for what was not their doing wait again."""
        with self._transaction():
            for number in numbers:
                self._execute(
                    "UPDATE candidates SET reason='', decided=NULL, state=CASE kind "
                    "WHEN 'generated' THEN 'queued' ELSE 'stopped' END WHERE id=?",
                    number,
                )
                self._execute(
                    "UPDATE units SET state='stopped' WHERE candidate=? AND "
                    "state<>'died'",
                    number,
                )

    def decided_count(self, session: int) -> int:
        """Generated candidates of a session that have their verdict.

        One that was closed before it started (stale, or a no-op by now) is none.
        """
        row = self._one(
            "SELECT count(*) AS n FROM candidates WHERE session=? AND kind='generated' "
            "AND state IN ('keep', 'discard', 'crash', 'refused') "
            "AND started IS NOT NULL",
            session,
        )
        return int((row or {}).get("n") or 0)

    def twin(self, session: int, signature: str, after: int) -> int | None:
        """A candidate of this session with this signature, recorded after `after`; not
        one that never came into the queue."""
        row = self._one(
            "SELECT id FROM candidates WHERE session=? AND signature=? AND id>? AND "
            "state<>'stopped'",
            *(session, signature, after),
        )
        return int(row["id"]) if row else None

    def made_count(self, session: int) -> int:
        """Generated candidates that are an experiment, or may become one."""
        row = self._one(
            "SELECT count(*) AS n FROM candidates WHERE session=? AND kind='generated' "
            "AND state NOT IN ('failed', 'stopped') "
            "AND (started IS NOT NULL OR state IN ('queued', 'running'))",
            session,
        )
        return int((row or {}).get("n") or 0)

    def open_counts(self, session: int) -> Mapping[str, int]:
        """How many generated candidates are `queued` and how many `running`."""
        rows = self._query(
            "SELECT state, count(*) AS n FROM candidates WHERE session=? AND "
            "kind='generated' AND state IN ('queued', 'running') GROUP BY state",
            session,
        )
        return {"queued": 0, "running": 0, **{row["state"]: row["n"] for row in rows}}

    def screened_count(self, head: str) -> int:
        """Candidates that had a run on `head`."""
        row = self._one(
            "SELECT count(DISTINCT candidate) AS n FROM trials WHERE head=? AND "
            "candidate IS NOT NULL AND state='done'",
            head,
        )
        return int((row or {}).get("n") or 0)

    def _candidates(self, where: str, *values: Any) -> list[Row]:
        rows = self._query(
            "SELECT c.*, v.evidence, v.decision, v.sandbox FROM candidates c "
            "LEFT JOIN verdicts v "
            "ON v.id = (SELECT max(id) FROM verdicts WHERE candidate=c.id) "
            f"WHERE {where} ORDER BY c.id",
            *values,
        )
        for row in rows:
            row["edits"] = json.loads(row["edits"])
            row["evidence"] = json.loads(row["evidence"]) if row["evidence"] else None
        return rows

    def add_verdict(
        self,
        candidate: int,
        head: str,
        decision: str,
        evidence: Mapping[str, Any],
        sandbox: str | None = None,
    ) -> None:
        """Record what the judge said, with its evidence and where that was made."""
        self._execute(
            "INSERT INTO verdicts"
            "(candidate, head, decision, evidence, sandbox, created) "
            "VALUES(?, ?, ?, ?, ?, ?)",
            *(candidate, head, decision, json.dumps(evidence), sandbox, time.time()),
        )
