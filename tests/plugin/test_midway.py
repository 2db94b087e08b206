"""Losers are stopped inside their first run, and the rule watches itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from autoresearch_plugin import early, midway
from tests.plugin.conftest import Project

SLOW = {"STEP_COST": 80.0}  # long enough after its interim score to be stopped
INTERIM = "--interim --noise 0.001"


def fillers(count: int = early.LEAST) -> dict[str, dict[str, object]]:
    """Candidates that the rule learns from: clearly worse, and complete."""
    return {f"filler_{i}": {"WIDTH": 4.0 - 0.1 * (i + 1)} for i in range(count)}


@dataclass
class Seen:
    """A finished session, what it printed, and a loser that was stopped in it."""

    project: Project
    printed: str
    row: dict[str, Any]

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All runs of the session."""
        return self.project.ledger().session_trials(1)


@pytest.fixture
def stopped(project: Project) -> Seen:
    """A session whose last candidates are slow losers: three, for one may be spared."""
    project.configure(INTERIM)
    project.commit()
    losers = {f"loser_{i}": {"LR": 5.0 + i, **SLOW} for i in range(3)}
    script = project.script(**fillers(), **losers)
    result = project.research(script, "--autoresearch-experiments=99")
    assert result.ret == 0, result.stdout.str()
    row = next(
        row
        for row in project.ledger().candidates()
        if row["title"].startswith("loser") and "stopped at" in row["reason"]
    )
    return Seen(project, result.stdout.str(), row)


def test_a_loser_ends_at_40_percent(stopped: Seen) -> None:
    """Its verdict says where it was heading; no score of its own is claimed."""
    row = stopped.row
    assert row["state"] == "discard"
    assert row["reason"].startswith("discard: heading for 2.")
    assert row["reason"].endswith("; stopped at 40 % of its first run")
    nothing = {"mean": None, "sd": row["evidence"]["sigma"], "n": 0}
    assert row["evidence"]["candidate"] == nothing
    (trial,) = stopped.project.ledger().candidate_trials(row["id"])
    assert (trial["outcome"], trial["value"]) == ("stopped-early", None)
    assert (trial["early"], trial["interim"]["step"]) == ("stopped", 4)


def test_people_read_that_it_was_stopped(stopped: Seen) -> None:
    """The closing screen counts it, results.tsv leaves its number empty."""
    count = sum(trial["early"] == "stopped" for trial in stopped.trials)
    assert f"; {count} stopped inside their run" in stopped.printed
    report = stopped.project.path / "autoresearch-report" / "results.tsv"
    title = stopped.row["title"]
    (line,) = (x for x in report.read_text().splitlines() if x.endswith(f"\t{title}"))
    assert line.split("\t")[1] == ""
    assert line.split("\t")[3] == "discard"


def test_an_equal_candidate_is_answered_from_the_ledger(stopped: Seen) -> None:
    """A stopped loser is not run again, unless all are to run to their end."""
    rate = stopped.row["edits"][0]["value"]
    edits = 'set("STEP_COST", 80.0)', f'set("LR", {rate})'
    stopped.project.candidate("again", *edits)
    before = len(stopped.trials)
    stopped.project.run("experiments/test_again.py")
    row = stopped.project.ledger().candidates()[-1]
    assert "decided before as" in row["reason"]
    assert len(stopped.trials) == before
    stopped.project.run("experiments/test_again.py", "--autoresearch-stop-early=never")
    row = stopped.project.ledger().candidates()[-1]
    assert stopped.project.ledger().good_trials(row["id"], row["head"])


def test_never_means_never(project: Project) -> None:
    """No run is asked for a score in mid-run then."""
    project.configure(INTERIM)
    project.commit()
    script = project.script(**fillers(2))
    options = "--autoresearch-stop-early=never", "--autoresearch-experiments=2"
    assert project.research(script, *options).ret == 0
    assert project.ledger().session_trials(1)
    assert all(t["interim"] is None for t in project.ledger().session_trials(1))


def test_a_command_without_interim_scores_is_not_asked(project: Project) -> None:
    """`describe` says whether a command can."""
    project.configure("--no-interim")
    project.commit()
    project.research(project.script(**fillers(1)), "--autoresearch-experiments=1")
    assert all(t["interim"] is None for t in project.ledger().session_trials(1))


def test_winners_and_near_losers_run_to_their_end(project: Project) -> None:
    """Only what cannot win any more is stopped."""
    project.configure(INTERIM)
    project.commit()
    script = project.script(**fillers(), good={"DECAY": True, **SLOW})
    project.research(script, "--autoresearch-experiments=99")
    assert project.states()["good"] == "keep"


# ------------------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("line", "crosses"),
    [
        ("WARMDOWN_RATIO = 0.7  # share of the budget", True),
        ("BATCH_SCALE = 0.5", True),
        ("EMBEDDING_LR = 0.8  # at width 768, before weight decay", False),
        ("    x = F.gelu(x)", False),
    ],
)
def test_curves_that_may_cross_are_known_by_their_words(
    line: str, crosses: bool
) -> None:
    """Schedule, batch and size in code that changed; comments do not count."""
    diff = f"--- a/depth.py\n+++ b/depth.py\n@@ -1 +1 @@\n schedule\n-old\n+{line}\n"
    found = midway.CROSSING_WORDS.search(midway.changed_code(diff))
    assert bool(found) is crosses


Rows = Callable[..., list[dict[str, object]]]


def row(early_: str | None, seconds: float, cost: float = 0.1) -> dict[str, object]:
    """A first run that was scored in mid-run."""
    outcome = "stopped-early" if early_ == "stopped" else "ok"
    interim = {"value": 1.0, "seconds": cost}
    return {
        "early": early_, "started": 0.0, "finished": seconds, "outcome": outcome,
        "interim": interim,
    }  # fmt: skip


class Told:
    """A ledger that knows these runs and nothing else."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows
        self.ledger = self
        self.fingerprint = "f"

    def midway_trials(self, fingerprint: str) -> list[dict[str, object]]:
        """The runs."""
        return json.loads(json.dumps(self.rows))  # type: ignore[no-any-return]


def account(*rows: dict[str, object]) -> midway.Account:
    """The account of these runs after those that nobody could be stopped in."""
    before = [row(None, 10.0) for _ in range(early.LEAST)]
    return midway.account(Told([*before, *rows]))  # type: ignore[arg-type]


def test_what_it_saves_and_costs_is_counted() -> None:
    """Saved: the rest of a usual run for each one stopped; spent: every scoring."""
    found = account(row("stopped", 4.0), row(None, 10.0), row("spared", 10.0))
    assert found.looked_at == 3
    assert found.saved == pytest.approx(6.0)
    assert found.spent == pytest.approx(0.3)


def test_it_ends_where_it_does_not_pay() -> None:
    """After enough runs without a stop the scoring itself is saved."""
    assert account(*[row(None, 10.0)] * (midway.PAYS_AFTER - 1)).pays
    assert not account(*[row(None, 10.0)] * midway.PAYS_AFTER).pays
    runs = [row(None, 10.0)] * midway.PAYS_AFTER
    assert account(*runs, row("stopped", 4.0)).pays


def test_a_claimed_cost_is_no_larger_than_the_run() -> None:
    """The seconds are the command's own word."""
    assert account(row(None, 10.0, cost=1e9)).spent == pytest.approx(10.0)
