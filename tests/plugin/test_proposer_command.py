"""A program of the user's as proposer."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin.errors import ProposerError
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import Exhausted
from autoresearch_plugin.proposers.command import CAP, SURPLUS, CommandProposer

REQUEST = Request("train.py", "LR = 0.04\n", "3f2c1aa", "val_bpb", "min")


def one(value: float) -> str:
    edit = {"op": "set", "knob": "LR", "value": value}
    return json.dumps({"title": f"LR {value}", "edits": [edit]})


def program(tmp_path: Path, code: str, **more: Any) -> CommandProposer:
    path = tmp_path / "propose.py"
    path.write_text("import json, os, sys, time\n" + code)
    return CommandProposer(f"{{python}} {path}", **more)


def printing(tmp_path: Path, text: str) -> CommandProposer:
    return program(tmp_path, f"sys.stdin.read(); print({text!r})")


@pytest.mark.parametrize(
    "text",
    [
        f"[{one(0.1)}, {one(0.2)}]",
        f'{{"proposals": [{one(0.1)}, {one(0.2)}]}}',
        f"{one(0.1)}\n\n{one(0.2)}\n",
    ],
)
def test_a_list_an_object_and_lines_are_understood(tmp_path: Path, text: str) -> None:
    """The three forms of an answer give the same proposals."""
    answer = printing(tmp_path, text).propose(replace(REQUEST, count=2))
    assert [p.title for p in answer.proposals] == ["LR 0.1", "LR 0.2"]
    assert answer.refused == ()


def test_one_object_is_one_proposal(tmp_path: Path) -> None:
    """A single proposal needs no list around it."""
    answer = printing(tmp_path, one(0.1)).propose(REQUEST)
    assert [p.title for p in answer.proposals] == ["LR 0.1"]


def test_the_request_arrives_on_stdin(tmp_path: Path) -> None:
    """The program is told everything, as JSON."""
    code = (
        "r = json.load(sys.stdin)\n"
        "e = {'op': 'set', 'knob': 'LR', 'value': r['number'] + 0.5}\n"
        "print(json.dumps({'title': r['metric'] + r['parent'], 'edits': [e]}))"
    )
    answer = program(tmp_path, code).propose(replace(REQUEST, number=7))
    (proposal,) = answer.proposals
    assert proposal.title == "val_bpb3f2c1aa"
    assert proposal.apply(REQUEST.source) == "LR = 7.5\n"


def test_a_program_need_not_read_its_input(tmp_path: Path) -> None:
    """A request larger than a pipe does not block a program that ignores it."""
    large = replace(REQUEST, program="x" * 1_000_000)
    answer = program(tmp_path, f"print({one(0.1)!r})").propose(large)
    assert len(answer.proposals) == 1


def test_nothing_printed_means_no_more_ideas(tmp_path: Path) -> None:
    """Silence or an empty list ends the proposer without an error."""
    for text in ("", "[]", '{"proposals": []}'):
        with pytest.raises(Exhausted, match="no more ideas"):
            printing(tmp_path, text).propose(REQUEST)


def test_prose_and_bad_proposals_are_refused_not_raised(tmp_path: Path) -> None:
    """What cannot be used is reported with its beginning and the reason."""
    answer = printing(tmp_path, "I would try a larger LR.").propose(REQUEST)
    assert answer.proposals == ()
    assert answer.refused[0][0] == "I would try a larger LR."
    assert answer.refused[0][1].startswith("no JSON")
    answer = printing(tmp_path, f"[{one(0.04)}, 3]").propose(replace(REQUEST, count=2))
    assert [reason for _, reason in answer.refused] == [
        "the change cannot matter: the patched target equals its parent.",
        "a proposal must be an object, not int.",
    ]


def test_more_than_asked_for_is_refused(tmp_path: Path) -> None:
    """The queue stays as long as it was meant to be."""
    answer = printing(tmp_path, f"[{one(0.1)}, {one(0.2)}]").propose(REQUEST)
    assert len(answer.proposals) == 1
    assert answer.refused[0][1] == "more than the 1 asked for."


def test_a_flood_of_proposals_is_named_in_part(tmp_path: Path) -> None:
    """Not each of half a million is worth an event in the ledger."""
    code = f"print('[' + {one(0.1)!r} + ', 0' * 300_000 + ']')"
    answer = program(tmp_path, code).propose(REQUEST)
    assert len(answer.proposals) == 1
    assert len(answer.refused) == SURPLUS


@pytest.mark.parametrize("text", ["[", '{"a":'])
def test_nesting_without_end_is_refused(tmp_path: Path, text: str) -> None:
    """What is too deep for the JSON reader is garbage like any other."""
    answer = program(tmp_path, f"print({text!r} * 100_000)").propose(REQUEST)
    assert answer.proposals == ()
    assert "nested too deeply" in answer.refused[0][1]


@pytest.mark.parametrize("depth", [200, 600, 800, 900, 950, 980])
def test_nesting_that_can_just_be_read_is_refused(tmp_path: Path, depth: int) -> None:
    """Between the limits of reading, checking and quoting no error escapes."""
    code = f"print('[' * {depth} + ']' * {depth})"
    assert program(tmp_path, code).propose(REQUEST).refused


def test_an_answer_of_a_mebibyte_is_read(tmp_path: Path) -> None:
    """The cap is the largest answer that is allowed."""
    code = f"sys.stdout.write({one(0.1)!r}.ljust({CAP}))"
    assert len(program(tmp_path, code).propose(REQUEST).proposals) == 1


def test_what_prints_without_end_is_killed(tmp_path: Path) -> None:
    """One byte beyond the cap: the program ends there, and the error names the cap."""
    pid = tmp_path / "pid"
    code = (
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        f"sys.stdout.write('y' * {CAP + 1})\n"
        "sys.stdout.flush()\n"
        "time.sleep(99)"
    )
    with pytest.raises(ProposerError, match="more than 1 MiB and was killed"):
        program(tmp_path, code, timeout=20.0).propose(REQUEST)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_talkative_program_fills_no_memory(tmp_path: Path) -> None:
    """Of stderr the end is kept, however much came before it."""
    code = (
        "for _ in range(256): os.write(2, b'x' * 99_999 + b'\\n')\n"
        "os.write(2, b'boom\\n')\n"
        "sys.exit(3)"
    )
    proposer = program(tmp_path, code)
    tracemalloc.start()
    try:
        with pytest.raises(ProposerError, match=r"boom$"):
            proposer.propose(REQUEST)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_daemon_does_not_keep_the_answer_back(tmp_path: Path) -> None:
    """The program's end counts, not that of what it left behind with its stdout."""
    pid = tmp_path / "pid"
    code = (
        "import subprocess\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(99)']\n"
        "child = subprocess.Popen(sleep, start_new_session=True)\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        f"print({one(0.1)!r})"
    )
    try:
        answer = program(tmp_path, code, timeout=10.0).propose(REQUEST)
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert [p.title for p in answer.proposals] == ["LR 0.1"]


def test_useless_answers_in_a_row_end_it(tmp_path: Path) -> None:
    """A program that never says anything useful is not asked for ever."""
    proposer = printing(tmp_path, "prose")
    for _ in range(9):
        assert proposer.propose(REQUEST).refused
    with pytest.raises(ProposerError, match="10 answers in a row"):
        proposer.propose(REQUEST)


def test_a_failing_program_shows_the_end_of_what_it_said(tmp_path: Path) -> None:
    """Status and last lines of stderr are in the error, without control characters."""
    code = (
        "print('\\n'.join(['early'] * 50 + ['\\x1b[31mboom\\x1b[0m']), file=sys.stderr)"
    )
    with pytest.raises(ProposerError) as caught:
        program(tmp_path, code + "\nsys.exit(3)").propose(REQUEST)
    assert "failed with status 3" in str(caught.value)
    assert str(caught.value).endswith("early / boom")
    assert "\x1b" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits by pidfd (Linux)")
def test_a_hanging_program_is_killed_with_its_children(tmp_path: Path) -> None:
    """At the time limit the whole process group ends."""
    pid = tmp_path / "pid"
    code = (
        "import subprocess\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(99)']\n"
        "child = subprocess.Popen(sleep)\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "print('busy', file=sys.stderr, flush=True)\n"
        "time.sleep(99)"
    )
    with pytest.raises(ProposerError, match=r"no answer within 3 s\. busy"):
        program(tmp_path, code, timeout=3.0).propose(REQUEST)
    assert ended(int(pid.read_text()))


def ended(pid: int) -> bool:
    """Whether a process ends within ten seconds; one that is gone already did."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def test_stopping_the_session_ends_a_running_program(tmp_path: Path) -> None:
    """The stop event is seen while the program runs."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Exhausted, match="stopped"):
        program(tmp_path, "time.sleep(99)", stop=stop).propose(REQUEST)


def test_a_program_in_another_group_leaves_ours_alone(tmp_path: Path) -> None:
    """The program runs in a group of its own, so that killing it cannot hit us."""
    code = (
        "e = {'op': 'set', 'knob': 'LR', 'value': os.getpgid(0)}\n"
        "print(json.dumps({'title': 'group', 'edits': [e]}))"
    )
    (proposal,) = program(tmp_path, code).propose(REQUEST).proposals
    group = proposal.edits[0].arguments["value"]
    assert group != os.getpgid(0)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)


def test_the_interpreter_can_be_named(tmp_path: Path) -> None:
    """`{python}` stands for the interpreter that runs the session."""
    code = (
        "e = {'op': 'set', 'knob': 'LR', 'value': sys.executable}\n"
        "print(json.dumps({'title': 'python', 'edits': [e]}))"
    )
    (proposal,) = program(tmp_path, code).propose(REQUEST).proposals
    assert proposal.edits[0].arguments["value"] == sys.executable
