"""What real sessions decided: from ledgers to a file of candidates, and to a table.

    python tests/acceptance/collect.py add results.jsonl .autoresearch/ledger.db ...
    python tests/acceptance/collect.py summarise results.jsonl

A ledger is copied before it is read, so that a running session is not disturbed, and
may be added again later: what is in the file already is not added twice.

Candidates of one session are compared with the same runs of their baseline, and have
its seeds. Where a null hardly moves the metric (rate and algebra in short runs) all of
them have the same luck, and a hundred of them are little more than one. The bound below
takes candidates as independent; only several sessions make it true.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sqlite3
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from autoresearch_plugin import judge
from autoresearch_plugin.evidence import e_value
from autoresearch_plugin.ledger import Ledger, Row

Record = dict[str, Any]

DECIDED = ("keep", "discard", "crash")
KINDS = (  # of a title, as nulls.py and planted.py write them
    (r"^\d+ more random draws$", "draws"),
    (r"^\w+ off by -?\d+ millionths$", "rate"),
    (r"^algebra \d+:", "algebra"),
    (r"^planted (.+) no\. \d+$", "planted"),
)
NULLS = ("draws", "rate", "algebra")


# -------------------------------------------------------------------- from ledgers


@contextmanager
def snapshot(path: Path) -> Iterator[Ledger]:
    """A ledger as it is at this moment; the file itself is only read."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "ledger.db"
        address = f"{path.resolve(strict=True).as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        ledger = Ledger(copy)
        try:
            yield ledger
        finally:
            ledger.close()


def records(ledger: Ledger) -> Iterator[Record]:
    """One record for each candidate that was measured and decided."""
    name = ledger.seed("the name of this ledger", 0)
    for session in ledger.sessions():
        sign = sign_of(session)
        rows = ledger.candidates(session["id"])
        versions = [r["evidence"]["rule_version"] for r in rows if r["evidence"]]
        own = {
            "ledger": name,
            "session": session["tag"],
            "rule": json.loads(session["settings"]).get("rule"),
            "rule_version": versions[-1] if versions else None,
        }
        for row in rows:
            trials = ledger.candidate_trials(row["id"])
            if row["state"] in DECIDED and (row["evidence"] or trials):
                yield own | _record(ledger, row, trials, sign)


def sign_of(session: Row) -> float:
    """Multiply a session's metric by this and lower is better."""
    profile = json.loads(session["profile"] or "{}")
    return -1.0 if profile.get("direction") == "max" else 1.0


def _record(ledger: Ledger, row: Row, trials: list[Row], sign: float) -> Record:
    mine = ledger.good_trials(row["id"], row["head"])
    base = {_batches(trial): trial for trial in ledger.head_trials(row["head"])}
    partners = [base.get(_batches(trial)) for trial in mine]
    verdict = row["evidence"] or {}
    e = verdict.get("e_value")
    record: Record = {
        "number": row["id"],
        "title": row["title"],
        "kind": kind_of(row["title"]),
        "state": row["state"],
        "reason": row["reason"],
        "runs": len(trials),
        "seeds": [trial["seed"] for trial in mine],
        "values": [sign * trial["value"] for trial in mine],
        "head_values": [sign * trial["value"] if trial else None for trial in partners],
        **{key: verdict.get(key) for key in ("d", "q", "sigma", "df", "paired")},
        "e": e,
        "grade": judge.grade(e) if row["state"] == "keep" and e is not None else None,
        "device_seconds": sum(t["finished"] - t["started"] for t in trials),
        "curve_differs": _differs(ledger, mine, partners),
    }
    if verdict:
        record |= {key: verdict[key] for key in ("rule", "rule_version")}
    record["e_first"] = _first_e(record, verdict, sign) if mine and verdict else None
    return record


def _batches(trial: Row) -> tuple[int, float | None]:
    """Runs with the same seed and the same tokens per step saw the same batches."""
    return trial["seed"], trial["summary"].get("tokens_per_step")


def kind_of(title: str) -> str:
    """`draws`, `rate`, `algebra`, `planted EFFECT`, or `other`."""
    for pattern, kind in KINDS:
        if found := re.search(pattern, title):
            return " ".join([kind, *found.groups()])
    return "other"


def _differs(
    ledger: Ledger, mine: list[Row], partners: list[Row | None]
) -> bool | None:
    """Whether a loss curve leaves the partner's; None if no step was seen of both."""
    pairs = [
        (loss, others[step])
        for trial, partner in zip(mine, partners, strict=True)
        for others in [_curve(ledger, partner) if partner else {}]
        for step, loss in _curve(ledger, trial).items()
        if step in others
    ]
    return any(one != other for one, other in pairs) if pairs else None


def _curve(ledger: Ledger, trial: Row) -> dict[int, float]:
    """Step: loss."""
    rows = ledger._query("SELECT curve FROM trials WHERE id=?", trial["id"])
    return dict(json.loads(rows[0]["curve"] or "[]"))


def _first_e(record: Record, verdict: Row, sign: float) -> float | None:
    """The e-value after the first run.

    A ledger keeps the last verdict only: where more runs followed, its noise stands in.
    """
    e: float | None = record["e"]
    if len(record["values"]) == 1 and e is not None:
        return e
    head = record["head_values"][0]
    if not record["paired"]:
        head = sign * verdict["baseline"]["mean"]
    if head is None or not record["sigma"]:
        return None
    root = math.sqrt(1 if record["paired"] else 1 + 1 / verdict["head_n"])
    gain = head - record["values"][0] - (verdict["hurdle"] or 0.0)
    return e_value(gain / record["sigma"] / root, judge.DEFAULT.mu / root, record["df"])


def add(results: Path, ledgers: Iterable[Path]) -> int:
    """Append what is new in these ledgers; how many records that were."""
    known = {(old["ledger"], old["number"]) for old in read(results)}
    added = 0
    with results.open("a", encoding="utf-8") as file:
        for path in ledgers:
            with snapshot(path) as ledger:
                for record in records(ledger):
                    if (record["ledger"], record["number"]) not in known:
                        file.write(json.dumps(record) + "\n")
                        added += 1
    return added


def read(results: Path) -> list[Record]:
    """The records of a file; none if there is no file."""
    if not results.exists():
        return []
    text = results.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


# ----------------------------------------------------------------------- in a table


def summarise(found: Sequence[Record]) -> Iterator[str]:
    """Lines of Markdown: for each rule a table of nulls and one of planted effects."""
    rules = {f"{r['rule']}, version {r['rule_version']}" for r in found}
    for rule in sorted(rules):
        mine = [r for r in found if f"{r['rule']}, version {r['rule_version']}" == rule]
        yield from ("", f"### Rule {rule}", "")
        yield from _nulls([r for r in mine if not r["kind"].startswith("planted ")])
        yield from _planted([r for r in mine if r["kind"].startswith("planted ")])


def _nulls(found: list[Record]) -> Iterator[str]:
    if not found:
        return
    yield (
        "| kind | candidates | kept | per 100 | at most (95 %) | runs each | pairs: "
        "mean ± sd | curves differ | mean E at one run |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for kind in sorted({record["kind"] for record in found}):
        yield _null_row(kind, [r for r in found if r["kind"] == kind])
    if nulls := [record for record in found if record["kind"] in NULLS]:
        yield _null_row("**all nulls**", nulls)


def _null_row(name: str, found: list[Record]) -> str:
    kept, count = _kept(found), len(found)
    curves = [r["curve_differs"] for r in found if r["curve_differs"] is not None]
    first = [r["e_first"] for r in found if r["e_first"] is not None]
    cells = (
        *(name, str(count), str(kept), f"{100 * kept / count:.2f}"),
        f"{100 * at_most(kept, count):.2f}",
        f"{_mean([r['runs'] for r in found]):.2f}",
        _spread(list(_differences(found))),
        f"{sum(curves)} of {len(curves)}",
        f"{_mean(first):.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _planted(found: list[Record]) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield "| planted | tried | kept | not kept | out after one run | runs each | d |"
    yield "|---|---|---|---|---|---|---|"
    for kind in sorted({record["kind"] for record in found}):
        group = [record for record in found if record["kind"] == kind]
        at_once = sum(r["state"] != "keep" and r["runs"] <= 1 for r in group)
        cells = (
            kind.removeprefix("planted "),
            *map(str, (len(group), _kept(group), len(group) - _kept(group), at_once)),
            f"{_mean([r['runs'] for r in group]):.2f}",
            _spread([r["d"] for r in group if r["d"] is not None]),
        )
        yield f"| {' | '.join(cells)} |"


def at_most(kept: int, count: int, level: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a share, by bisection."""
    low, high = kept / count, 1.0
    if kept == count:
        return 1.0
    for _ in range(60):
        p = (low + high) / 2
        below = math.fsum(
            math.comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(kept + 1)
        )
        low, high = (p, high) if below > 1 - level else (low, p)
    return high


def _kept(found: list[Record]) -> int:
    return sum(record["state"] == "keep" for record in found)


def _differences(found: list[Record]) -> Iterator[float]:
    for record in found:
        for own, head in zip(record["values"], record["head_values"], strict=True):
            if head is not None:
                yield own - head


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _spread(values: Sequence[float]) -> str:
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{_mean(values):+.2e} ± {sd:.2e} ({len(values)})"


def main(words: Sequence[str] | None = None) -> None:
    """Add ledgers to a file, or print the table of a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("add", "summarise"):
        command = commands.add_parser(name)
        command.add_argument("results", type=Path)
        if name == "add":
            command.add_argument("ledgers", type=Path, nargs="+")
    options = parser.parse_args(words)
    if options.command == "add":
        print(f"{add(options.results, options.ledgers)} candidates added")
    else:
        print("\n".join(summarise(read(options.results))).strip())


if __name__ == "__main__":
    main()
