"""The ledger's tables. Another version of them is another VERSION."""

from __future__ import annotations

VERSION = 5

AUDITS = """
CREATE TABLE audits(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  seed INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, value REAL, tokens_per_step REAL,
  first_loss REAL, trained INTEGER NOT NULL DEFAULT 1);
"""

# What a candidate moves, which earlier one it tries again or mends; and what a prompt
# looks up, which is asked for at every proposal.
IDEAS = """
ALTER TABLE candidates ADD COLUMN changes TEXT;
ALTER TABLE candidates ADD COLUMN retests INTEGER;
ALTER TABLE candidates ADD COLUMN repairs INTEGER;
CREATE INDEX verdicts_by_candidate ON verdicts(candidate);
CREATE INDEX trials_by_candidate ON trials(candidate);
CREATE INDEX events_by_kind ON events(session, kind);
"""

# Why lanes waited, and what there is to say of the proposer.
WAITS = """
CREATE TABLE waits(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, lane TEXT NOT NULL,
  owner TEXT NOT NULL, reason TEXT NOT NULL, started REAL NOT NULL,
  finished REAL NOT NULL);
ALTER TABLE sessions ADD COLUMN asking TEXT;
"""

# What a session asks for at every candidate, so that the thousandth costs no more than
# the first.
INDEXES = """
CREATE INDEX trials_by_session ON trials(session, outcome);
CREATE INDEX candidates_by_state ON candidates(session, kind, state);
CREATE INDEX candidates_by_signature ON candidates(signature);
CREATE INDEX candidates_committed ON candidates(session)
  WHERE commit_id IS NOT NULL;
CREATE INDEX units_by_state ON units(session, kind, state);
CREATE INDEX units_by_candidate ON units(candidate);
"""

# Who proposed a candidate and why it was his turn; whom a call, a reservation or an
# event belongs to.
AGENTS = """
ALTER TABLE candidates ADD COLUMN agent TEXT;
ALTER TABLE candidates ADD COLUMN turn TEXT;
ALTER TABLE llm_calls ADD COLUMN agent TEXT;
ALTER TABLE reservations ADD COLUMN agent TEXT;
ALTER TABLE events ADD COLUMN agent TEXT;
"""

# Where a score of the audit was made; what a bundle is made of.
PLACES = """
ALTER TABLE audits ADD COLUMN device TEXT;
ALTER TABLE candidates ADD COLUMN parts TEXT;
"""

# What was answered and is not in the queue yet.
ANSWERS = """
ALTER TABLE llm_calls ADD COLUMN answer TEXT;
"""

SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tag TEXT, settings TEXT NOT NULL,
  profile TEXT, fingerprint TEXT, head TEXT, head_commit TEXT, first_head TEXT,
  state TEXT NOT NULL,
  reason TEXT, proposing TEXT NOT NULL DEFAULT 'no', owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, previous_seconds REAL NOT NULL DEFAULT 0);
CREATE TABLE fingerprints(id TEXT PRIMARY KEY, parts TEXT NOT NULL, created REAL);
CREATE TABLE heads(
  id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, source_sha256 TEXT NOT NULL,
  source TEXT NOT NULL, commit_id TEXT, amount REAL, inherits INTEGER,
  created REAL NOT NULL);
CREATE TABLE candidates(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, hypothesis TEXT NOT NULL, category TEXT NOT NULL,
  edits TEXT NOT NULL, signature TEXT NOT NULL, proposer TEXT, file TEXT, test TEXT,
  nodeid TEXT, head TEXT, source_key TEXT, diff TEXT, added_lines INTEGER,
  ratio REAL, step_tokens REAL, state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '', commit_id TEXT,
  created REAL NOT NULL, started REAL, decided REAL);
CREATE INDEX candidates_by_source ON candidates(head, source_key);
CREATE TABLE trials(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  candidate INTEGER, seed_index INTEGER NOT NULL, seed INTEGER NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, device TEXT, budget TEXT,
  started REAL NOT NULL, finished REAL, outcome TEXT, message TEXT, value REAL,
  metrics TEXT, summary TEXT, seconds TEXT, cpu_seconds REAL, curve TEXT, log TEXT,
  interim TEXT, early TEXT, verified TEXT, sandbox TEXT, scoring_cpu REAL);
CREATE INDEX trials_by_head ON trials(head, candidate);
CREATE TABLE verdicts(
  id INTEGER PRIMARY KEY, candidate INTEGER NOT NULL, head TEXT NOT NULL,
  decision TEXT NOT NULL, evidence TEXT NOT NULL, sandbox TEXT,
  created REAL NOT NULL);
CREATE TABLE units(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  target TEXT NOT NULL, nodeids TEXT NOT NULL, candidate INTEGER, state TEXT NOT NULL,
  owner TEXT, lane TEXT, device TEXT, current TEXT, location TEXT,
  created REAL NOT NULL, started REAL, finished REAL);
CREATE TABLE llm_calls(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, proposer TEXT, model TEXT,
  input_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
  output_tokens INTEGER, usd REAL NOT NULL, seconds REAL, status TEXT, created REAL);
CREATE TABLE reservations(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, usd REAL NOT NULL);
CREATE TABLE leases(name TEXT PRIMARY KEY, owner TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE lanes(
  session INTEGER NOT NULL, name TEXT NOT NULL, device TEXT, status TEXT, since REAL,
  PRIMARY KEY(session, name));
CREATE TABLE events(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, created REAL NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL);
{AUDITS}
{IDEAS}
{WAITS}
{INDEXES}
{AGENTS}
{ANSWERS}
{PLACES}
"""

# What an older file needs to become the next version.
MIGRATIONS = {
    1: f"""
ALTER TABLE trials ADD COLUMN interim TEXT;
ALTER TABLE trials ADD COLUMN early TEXT;
{AUDITS}
""",
    2: """
ALTER TABLE candidates ADD COLUMN step_tokens REAL;
ALTER TABLE trials ADD COLUMN verified TEXT;
ALTER TABLE trials ADD COLUMN sandbox TEXT;
ALTER TABLE trials ADD COLUMN scoring_cpu REAL;
ALTER TABLE verdicts ADD COLUMN sandbox TEXT
""",
    3: IDEAS + WAITS + INDEXES + AGENTS + ANSWERS,
    4: PLACES,
}
