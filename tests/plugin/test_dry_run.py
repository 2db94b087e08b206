"""Before anything is spent: the estimate, and a session that only asks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers lie beside the tests
from messages_server import proposal, status
from test_agents_session import agent, served, session

from autoresearch_plugin.estimate import Estimate, brief, lines

DRY = "--autoresearch-dry-run"
SIZE = Estimate(
    lanes=2,
    max_runs=8,
    generated=6,
    hand=3,
    baseline=3,
    seconds=30.0,
    hours=None,
    gpu_hours=2.0,
    max_usd=10.0,
    call_usd=0.25,
)


def change(title: str, **knobs: object) -> dict[str, Any]:
    """A proposal that sets knobs."""
    edits = [{"op": "set", "knob": name, "value": knobs[name]} for name in knobs]
    return {"title": title, "hypothesis": "why", "category": "batch", "edits": edits}


def trained(project: Any) -> int:
    """Runs in the ledger, of whatever session."""
    return len(project.ledger()._query("SELECT id FROM trials"))


# --------------------------------------------------------------------- the estimate


def test_an_estimate_says_runs_time_device_and_dollars() -> None:
    """Fewest and most, on these lanes, under these caps."""
    assert list(lines(SIZE)) == [
        "runs    6 generated and 3 hand-written candidates, 1 to 8 runs each, 3 of the "
        "baseline first: 12 to 75 runs; a keep adds 3 or more of the new baseline",
        "time    about 30 s a run: 3.0 min to 18.8 min on 2 lanes",
        "device  0.1 to 0.62 device-hours; no new work after 2 device-hours",
        "LLM     at most $10.00 (--autoresearch-max-usd), at most $0.25 a call: 40 "
        "calls or more",
    ]
    assert brief(SIZE) == (
        "estimate: generated candidates take 12 to 75 runs, 3.0 min to 18.8 min on 2 "
        "lanes; LLM: at most $10.00 (--autoresearch-max-usd), at most $0.25 a call: 40 "
        "calls or more"
    )


def test_an_estimate_says_what_is_not_known() -> None:
    """No number of candidates, no run yet, somebody else's program."""
    one = Estimate(1, 8, None, 0, 3, None, 5.0, None, 10.0, unpriced=("command",))

    assert list(lines(one)) == [
        "runs    any number of generated and 0 hand-written candidates, 1 to 8 runs "
        "each, 3 of the baseline first; a keep adds 3 or more of the new baseline",
        "time    not known before the first run here",
        "device  no cap (--autoresearch-gpu-hours)",
        "LLM     what command costs is not known here",
    ]
    assert "no number of candidates is set" in brief(one)


# ------------------------------------------------------------------------ a session


@pytest.fixture(scope="module")
def model(new_project: Any) -> Any:
    """A model asked in a dry run, and again; then the session itself."""
    project = new_project("dry")
    project.candidate("mine", "set('WIDTH', 5)")
    project.commit()
    words = ("--autoresearch-experiments=2", "--autoresearch-max-usd=5")
    with served(proposal(change("burn", LR=0.9))) as server:
        project.ran = session(project, *words, DRY)
        project.asked = len(server.requests)
        project.left = sorted(
            str(path.relative_to(project.path))
            for name in ("autoresearch-report", "experiments")
            for path in (project.path / name).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )
        project.trained = trained(project)
        project.again = session(project, *words, DRY)
        project.asked_again = len(server.requests)
        project.row = project.ledger().session(1)
    with served(proposal(change("cool", LR=0.8))) as server:
        project.after = session(project, *words)
        project.asked_after = len(server.requests)
    return project


def test_a_dry_run_shows_what_would_be_tried(model: Any) -> None:
    """Title, reason, category and the change itself, behind bars."""
    text = model.ran.text

    assert model.ran.ret == 0, text
    assert "autoresearch main: dry run, nothing trained" in text
    assert "#001 burn (batch)" in text
    assert "        why" in text
    assert "| -LR = 0.1 " in text
    assert "| +LR = 0.9 " in text
    assert "asking anthropic, claude-" in text


def test_a_dry_run_says_what_the_session_may_cost(model: Any) -> None:
    """The hand-written candidate counts; so does the call just made."""
    text = model.ran.text

    assert "runs    2 generated and 1 hand-written candidates, 1 to 8 runs" in text
    assert "6 to 27 runs" in text
    assert "LLM     at most $5.00 (--autoresearch-max-usd, $0." in text
    assert "estimate: generated candidates take 5 to 19 runs; LLM: at most" in text


def test_a_dry_run_trains_nothing(model: Any) -> None:
    """One call, no run, no test; its file has a name that pytest never collects."""
    assert model.asked == 1
    assert model.trained == 0
    assert "::test_" not in model.ran.text
    assert model.left == [
        "autoresearch-report/.gitignore",
        "autoresearch-report/dry-run/.gitignore",
        "autoresearch-report/dry-run/0001_burn.py",
        "experiments/_generated/.gitignore",
        "experiments/test_mine.py",
    ]


def test_a_second_dry_run_asks_nobody(model: Any) -> None:
    """What waits was paid for; it is shown again."""
    assert model.again.ret == 0, model.again.text
    assert model.asked_again == 1
    assert "#001 burn (batch)" in model.again.text
    assert (model.row["state"], model.row["reason"]) == ("interrupted", "dry run")


def test_the_session_begins_with_what_was_paid_for(model: Any) -> None:
    """The command on the last line, without the option: resumed, the call counted."""
    words = "--autoresearch -pno:xdist --autoresearch-experiments=2"
    calls = model.ledger().calls(1)

    assert (
        f"next    pytest {words} --autoresearch-max-usd=5   (trains" in model.ran.text
    )
    assert model.after.ret == 0, model.after.text
    assert ", resumed" in model.after.text
    assert model.asked_after == 1
    assert len(calls) == 2
    assert "in 2 calls" in model.after.text
    rows = model.ledger().candidates(1)
    assert {row["title"]: row["state"] for row in rows if row["kind"] != "hand"} == {
        "burn": "discard",
        "cool": "discard",
    }


def test_each_agent_is_asked_once(new_project: Any) -> None:
    """Under -n too; whoever cannot be asked is named, and the exit code is 1."""
    project = new_project("dry-agents")
    agent(project, "ann", proposer="tpe")
    agent(project, "bob", proposer="command:false")
    agent(project, "cy", proposer=project.script(one={"LR": 0.5}).partition("=")[2])
    project.commit()
    ran = project.run("--autoresearch", "-n2", DRY)
    text = ran.stdout.str() + ran.stderr.str()

    assert ran.ret == 1, text
    assert [row["agent"] for row in project.ledger().candidates()] == ["ann", "cy"]
    assert "failed  bob: command, false: " in text
    assert "#002 of cy one (other)" in text
    assert "on 2 lanes" not in text  # no run was measured yet
    assert "what command costs is not known here" in text
    assert trained(project) == 0
    assert "workers" not in text


def test_a_model_that_does_not_answer_is_found_in_time(new_project: Any) -> None:
    """A refused key: exit 1, in words, nothing spent."""
    project = new_project("dry-key")
    project.commit()
    with served(status(401, "invalid x-api-key")):
        ran = session(project, DRY)

    assert ran.ret == 1, ran.text
    assert "failed  anthropic, claude-" in ran.text
    assert "HTTP 401" in ran.text
    assert "Traceback" not in ran.text
    assert "trains)" in ran.text


def test_a_call_above_the_cap_is_not_made(new_project: Any) -> None:
    """A cap below one call: said, and no request leaves the machine."""
    project = new_project("dry-cap")
    project.commit()
    with served(proposal(change("burn", LR=0.9))) as server:
        ran = session(project, DRY, "--autoresearch-max-usd=0.01")
        asked = len(server.requests)

    assert ran.ret == 0, ran.text
    assert asked == 0
    assert "more than is left under the spending cap" in ran.text
    assert "a call: 0 calls or more" in ran.text


def test_a_dry_run_of_nothing_is_a_usage_error(new_project: Any) -> None:
    """Without --autoresearch a plain run would train what it is given."""
    project = new_project("dry-plain")
    project.candidate("mine", "set('WIDTH', 5)")
    project.commit()
    ran = project.run(DRY, "experiments/test_mine.py")

    assert ran.ret == 4
    assert "so it needs --autoresearch; nothing was run." in ran.stderr.str()


def test_a_model_that_costs_nothing_has_an_estimate() -> None:
    """A gateway of one's own may be free: no cap limits its calls."""
    free = replace(SIZE, call_usd=0.0)
    assert free.calls is None
    assert all(isinstance(line, str) for line in [*lines(free), brief(free)])
