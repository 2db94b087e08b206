"""Proposals from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin.candidate import Edit, signature
from autoresearch_plugin.errors import ProposerError
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers import Exhausted
from autoresearch_plugin.proposers.scripted import ScriptedProposer

SOURCE = "LR = 0.04\nDEPTH = 4\n"
REQUEST = Request("train.py", SOURCE, "3f2c1aa", "val_bpb", "min")


def line(value: float, **more: Any) -> str:
    edit = {"op": "set", "knob": "LR", "value": value}
    return json.dumps({"title": f"LR {value}", "edits": [edit], **more})


def scripted(tmp_path: Path, *lines: str) -> ScriptedProposer:
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(lines))
    return ScriptedProposer(str(path))


def test_lines_come_in_order_and_then_the_file_is_exhausted(tmp_path: Path) -> None:
    """Line after line, empty ones not counted, until the end."""
    proposer = scripted(tmp_path, line(0.1), "", line(0.2), line(0.3))
    titles = [
        [p.title for p in proposer.propose(replace(REQUEST, count=count)).proposals]
        for count in (1, 2)
    ]
    assert titles == [["LR 0.1"], ["LR 0.2", "LR 0.3"]]
    with pytest.raises(Exhausted, match="no more proposals"):
        proposer.propose(REQUEST)


def test_a_bad_line_is_refused_with_its_number(tmp_path: Path) -> None:
    """Bad lines name their place in the file, and do not stop the good ones."""
    proposer = scripted(tmp_path, "", "{no json", line(0.1), '{"title": "x"}')
    answer = proposer.propose(replace(REQUEST, count=3))
    assert [p.title for p in answer.proposals] == ["LR 0.1"]
    (first, second) = answer.refused
    assert first[0] == "{no json"
    assert first[1].startswith("line 2 is no JSON")
    assert second[1].startswith("line 4: a proposal needs `edits`")


def test_a_refused_line_is_not_read_again(tmp_path: Path) -> None:
    """The script moves on although nothing was accepted."""
    proposer = scripted(tmp_path, line(0.04), line(0.1))
    first = proposer.propose(REQUEST)
    assert "cannot matter" in first.refused[0][1]
    assert proposer.propose(REQUEST).proposals[0].title == "LR 0.1"


def test_after_a_resume_what_was_tried_is_passed_over(tmp_path: Path) -> None:
    """A new process starts at the top; what the ledger knows is refused."""
    edits = (Edit("set", {"knob": "LR", "value": 0.1}),)
    past = (Tried(1, "LR 0.1", signature(edits), edits, "other", "discard"),)
    proposer = scripted(tmp_path, line(0.1), line(0.2))
    answer = proposer.propose(replace(REQUEST, tried=past, count=2, number=1))
    assert [p.title for p in answer.proposals] == ["LR 0.2"]
    assert "line 1: already tried as #1" in answer.refused[0][1]


def test_edits_apply_to_the_parent_of_the_moment(tmp_path: Path) -> None:
    """A line is judged against the source it is asked for, not an older one."""
    edit = {"op": "replace", "old": "DEPTH = 4", "new": "DEPTH = 5"}
    one = json.dumps({"title": "deeper", "edits": [edit]})
    moved = replace(REQUEST, source="LR = 0.04\nDEPTH = 6\n")
    assert scripted(tmp_path, one).propose(REQUEST).proposals
    assert "occurs 0 times" in scripted(tmp_path, one).propose(moved).refused[0][1]


def test_a_file_that_vanishes_is_a_proposers_failure(tmp_path: Path) -> None:
    """A file removed during the session ends the proposer, not the program."""
    proposer = scripted(tmp_path, line(0.1))
    (tmp_path / "script.jsonl").unlink()
    with pytest.raises(ProposerError, match="cannot be read"):
        proposer.propose(REQUEST)
