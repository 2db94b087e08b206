"""Trials: who runs which seed of whose bank, and what came of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

from autoresearch_plugin.ledger.connection import Row
from autoresearch_plugin.ledger.processes import is_alive, this_process
from autoresearch_plugin.ledger.sessions import Sessions
from autoresearch_plugin.trial import Budget, Outcome, TrialResult

# All columns but log and curve, which are long and for people with a SQLite shell.
_READ = (
    "id, session, head, candidate, seed_index, seed, state, owner, device, budget, "
    "started, finished, outcome, message, value, metrics, summary, seconds, "
    "cpu_seconds, interim, early, verified, sandbox, scoring_cpu"
)
# What pools of noise are made of: read at every verdict, over all runs there are.
_POOL = "id, head, candidate, seed, started, finished, value, summary, interim"

_ORIGINS = (
    "SELECT h.id AS head, c.id AS candidate, c.head AS parent, "
    "json_extract(v.evidence, '$.paired') AS paired FROM heads h JOIN candidates c "
    "ON c.id=h.inherits LEFT JOIN verdicts v ON v.id="
    "(SELECT max(id) FROM verdicts WHERE candidate=c.id)"
)

_OLD_OUTPUT = (
    "outcome='ok' AND log<>'' AND session<(SELECT max(id) FROM sessions WHERE "
    "kind='research')"
)


class Trials(Sessions):
    """Rows of trials, of baselines (candidate NULL) and of candidates."""

    def seed(self, head: str, index: int) -> int:
        """Seed `index` of a head's bank: fixed for this ledger, unknown elsewhere."""
        row = self._one("SELECT value FROM meta WHERE key='salt'")
        text = f"{row['value'] if row else ''}:{head}:{index}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) % 2**31

    def bank(self, head: str, count: int) -> list[int]:
        """The first seeds of a baseline's bank. On a budget in steps those of the runs
        that it has from its time as a candidate come first, so that pairs can be made
        with them."""
        known = _seeds(self._inherited(head))[:count]
        return [*known, *(self.seed(head, i) for i in range(len(known), count))]

    def claim_head_trial(
        self, session: int, head: str, wanted: int, device: str = ""
    ) -> Row | None:
        """A baseline run that is still missing, now ours; None when none is."""
        with self._transaction():
            self._forget_dead_trials(head)
            taken = {
                row["seed_index"]
                for row in self._query(
                    "SELECT seed_index FROM trials WHERE head=? AND candidate IS NULL "
                    "AND (state='running' OR outcome='ok')",
                    head,
                )
            }
            inherited = self._inherited(head)
            if len(inherited) + len(taken) >= wanted:
                return None
            begin = len(_seeds(inherited))
            index = next(i for i in itertools.count(begin) if i not in taken)
            return self._start_trial(session, head, None, index, device)

    def start_trial(
        self, session: int, head: str, candidate: int, index: int, device: str = ""
    ) -> Row:
        """Record that we run `candidate` on seed `index` of `head`'s bank."""
        with self._transaction():
            return self._start_trial(session, head, candidate, index, device)

    def _start_trial(
        self, session: int, head: str, candidate: int | None, index: int, device: str
    ) -> Row:
        trial = self._execute(
            "INSERT INTO trials(session, head, candidate, seed_index, seed, state, "
            "owner, device, started) VALUES(?, ?, ?, ?, ?, 'running', ?, ?, ?)",
            *(session, head, candidate, index, self.bank(head, index + 1)[-1]),
            *(this_process(), device, time.time()),
        )
        self._began[trial] = time.monotonic()
        row = self._one("SELECT * FROM trials WHERE id=?", trial)
        return row or {}

    def finish_trial(
        self,
        trial: int,
        result: TrialResult,
        value: float | None,
        device: str,
        budget: str,
        early: str | None = None,
        sandbox: str | None = None,
    ) -> None:
        """Record how a trial ended; `value` is the metric or None.

        `early` says what its interim score led to: `stopped`, or `spared` for a loser
        that ran on.
        """
        values = (
            *(str(result.outcome), result.message[:2000], value),
            *map(json.dumps, (result.metrics, result.summary, result.seconds)),
            *(result.cpu_seconds, json.dumps(result.curve[-200:]), result.log_tail),
            *(device, budget, json.dumps(result.interim), early),
            *(json.dumps(result.verified), sandbox, result.scoring_cpu),
        )
        with self._transaction():
            self._execute(
                "UPDATE trials SET state='done', finished=?, outcome=?, message=?, "
                "value=?, metrics=?, summary=?, seconds=?, cpu_seconds=?, curve=?, "
                "log=?, device=?, budget=?, interim=?, early=?, verified=?, sandbox=?, "
                "scoring_cpu=? WHERE id=?",
                *(self._finished(trial, result.outcome), *values, trial),
            )

    def _finished(self, trial: int, outcome: Outcome) -> float:
        """Now, or what now would be if nobody had set the clock meanwhile. A run that
        slept with its machine, perhaps for a night, held its device for no time."""
        began = self._began.pop(trial, None)
        row = self._one("SELECT started, session FROM trials WHERE id=?", trial)
        if began is None or row is None:
            return time.time()
        self._note_seconds(row["session"])
        took = 0.0 if outcome is Outcome.SUSPENDED else time.monotonic() - began
        return float(row["started"] + took)

    def _forget_dead_trials(self, head: str) -> None:
        for row in self._query(
            "SELECT id, owner FROM trials WHERE head=? AND state='running'", head
        ):
            if not is_alive(row["owner"]):
                self._execute("UPDATE trials SET state='lost' WHERE id=?", row["id"])

    def head_trials(self, head: str) -> list[Row]:
        """Good runs of a baseline: its own in the order of its seed bank, then those
        that it has from its time as a candidate."""
        return [*self.own_head_trials(head), *self._inherited(head)]

    def own_head_trials(self, head: str) -> list[Row]:
        """Good runs that a baseline made as a baseline."""
        return self._trials("head=? AND candidate IS NULL AND outcome='ok'", head)

    def waited_trials(self, head: str) -> list[Row]:
        """Runs of a baseline that the machine disturbed: they do not count."""
        return self._trials("head=? AND candidate IS NULL AND outcome='waited'", head)

    def retire_head_trials(self, head: str, device: str, but: int = 0) -> None:
        """A device is another one than it was: a baseline's runs on it count no more,
        except the trial `but`."""
        self._execute(
            "UPDATE trials SET outcome='waited', message='the machine has changed' "
            "WHERE head=? AND candidate IS NULL AND outcome='ok' AND device=? AND "
            "id<>?",
            *(head, device, but),
        )

    def retire_trials(self, candidate: int, head: str, budget: Budget) -> None:
        """Runs of a candidate with another budget than this one count no more."""
        self._execute(
            "UPDATE trials SET outcome='waited', message='made before its price was "
            "exact' WHERE candidate=? AND head=? AND outcome='ok' AND budget<>?",
            *(candidate, head, str(budget)),
        )

    def _inherited(self, head: str) -> list[Row]:
        """Runs of a baseline from its time as a candidate, see `origins`."""
        row = self._one(f"{_ORIGINS} WHERE h.id=?", head)
        if row is None:
            return []
        runs = self.good_trials(row["candidate"], row["parent"])
        return going_on(runs, bool(row["paired"]))

    def origins(self, fingerprint: str) -> list[Row]:
        """Of each baseline that has runs from its time as a candidate: `head`, the
        `candidate`, its `parent` then, and whether its runs were compared in pairs."""
        return self._query(f"{_ORIGINS} WHERE h.fingerprint=?", fingerprint)

    def candidate_trials(self, candidate: int, head: str | None = None) -> list[Row]:
        """Finished runs of a candidate (on one head), oldest first."""
        if head is None:
            return self._trials("candidate=? AND state='done'", candidate)
        return self._trials("candidate=? AND head=? AND state='done'", candidate, head)

    def good_trials(self, candidate: int, head: str) -> list[Row]:
        """Runs of a candidate on one head that gave a number: what is judged."""
        return [
            row
            for row in self.candidate_trials(candidate, head)
            if row["outcome"] == "ok"
        ]

    def midway_trials(self, fingerprint: str) -> list[Row]:
        """First runs of candidates that were scored in mid-run, oldest first, with few
        of their columns: they are looked at before every run."""
        rows = self._query(
            "SELECT id, head, candidate, started, finished, outcome, early, interim "
            "FROM trials WHERE interim<>'null' AND candidate IS NOT NULL AND "
            "state='done' AND head IN (SELECT id FROM heads WHERE fingerprint=?) "
            "ORDER BY id",
            fingerprint,
        )
        return [_read(row, (), ("interim",)) for row in rows]

    def drop_trial(self, trial: int) -> None:
        """A run that was stopped on purpose counts as never made."""
        self._execute("UPDATE trials SET state='lost' WHERE id=?", trial)

    def broken_runs(
        self, head: str, candidate: int | None, index: int, session: int
    ) -> int:
        """How often in this session the run on seed `index` gave no number and no
        verdict came of it."""
        rows = self._trials(
            "head=? AND candidate IS ? AND seed_index=? AND state='done' AND "
            "outcome NOT IN ('ok', 'waited') AND session=?",
            *(head, candidate, index, session),
        )
        return len(rows)

    def running_head_trials(self, head: str) -> list[str]:
        """The devices on which a living process runs `head` as a baseline."""
        rows = self._query(
            "SELECT owner, device FROM trials WHERE head=? AND candidate IS NULL AND "
            "state='running'",
            head,
        )
        return [row["device"] for row in rows if is_alive(row["owner"])]

    def baseline_steps(self, fingerprint: str) -> list[Row]:
        """Head, device and number of steps of all good runs of baselines."""
        return self._query(
            "SELECT head, device, json_extract(summary, '$.num_steps') AS steps "
            "FROM trials WHERE outcome='ok' AND candidate IS NULL AND steps>0 AND "
            "head IN (SELECT id FROM heads WHERE fingerprint=?)",
            fingerprint,
        )

    def session_trials(self, session: int) -> list[Row]:
        """All finished runs of a session."""
        return self._trials("session=? AND state='done'", session)

    def fingerprint_trials(self, fingerprint: str) -> list[Row]:
        """All good runs under a fingerprint, with few of their columns."""
        return self._pool("1", fingerprint)

    def noise_trials(self, fingerprint: str) -> list[Row]:
        """Those among them that tell of noise: runs of a baseline, and of a candidate
        that has more than one on it. Most have one, and are dropped after it."""
        others = (
            "SELECT 1 FROM trials o WHERE o.head=t.head AND o.candidate=t.candidate "
            "AND o.outcome='ok' AND o.id<>t.id"
        )
        return self._pool(f"candidate IS NULL OR EXISTS ({others})", fingerprint)

    def _pool(self, where: str, fingerprint: str) -> list[Row]:
        rows = self._query(
            f"SELECT {_POOL} FROM trials t WHERE outcome='ok' AND head IN (SELECT id "
            f"FROM heads WHERE fingerprint=?) AND ({where}) ORDER BY id",
            fingerprint,
        )
        return [_read(row, ("summary",), ("interim",)) for row in rows]

    def fingerprint_values(self, fingerprint: str) -> list[Row]:
        """`fingerprint_trials` with no more than what was run where, and its value."""
        return self._query(
            "SELECT head, candidate, device, value FROM trials WHERE outcome='ok' AND "
            "head IN (SELECT id FROM heads WHERE fingerprint=?) ORDER BY id",
            fingerprint,
        )

    def trial_log(self, trial: int) -> str:
        """The end of what a run printed."""
        row = self._one("SELECT log FROM trials WHERE id=?", trial)
        return str((row or {}).get("log") or "")

    def _trials(self, where: str, *values: Any) -> list[Row]:
        order = "seed_index, id" if "candidate IS NULL" in where else "id"
        sql = f"SELECT {_READ} FROM trials WHERE {where} ORDER BY {order}"
        objects = ("metrics", "summary", "seconds")
        return [
            _read(row, objects, ("interim", "verified"))
            for row in self._query(sql, *values)
        ]

    def recent_seconds(self, session: int, count: int = 20) -> list[float]:
        """How long the latest good runs of a session took."""
        rows = self._query(
            "SELECT finished - started AS s FROM trials WHERE session=? AND "
            "outcome='ok' ORDER BY id DESC LIMIT ?",
            *(session, count),
        )
        return [row["s"] for row in rows]

    def device_seconds(self, session: int) -> float:
        """Seconds that trials of this session held a device."""
        row = self._one(
            "SELECT sum(finished - started) AS s FROM trials WHERE session=?", session
        )
        return float((row or {}).get("s") or 0.0)

    def old_output(self) -> int:
        """Bytes that good runs of all sessions but the latest have printed."""
        row = self._one(f"SELECT sum(length(log)) AS n FROM trials WHERE {_OLD_OUTPUT}")
        return int((row or {}).get("n") or 0)

    def forget_output(self) -> None:
        """Forget these, and give the file's free pages back to the disk. What crashes
        printed stays: somebody may want to read it."""
        self._execute(f"UPDATE trials SET log='' WHERE {_OLD_OUTPUT}")
        self._execute("VACUUM")

    def lost_work(self, session: int) -> None:
        """Close what processes that are gone have left open in this session."""
        for row in self._query(
            "SELECT id, owner FROM trials WHERE session=? AND state='running'", session
        ):
            if not is_alive(row["owner"]):
                self._execute("UPDATE trials SET state='lost' WHERE id=?", row["id"])


def _seeds(inherited: list[Row]) -> list[int]:
    """Those of runs on a budget in steps: other ones share no seeds."""
    return [run["seed"] for run in inherited if run["budget"].endswith("steps")]


def going_on(runs: list[Row], paired: bool) -> list[Row]:
    """Which runs of a kept candidate count for the baseline that it becomes.

    In pairs all: the seeds are what both have in common. Of means all but the first,
    which chose it, unless it is the only one.
    """
    return runs if paired else runs[1:] or runs


def _read(row: Row, objects: Sequence[str], others: Sequence[str]) -> Row:
    """`row` with the JSON of some columns read; an empty object is {} there."""
    for key in objects:
        row[key] = json.loads(row[key]) if row[key] else {}
    for key in others:
        row[key] = json.loads(row[key]) if row[key] else None
    return row
