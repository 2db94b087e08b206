"""Proposers in a session: scripts, programs, classes, and what they may not do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoresearch_plugin import requesting
from autoresearch_plugin.idea import Head
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.proposing import ProposerThread
from autoresearch_plugin.trial import Estimate

PROGRAM = '''"""Reads the request, proposes once, then nothing any more."""
import json, sys
request = json.load(sys.stdin)
assert "LR = 0.1" in request["source"] and request["metric"] == "score"
if not request["tried"]:
    edits = [{"op": "set", "knob": "LR", "value": 0.9}]
    print(json.dumps({"title": "from outside", "hypothesis": "h", "edits": edits}))
'''
CLASSES = '''"""Proposers of the user's own."""
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import ProposerError
from autoresearch_plugin.proposers import Answer, Exhausted

class Mine:
    name = "mine"
    def propose(self, request):
        if request.number:
            raise Exhausted("that was all.")
        edits = [{"op": "set", "knob": "LR", "value": 0.9}]
        return Answer((Proposal.from_data({"title": "from a class", "edits": edits}),))

class Twins:
    name = "twins"
    def propose(self, request):
        if request.number:
            raise Exhausted("that was all.")
        other = {"op": "replace", "old": 'MISBEHAVE = ""', "new": 'MISBEHAVE="crash"'}
        edits = [{"op": "set", "knob": "MISBEHAVE", "value": "crash"}], [other]
        return Answer(tuple(
            Proposal.from_data({"title": f"twin {n}", "edits": edit})
            for n, edit in enumerate(edits)
        ))

class Broken:
    name = "broken"
    def propose(self, request):
        raise ZeroDivisionError("a bug of mine")

class Leaving:
    name = "leaving"
    def propose(self, request):
        raise SystemExit("no licence for my library")

class Silent:
    name = "silent"
    def propose(self, request):
        raise ProposerError("no answer from my model.")
'''


@pytest.fixture(scope="module")
def project(new_project: Any) -> Any:
    """A project with proposers of the user's own."""
    made = new_project("proposing")
    (made.path / "program.py").write_text(PROGRAM)
    (made.path / "classes.py").write_text(CLASSES)
    made.commit()
    return made


def session(project: Any, *words: str) -> Any:
    """A session in one process; result with `rows`, its candidates."""
    ran = project.research("-pno:xdist", *words)
    number = project.ledger().sessions()[-1]["id"]
    ran.rows = project.ledger().candidates(number)
    ran.states = {row["title"]: row["state"] for row in ran.rows}
    ran.text = ran.stdout.str() + ran.stderr.str()
    runs = project.ledger().session_trials(number)
    ran.runs = len([row for row in runs if row["candidate"] is not None])
    return ran


def knob(value: float) -> dict[str, object]:
    """An edit of the learning rate."""
    return {"op": "set", "knob": "LR", "value": value}


def test_a_duplicate_is_refused_in_any_spelling(new_project: Any) -> None:
    """Neither equal edits nor an equal program become a candidate; another value does,
    and what was found the first time is quoted."""
    project = new_project("duplicates")
    project.commit()
    other = {"op": "replace", "old": "LR = 0.1  #", "new": "LR =  9e-1  # rate"}
    moved = {"op": "replace", "old": "WIDTH = 4  # units;", "new": "WIDTH = 4  #"}
    script = project.script(
        first={"LR": 0.9},
        again={"LR": 0.9},
        spelled={"edits": [other, moved]},
        value={"LR": 0.8},
    )
    ran = session(project, script, "--autoresearch-experiments=5")

    assert ran.ret == 0, ran.text
    assert ran.states == {"first": "discard", "value": "discard"}
    assert ran.text.count("already tried as #1: ") == 2
    assert ran.runs == 2


def test_what_cannot_be_used_costs_no_run(new_project: Any) -> None:
    """No JSON, a misfit, another file, a no-op: refused, said, not one run."""
    project = new_project("refused")
    project.commit()
    script = project.script(
        misfit={"edits": [{"op": "replace", "old": "nowhere", "new": "x"}]},
        elsewhere={"file": "conftest.py", "edits": [knob(0.9)]},
        same={"edits": [knob(0.1)]},
        nothing={"edits": []},
    )
    path = project.path.with_name(f"{project.path.name}-proposals.jsonl")
    path.write_text(path.read_text() + "this is no JSON\n")
    ran = session(project, script)

    assert ran.ret == 0, ran.text
    assert ran.rows == []
    assert ran.runs == 0
    assert "5 answers of the proposer could not be used (no run spent)" in ran.text
    for words in ("line 1: ", "'conftest.py', but only train.py", "line 5 is no JSON"):
        assert words in ran.text


def test_of_two_equal_proposals_at_once_one_is_run(
    new_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither could be compared with the other; a crash need not be seen twice."""
    project = new_project("twins")
    (project.path / "classes.py").write_text(CLASSES)
    project.commit()
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=os.pathsep)
    ran = session(project, "--autoresearch-proposer=classes:Twins")

    assert ran.ret == 0, ran.text
    assert ran.states == {"twin 0": "crash", "twin 1": "crash"}
    assert ran.rows[1]["reason"] == "crashed before as #001: error"
    assert ran.runs == 1


def test_a_program_proposes(project: Any) -> None:
    """command:CMD end to end: request on stdin, proposal on stdout, a verdict."""
    program = project.path / "program.py"
    ran = session(project, f"--autoresearch-proposer=command:{{python}} {program}")

    assert ran.ret == 0, ran.text
    assert ran.states == {"from outside": "discard"}
    assert ran.rows[0]["proposer"] == "command"
    assert "the program proposed nothing, so it has no more ideas." in ran.text


def test_a_program_that_fails_is_replaced_by_the_search(new_project: Any) -> None:
    """A proposer that gives up does not end the session; the summary says who did."""
    project = new_project("failing")
    program = project.path / "fails.py"
    program.write_text("raise SystemExit('no model today')\n")
    project.commit()
    words = f"--autoresearch-proposer=command:{{python}} {program}"
    ran = session(project, words, "--autoresearch-experiments=1")

    assert ran.ret == 0, ran.text
    assert [row["proposer"] for row in ran.rows] == ["tpe"]
    assert "command does not answer, tpe fills in until it does: " in ran.text
    assert "no model today" in ran.text


def test_a_class_proposes(new_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODULE:CLASS end to end."""
    project = new_project("class")
    (project.path / "classes.py").write_text(CLASSES)
    project.commit()
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=os.pathsep)
    ran = session(project, "--autoresearch-proposer=classes:Mine")

    assert ran.ret == 0, ran.text
    assert ran.states == {"from a class": "discard"}
    assert ran.rows[0]["proposer"] == "mine"
    assert "that was all." in ran.text


@pytest.mark.parametrize(
    ("name", "words", "lanes"),
    [
        ("Broken", "ZeroDivisionError: a bug of mine", "-n2"),
        ("Broken", "ZeroDivisionError: a bug of mine", "-n0"),
        ("Leaving", "SystemExit: no licence for my library", "-n0"),
    ],
)
def test_a_proposer_with_a_bug_is_a_failure(
    project: Any, monkeypatch: pytest.MonkeyPatch, name: str, words: str, lanes: str
) -> None:
    """Exit code 1, one sentence, no traceback, and no lane that waits for ever."""
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=os.pathsep)
    proposer = f"--autoresearch-proposer=classes:{name}"
    ran = project.research(proposer, lanes, timeout=60)
    text = ran.stdout.str() + ran.stderr.str()

    assert ran.ret == 1, text
    assert f"the proposer failed: {words}" in text
    assert "Traceback" not in text
    assert project.ledger().sessions()[-1]["state"] == "failed"  # can be resumed


def test_a_file_in_place_of_the_generated_ones_is_said(new_project: Any) -> None:
    """No candidate can be written: a failure in words, and the file stays."""
    project = new_project("in-the-way")
    in_the_way = project.path / "experiments" / "_generated"
    in_the_way.write_text("mine")
    project.commit()
    ran = session(project, project.script(first={"LR": 0.9}))

    assert ran.ret == 1, ran.text
    assert f"cannot make the directory {in_the_way}" in ran.text
    assert "Traceback" not in ran.text
    assert in_the_way.read_text() == "mine"


def test_a_new_branch_keeps_again_what_another_one_kept(new_project: Any) -> None:
    """A keep on another branch is not in this baseline: kept anew, from the ledger."""
    project = new_project("branches")
    project.commit()
    words = (project.script(gain={"LR": 0.02}), "--autoresearch-rule=greedy")
    first = session(project, *words)
    second = session(project, *words, "--autoresearch-tag=other")
    third = session(project, *words, "--autoresearch-tag=other")

    assert first.states == second.states == {"gain": "keep"}, second.text
    assert second.runs == 0
    assert project.git("log", "-1", "--format=%s", "autoresearch/other") == "gain"
    assert third.states == {}
    assert "already tried as #" in third.text


@pytest.mark.parametrize(
    ("state", "tried"), [("finished", ["burn"]), ("interrupted", ["burn", "queued"])]
)
def test_an_idea_that_was_never_decided_may_come_again(
    tmp_path: Path, state: str, tried: list[str]
) -> None:
    """What waited when a session finished is free; what waits for a resume is not."""
    ledger = Ledger(tmp_path / "ledger.db")
    old = ledger.start_session("research", "main", "{}")["id"]
    fields = {"category": "other", "edits": json.dumps([knob(0.9)])}
    for number, title in enumerate(("burn", "queued", "died", "half"), start=1):
        data = {**fields, "title": title, "signature": title, "file": None}
        assert ledger.add_candidate(old, "generated", data) == number
        if title != "half":  # killed before it was ready to be claimed
            ledger.add_unit(old, "generated", title, candidate=number)
    ledger.update_candidate(1, state="discard")
    ledger.update_candidate(3, state="failed")
    ledger.finish_session(old, state, "it is over")
    row = ledger.start_session("research", "main", "{}")
    facts = SimpleNamespace(
        root=tmp_path,
        ledger=ledger,
        session=row["id"],
        fingerprint="f",
        metric="score",
        budget="10 steps",
        head=lambda: Head("h", "LR = 0.1\n", None),
        baseline=lambda head: Estimate.of([]),
        kept_before=lambda head: {},
        repository=None,
        settings=SimpleNamespace(target="train.py"),
        profile=SimpleNamespace(direction="min"),
        device=SimpleNamespace(id="cpu:0", name="CPU"),
    )
    request = requesting.build_request(facts)  # type: ignore[arg-type]
    ledger.close()

    assert [one.title for one in request.tried if one.title != "died"] == tried
    assert bool(row.get("resumed")) == (state == "interrupted")
    assert ("died" in [one.title for one in request.tried]) == (state == "interrupted")


FULL_DISK = """
from autoresearch_plugin import proposing
from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger import Ledger

proposing.INSIST_SECONDS = 0.05
real, times = Ledger.set_proposing, [2]

def broken(self, session, state, *rest):
    if state == "no" and times[0]:
        times[0] -= 1
        raise LedgerError("the disk is full.")
    return real(self, session, state, *rest)

Ledger.set_proposing = broken
"""


def test_lanes_learn_that_nobody_proposes_any_more(new_project: Any) -> None:
    """Also where the disk was full when it was to be told: they would wait for ever."""
    project = new_project("insisting")
    (project.path / "conftest.py").write_text(FULL_DISK)
    script = project.script(burn={"LR": 0.9})
    project.commit()
    ran = project.research("-n1", script, timeout=60)
    assert ran.ret == 0, ran.stdout.str()
    assert list(project.states().values()) == ["discard"]


def test_nobody_is_asked_while_nobody_has_a_turn() -> None:
    """Where all that may be asked are being asked, the last one is not asked again."""
    nobody = SimpleNamespace(turn=lambda names, busy: None)
    thread = SimpleNamespace(
        team=nobody, _calls=SimpleNamespace(under_way=[]), member="the last one"
    )
    assert not ProposerThread._choose(thread)  # type: ignore[arg-type]
    assert thread.member == "the last one"
