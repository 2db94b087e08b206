"""Sessions: started, resumed, stopped, finished; and what changes comparability."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger.connection import Connection, Row, line
from autoresearch_plugin.ledger.processes import is_alive, this_boot, this_process


class Sessions(Connection):
    """Rows of sessions, fingerprints and heads."""

    def start_session(
        self,
        kind: str,
        tag: str | None,
        settings: str,
        defaults: Mapping[str, Any] | None = None,
    ) -> Row:
        """A new session, or the interrupted one of the same kind, tag and settings.

        A setting that an older release did not know counts as its default.
        """
        wanted = _settings(settings, defaults)
        with self._transaction():
            rows = self._query(
                "SELECT * FROM sessions WHERE kind=? AND tag IS ? ORDER BY id DESC",
                *(kind, tag),
            )
            old = next(
                (row for row in rows if _settings(row["settings"], defaults) == wanted),
                None,
            )
            if kind == "research" and old and old["state"] != "finished":
                return self._resume(old)
            session = self._execute(
                "INSERT INTO sessions(kind, tag, settings, state, owner, started) "
                "VALUES(?, ?, ?, 'running', ?, ?)",
                *(kind, tag, settings, this_process(), time.time()),
            )
            self._start_clock(session)
        return self.session(session)

    def _resume(self, old: Row) -> Row:
        used = self._noted_seconds(old["id"])
        if used is None:  # of an older release
            used = _session_seconds(self._last_activity(old["id"]), old)
        self._execute(
            "UPDATE sessions SET state='running', reason=NULL, owner=?, started=?, "
            "finished=NULL, previous_seconds=? WHERE id=?",
            *(this_process(), time.time(), used, old["id"]),
        )
        self._start_clock(old["id"])
        self._requeue(old["id"])
        self._execute("DELETE FROM lanes WHERE session=?", old["id"])
        self._execute(
            "UPDATE units SET state='done' WHERE session=? AND kind='hand'", old["id"]
        )
        return {**self.session(old["id"]), "resumed": True}

    def _requeue(self, session: int) -> None:
        """What was under way or waiting is queued again; a keep without its commit too.

        A lane that was interrupted between a verdict and its report is done.
        """
        undone = (
            "SELECT id FROM candidates WHERE session=? AND kind='generated' AND "
            "(state IN ('queued', 'running') OR (state='keep' AND commit_id IS NULL))"
        )
        self._execute(
            "UPDATE units SET state='queued', owner=NULL, current=NULL WHERE state IN "
            f"('running', 'stopped') AND candidate IN ({undone})",
            session,
        )
        self._execute(
            "UPDATE candidates SET state='queued' WHERE id IN (SELECT candidate FROM "
            "units WHERE session=? AND state='queued')",
            session,
        )
        self._execute(  # killed after its unit was closed; see `without_unit` as well
            "UPDATE candidates SET state='stopped' WHERE session=? AND "
            "kind='generated' AND state IN ('queued', 'running') AND id NOT IN (SELECT "
            "candidate FROM units WHERE state='queued' AND candidate IS NOT NULL) AND "
            "(test IS NULL OR id IN (SELECT candidate FROM units WHERE candidate IS "
            "NOT NULL))",
            session,
        )

    def _last_activity(self, session: int) -> float:
        row = self._one(
            "SELECT max(coalesce(finished, started)) AS t FROM trials WHERE session=?",
            session,
        )
        return float((row or {}).get("t") or 0.0)

    def session(self, session: int) -> Row:
        """One session's row."""
        row = self._one("SELECT * FROM sessions WHERE id=?", session)
        if row is None:
            raise LedgerError(f"{self.path} has no session {session}.")
        return row

    def sessions(self) -> list[Row]:
        """All sessions, oldest first."""
        return self._query("SELECT * FROM sessions ORDER BY id")

    def set_head(
        self, session: int, head: str, commit: str | None, fingerprint: str
    ) -> None:
        """Candidates of `session` are run against `head`, which is at `commit`."""
        self._execute(
            "UPDATE sessions SET head=?, head_commit=?, fingerprint=?, "
            "first_head=coalesce(first_head, ?) WHERE id=?",
            *(head, commit, fingerprint, head, session),
        )

    def set_profile(self, session: int, profile: Mapping[str, Any]) -> None:
        """Record what the training command said of itself."""
        self._execute(
            "UPDATE sessions SET profile=? WHERE id=?", json.dumps(profile), session
        )

    def set_proposing(
        self, session: int, state: str, asking: str | None = None
    ) -> None:
        """Whether candidates may still come: `yes`, `late` (lanes that wait may fill
        in) or `no`; `asking` is what there is to say of the proposer."""
        self._execute(
            "UPDATE sessions SET proposing=?, asking=? WHERE id=?",
            *(state, asking, session),
        )

    def finish_session(self, session: int, state: str, reason: str) -> None:
        """Close a session: `finished`, `interrupted` or `failed`."""
        with self._transaction():
            self._note_seconds(session)
            self._execute(
                "UPDATE sessions SET state=?, reason=coalesce(reason, ?), finished=? "
                "WHERE id=?",
                *(state, reason, time.time(), session),
            )
            # What is still set aside was for a call nobody waits for any more: it may
            # have been charged, so it counts in full.
            self._execute(
                "INSERT INTO llm_calls(session, proposer, model, input_tokens, "
                "cache_read_tokens, cache_write_tokens, output_tokens, usd, seconds, "
                "status, created, agent) SELECT session, '', '', 0, 0, 0, 0, usd, 0, "
                "'lost', ?, agent FROM reservations WHERE session=?",
                *(time.time(), session),
            )
            self._execute("DELETE FROM reservations WHERE session=?", session)
            # Generated candidates of an interrupted session wait for its resume.
            self._execute(
                "UPDATE candidates SET state='stopped' WHERE session=? AND state IN "
                "('queued', 'running') AND (kind<>'generated' OR ?='finished')",
                *(session, state),
            )

    def stop(self, session: int, reason: str) -> None:
        """Tell every lane to stop; the first reason wins."""
        self._execute(
            "UPDATE sessions SET reason=? WHERE id=? AND reason IS NULL",
            *(line(reason), session),
        )

    def stopping(self, session: int) -> str | None:
        """Why the session stops, or None while it goes on."""
        row = self._one("SELECT reason, owner FROM sessions WHERE id=?", session)
        if row is None:
            return "the session is not in the ledger"
        if row["reason"] or is_alive(row["owner"]):
            reason: str | None = row["reason"]
            return reason
        return "the process that holds this session is gone"

    def session_seconds(self, session: int) -> float:
        """Seconds spent so far, earlier parts of a resumed session too.

        By a clock that nobody sets and that stands still while the machine sleeps.
        """
        row = self.session(session)
        noted = self._noted_seconds(session)
        if noted is not None and (row["finished"] or not is_alive(row["owner"])):
            return noted
        running = self._running_seconds(session)
        if running is not None:
            return float(row["previous_seconds"]) + running
        return _session_seconds(row["finished"] or time.time(), row)

    def news(self, session: int) -> list[Row]:
        """Events since a session was started or resumed."""
        return self._query(
            "SELECT * FROM events WHERE session=? AND id>? ORDER BY id",
            *(session, int(self._meta(f"events {session}") or 0)),
        )

    def _start_clock(self, session: int) -> None:
        """Note when, by the clock of this boot, and after which event it began."""
        self._set_meta(f"clock {session}", f"{this_boot()} {time.monotonic()}")
        row = self._one("SELECT max(id) AS n FROM events") or {}
        self._set_meta(f"events {session}", str(row.get("n") or 0))

    def _running_seconds(self, session: int) -> float | None:
        """Since the start or resume; None if that was before a reboot."""
        boot, _, began = (self._meta(f"clock {session}") or "").partition(" ")
        if not began or boot != this_boot():
            return None
        return max(0.0, time.monotonic() - float(began))

    def _note_seconds(self, session: int) -> None:
        """What a resume counts from."""
        running = self._running_seconds(session)
        if running is not None:
            spent = float(self.session(session)["previous_seconds"]) + running
            self._set_meta(f"seconds {session}", str(spent))

    def _noted_seconds(self, session: int) -> float | None:
        noted = self._meta(f"seconds {session}")
        return None if noted is None else float(noted)

    def add_fingerprint(self, fingerprint: str, parts: Mapping[str, Any]) -> Row | None:
        """Record a fingerprint; the last other one if this one is new here."""
        if self._one("SELECT id FROM fingerprints WHERE id=?", fingerprint):
            return None
        last = self._one("SELECT * FROM fingerprints ORDER BY created DESC LIMIT 1")
        self._execute(
            "INSERT OR IGNORE INTO fingerprints VALUES(?, ?, ?)",
            *(fingerprint, json.dumps(parts), time.time()),
        )
        return {**last, "parts": json.loads(last["parts"])} if last else None

    def add_head(
        self,
        head: str,
        fingerprint: str,
        sha: str,
        source: str,
        commit: str | None,
        amount: float | None = None,
        inherits: int | None = None,
    ) -> None:
        """Record a baseline: a target's source under a fingerprint.

        `amount` is what one of its runs may use, where that is not the session's
        budget; `inherits` names the candidate that it was, whose runs count as its own
        (see `head_trials`). A baseline that is known keeps what it has: one with runs
        of its own inherits none, which may have been made with the same seeds.
        """
        self._execute(
            "INSERT INTO heads VALUES(?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT(id) DO UPDATE "
            "SET commit_id=coalesce(commit_id, excluded.commit_id), "
            "inherits=coalesce(inherits, CASE WHEN EXISTS (SELECT 1 FROM trials WHERE "
            "head=heads.id AND candidate IS NULL AND outcome='ok') THEN NULL "
            "ELSE excluded.inherits END)",
            *(head, fingerprint, sha, source, commit, amount, inherits, time.time()),
        )

    def disown_lone_run(self, head: str) -> None:
        """The one run that a greedy keep had is nothing to compare with."""
        self._execute(
            "UPDATE heads SET inherits=NULL WHERE id=? AND (SELECT count(*) FROM "
            "trials WHERE candidate=heads.inherits AND outcome='ok') < 2",
            head,
        )

    def head(self, head: str) -> Row:
        """One baseline's row."""
        row = self._one("SELECT * FROM heads WHERE id=?", head)
        if row is None:
            raise LedgerError(f"{self.path} has no baseline {head}.")
        return row


def _settings(text: str, defaults: Mapping[str, Any] | None) -> object:
    """What a command asked for; a text that is no object is compared as it is."""
    try:
        return {**(defaults or {}), **json.loads(text)}
    except (ValueError, TypeError):
        return text


def _session_seconds(until: float, row: Row) -> float:
    return float(row["previous_seconds"] + max(0.0, until - row["started"]))
