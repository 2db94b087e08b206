"""Audits every baseline that a session has had: new seeds, hidden text.

    python tests/acceptance/audit_heads.py PROJECT NAME audit.jsonl --seeds 4 --part 0/2

A session's own audit looks at its two ends. This one trains each head, or `--heads` of
them, evenly spread, with the same new seeds, and writes a line a run, with the number
of the candidate that became the head (0: the first one). It goes on where it was cut
off; several parts may run at once, each on a device of its own. What comes out is drawn
by claimed_vs_audited.py.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from autoresearch_plugin.devices import discover, lease
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.loop import Research
from autoresearch_plugin.session import join_session, open_ledger
from autoresearch_plugin.settings import remembered

BANK = "audit of every head"  # seeds that no session draws


def heads(ledger: Ledger, session: int) -> list[tuple[int, str]]:
    """Candidate and head of every baseline of a session, in their order."""
    found = [(0, str(ledger.session(session)["first_head"]))]
    keeps = [c for c in ledger.candidates(session) if c["commit_id"]]
    for keep in sorted(keeps, key=lambda row: row["decided"]):
        rows = ledger._query(
            "SELECT id FROM heads WHERE commit_id=?", keep["commit_id"]
        )
        found += [(keep["id"], row["id"]) for row in rows[:1]]
    return found


def spread(found: Sequence[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """At most so many of them, the first and the last among them."""
    if len(found) <= most:
        return list(found)
    places = {round(i * (len(found) - 1) / (most - 1)) for i in range(most)}
    return [found[place] for place in sorted(places)]


def todo(
    chosen: Sequence[tuple[int, str]],
    seeds: Sequence[int],
    made: set[tuple[int, int]],
    part: tuple[int, int],
) -> Iterator[tuple[int, str, int]]:
    """Runs that this part has to make: seed after seed, so that an audit that is cut
    off has as many of each head."""
    number, parts = part
    runs = [(who, head, seed) for seed in seeds for who, head in chosen]
    for who, head, seed in runs[number::parts]:
        if (who, seed) not in made:
            yield who, head, seed


def read(path: Path, name: str) -> list[dict[str, Any]]:
    """The lines of one session."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["session"] == name]


def hold(project: Path, number: int) -> Research:
    """A hold of the project's last research session, on the device of that number."""
    with closing(open_ledger(project)) as ledger:
        rows = [row for row in ledger.sessions() if row["kind"] == "research"]
    settings = remembered(rows[-1]["settings"])
    devices = discover(os.environ, settings.devices)
    device = devices[number % len(devices)]
    research = join_session(project, settings, rows[-1]["id"], device, f"audit{number}")
    research.heeds_stop = False
    return research


def main(words: Sequence[str] | None = None) -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("name", help="what the session is called in the file")
    parser.add_argument("out", type=Path, help="lines are added to it")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--heads", type=int, default=12, help="at most so many")
    parser.add_argument("--part", default="0/1", metavar="I/N")
    options = parser.parse_args(words)
    number, parts = map(int, options.part.split("/"))
    research = hold(options.project.resolve(), number)
    with closing(research.ledger) as ledger, lease(research.device, wait=True) as held:
        research.executor.lease = held
        chosen = spread(heads(ledger, research.session), options.heads)
        seeds = [ledger.seed(BANK, index) for index in range(options.seeds)]
        made = {(r["candidate"], r["seed"]) for r in read(options.out, options.name)}
        for who, head, seed in todo(chosen, seeds, made, (number, parts)):
            label = f"audit of #{who:03d}"
            result = research.hidden_score(research.head_of(head), seed, None, label)
            value = result.metrics.get(research.metric)
            row = {"session": options.name, "candidate": who, "seed": seed}
            with options.out.open("a") as file:
                file.write(json.dumps({**row, "value": value}) + "\n")
            print(f"{label}, seed {seed}: {value} {result.message}", flush=True)


if __name__ == "__main__":
    main()
