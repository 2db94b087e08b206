"""Charged budgets from end to end: what a keep costs, it goes on costing."""

from __future__ import annotations


def test_a_cheaper_keep_goes_on_with_the_steps_it_had(project):
    """Half the cost is twice the steps, as candidate and as the next baseline."""
    project.configure("--noise 0.0005 --charge")
    costly = project.target.replace("STEP_COST = 1.0", "STEP_COST = 8.0")
    (project.path / "train.py").write_text(costly)
    project.candidate("half", 'set("STEP_COST", 4.0)', 'set("LR", 0.02)')
    project.candidate("later", 'set("LR", 0.9)', strict=False)
    project.commit()

    result = project.research("-p", "no:xdist")

    assert result.ret == 0, result.stdout.str()
    ledger = project.ledger()
    kept = next(row for row in ledger.candidates() if row["commit_id"])
    assert 0.3 < kept["ratio"] < 0.7
    steps = round(10 / kept["ratio"])
    budgets = {row["budget"] for row in ledger.candidate_trials(kept["id"])}
    assert budgets == {f"{steps} steps"}
    head = ledger.head(ledger.sessions()[-1]["head"])
    assert head["amount"] == steps
    assert {row["budget"] for row in ledger.head_trials(head["id"])} == {
        f"{steps} steps"
    }


def test_without_pairs_a_keep_goes_on_with_the_runs_it_had(project):
    """On a budget in seconds all but the run that chose it count for the baseline."""
    project.configure("--noise 0.0005 --unit seconds --amount 0.2")
    edits = ('set("LR", 0.02)', 'set("WIDTH", 9)', 'set("DECAY", True)')
    project.candidate("better", *edits)
    project.commit()

    result = project.research("-p", "no:xdist")

    assert result.ret == 0, result.stdout.str()
    ledger = project.ledger()
    kept = next(row for row in ledger.candidates() if row["commit_id"])
    runs = [row["value"] for row in ledger.candidate_trials(kept["id"])]
    head = ledger.sessions()[-1]["head"]
    assert len(runs) >= 2
    assert [row["value"] for row in ledger.head_trials(head)] == runs[1:]


PRICES = """
from autoresearch_plugin.executors import pace

def measure(parent, candidate, check, *, steps, clock, known=None, rough=False):
    assert rough == (known is None)
    return pace.Pace(rounds=1) if rough else pace.Pace(ratio=1.25, rounds=2)

pace.measure = measure
"""


def test_a_price_is_made_exact_before_anything_rests_on_it(project):
    """What loses at a price that is about 1 is out; what does not is measured exactly,
    and tried again if that run was not what it may have."""
    project.configure("--noise 0.0005 --charge")
    (project.path / "conftest.py").write_text(PRICES)
    project.candidate("better", 'set("LR", 0.02)', 'set("DECAY", True)')
    project.candidate("loser", 'set("LR", 0.9)', strict=False)
    project.commit()

    result = project.research("-p", "no:xdist")

    assert result.ret == 0, result.stdout.str()
    ledger = project.ledger()
    better, loser = ledger.candidates()
    made = [(t["budget"], t["outcome"]) for t in ledger.candidate_trials(better["id"])]
    assert made == [("10 steps", "waited"), *[("8 steps", "ok")] * 2]
    assert (better["state"], better["ratio"]) == ("keep", 1.25)
    made = [(t["budget"], t["outcome"]) for t in ledger.candidate_trials(loser["id"])]
    assert made == [("8 steps", "ok")]  # as the new baseline has them
    assert (loser["state"], loser["ratio"]) == ("discard", None)
    assert "a step costs 1.25 of its parent's, so once more" in result.stdout.str()
