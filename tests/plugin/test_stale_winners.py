"""A winner whose baseline has moved meanwhile: its runs go on counting, and it has to
win on the new one as well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch_plugin import comparing, judge
from autoresearch_plugin.candidate import Edit
from autoresearch_plugin.idea import Head
from autoresearch_plugin.trial import Budget, Outcome, TrialResult

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
import crowded
from crowded import Crowd

GAIN, MOVED = 0.04, 0.1  # of the candidate, and of what took its baseline's place
NEW = Head("g", crowded.SOURCE + "\n# moved\n", None)


@pytest.fixture(params=["seconds", "steps"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crowd]:
    """A session with two baselines, the second better by `MOVED`."""
    held = crowded.research(tmp_path)
    held.profile.budget = Budget(request.param, 100)  # type: ignore[misc]
    held.ledger.add_head("g", "f", "sha", NEW.source, None)
    for index, value in enumerate((1.1, 1.101, 1.099)):
        run(held, "g", None, value, index)
    yield held
    held.ledger.close()


def run(held: Crowd, head: str, candidate: int | None, value: float, index: int) -> int:
    """Put a run into the ledger; the number of its seed."""
    row = held.ledger._start_trial(held.session, head, candidate, index, "cpu:0")
    summary = {"num_steps": 100, "first_loss": 5.0, "tokens_per_step": 64}
    result = TrialResult(Outcome.OK, metrics={"val_bpb": value}, summary=summary)
    held.ledger.finish_trial(row["id"], result, value, "cpu:0", "100 steps")
    return int(row["seed"])


def winner(held: Crowd, decision: str = "keep") -> int:
    """A candidate with three runs against the first baseline, and this verdict."""
    edit = Edit("set", {"knob": "DEPTH", "value": 9})
    number = crowded.add(held, (edit,), state=decision, effect=-GAIN)
    for index in (1, 2):
        run(held, "h", number, 1.2 - GAIN + (index - 1.5) / 500, index)
    return number


def test_its_runs_count_on_the_new_baseline(held: Crowd) -> None:
    """Each against the baseline that it met; shown is the level of the new one."""
    number = winner(held)
    run(held, "g", number, 1.1 - GAIN, 0)
    asked = comparing.question(held, number, NEW)
    assert [one.head for one in asked.candidate] == ["h", "h", "h", "g"]
    assert [one.stale for one in asked.candidate] == [True, True, True, False]
    verdict = comparing.verdict(held, number, NEW)
    assert (verdict.decision, verdict.n, verdict.head_n) == ("keep", 4, 3)
    assert verdict.d == pytest.approx(-GAIN, abs=0.002)
    assert verdict.sentence.endswith("runs, 3 of them on an older baseline")
    assert verdict.candidate.mean == pytest.approx(1.1 - GAIN, abs=0.002)
    assert verdict.candidate.mean - verdict.baseline.mean == pytest.approx(verdict.d)


def test_a_gain_that_is_gone_there_is_not_kept(held: Crowd) -> None:
    """However strong it was on the old baseline: the new one may have it already."""
    number = winner(held)
    run(held, "g", number, 1.1001, 0)
    verdict = comparing.verdict(held, number, NEW)
    assert (verdict.decision, verdict.proven_lower) == ("discard", False)
    assert verdict.d < -0.02
    assert verdict.e_value > verdict.keep_e


def test_runs_of_a_loser_do_not_count(held: Crowd) -> None:
    """Nor those of a winner by a rule that knows nothing of several baselines."""
    number = winner(held, "discard")
    run(held, "g", number, 1.1 - GAIN, 0)
    assert len(comparing.question(held, number, NEW).candidate) == 1
    number = winner(held)
    run(held, "g", number, 1.1 - GAIN, 0)
    held.rule = judge.RULES["greedy"]
    assert len(comparing.question(held, number, NEW).candidate) == 1


def test_a_baseline_without_runs_is_no_evidence(held: Crowd) -> None:
    """The machine has changed: runs against what it was then do not count."""
    number = winner(held)
    run(held, "g", number, 1.1 - GAIN, 0)
    held.ledger.retire_head_trials("h", "cpu:0")
    assert len(comparing.question(held, number, NEW).candidate) == 1


def test_a_rule_without_stale_runs_is_what_it_was(held: Crowd) -> None:
    """On its own baseline nothing is stale, and a loss is judged by its e-value."""
    number = winner(held)
    asked = comparing.question(held, number, crowded.head())
    assert not any(one.stale for one in asked.candidate)
    simpler = replace(asked, added_lines=-30)
    assert judge.decide(simpler).decision == "keep"
