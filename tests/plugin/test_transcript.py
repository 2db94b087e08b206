"""What a child has said, and what that makes of its trial; no process is started."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.executors.transcript import (
    MAX_CURVE,
    SUMMARY_NUMBERS,
    Ending,
    Transcript,
)
from autoresearch_plugin.executors.words import LOG_SIZE, LOG_WIDTH, clean_log
from autoresearch_plugin.trial import Outcome
from tests.plugin.toy_trials import line, spec_for


def heard(*chunks, phase="evaluate", evaluates=True, ending=None):
    """The result of a run that said just this and exited with 0."""
    spec = replace(spec_for(Path("/tmp")), phase=phase)
    transcript = Transcript(spec, evaluates=evaluates, now=0.0)
    for chunk in chunks:
        list(transcript.hear_events(chunk, 1.0))
    return transcript.result(ending or Ending(exit_code=0), None, 2.0)


STEP_NUMBERS = ("tokens", "loss", "elapsed")
DIGITS = pytest.param(10**400, id="400 digits")
NESTED = json.loads("[" * 40 + "]" * 40)


@pytest.mark.parametrize(
    "bad",
    [
        b"\n",
        b"[1]\n",
        b'"result"\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        line("phase", phase="holiday"),
        line("phase", phase=["train"]),
        line("step", step=-1),
        line("step", step=True),
        line("step", step="1"),
        line("step", step=1, loss="low"),
        line("step", step=10**400),
        line("step", step=2**63),
        *(line("step", step=1, **{key: 10**400}) for key in STEP_NUMBERS),
        line("weather", sun=[NESTED]),
        line("result", metrics=[1]),
        line("result"),
        line("summary", num_steps=1),
        line("error", outcome="ok", message=""),
        line("error", outcome=["nan"]),
        line("result", metrics={"score": 1}) * 2,
    ],
)
def test_a_bad_event_is_an_integrity_failure(bad):
    """Fixed code writes the events, so a bad one is forged or a bug."""
    result = heard(line("result", metrics={"score": 0.5}), bad)
    assert result.outcome is Outcome.INTEGRITY
    assert result.message.startswith("forged or broken event: ")
    assert result.metrics == {}


@pytest.mark.parametrize("key", SUMMARY_NUMBERS)
@pytest.mark.parametrize("value", ["lots", float("nan"), float("inf"), DIGITS, True])
def test_a_summary_holds_numbers_where_reports_calculate(key, value):
    """Anything else would stay in the ledger and break every later session."""
    result = heard(line("summary", **{key: value}), phase="train")
    assert result.outcome is Outcome.INTEGRITY
    assert f"a summary with {key} " in result.message


def test_a_summary_may_leave_a_number_open_and_add_words():
    """Null is allowed where a command cannot know, and so are keys of its own."""
    said = dict.fromkeys(SUMMARY_NUMBERS) | {"num_steps": 3, "host": "a"}
    result = heard(line("summary", **said), phase="train", evaluates=False)
    assert result.outcome is Outcome.ERROR  # only the result is missing
    assert result.summary["num_steps"] == 3
    assert result.summary["depth"] is None
    assert result.summary["host"] == "a"


def test_the_largest_metric_is_still_one():
    """The bound itself is allowed, on both sides of zero."""
    result = heard(line("result", metrics={"score": 1e100, "other": -1e100}))
    assert result.metrics == {"score": 1e100, "other": -1e100}


def test_an_event_of_an_unknown_name_is_ignored():
    """Commands may say more than the contract asks for."""
    result = heard(line("weather", sun=1), line("result", metrics={"score": 0.5}))
    assert result.metrics == {"score": 0.5}


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "1", None, True, 10**400, 1.1e100, -(10**101)]
)
def test_a_metric_that_is_no_finite_number_is_no_metric(value):
    """One bad metric spoils all."""
    result = heard(line("result", metrics={"score": value, "other": 1.0}))
    assert (result.outcome, result.metrics) == (Outcome.NAN, {})


@pytest.mark.parametrize(
    ("phase", "events"),
    [
        ("evaluate", b""),
        ("evaluate", line("result", metrics={})),
        ("describe", b""),
        ("train", line("summary", num_steps=1)),
    ],
)
def test_exit_0_without_what_is_due_is_an_error(phase, events):
    """A run without a metric has no metric: nothing stands in for it."""
    result = heard(events, phase=phase)
    assert result.outcome is Outcome.ERROR
    assert result.message.startswith("ended without a result")


def test_a_reported_failure_wins_over_the_exit_code():
    """The command knows better; a result before it does not help."""
    events = line("result", metrics={"score": 1}) + line(
        "error", outcome="diverged", message="loss\n\x1b[1m is 1e9"
    )
    for code in (0, 1, -9):
        result = heard(events, ending=Ending(exit_code=code))
        assert (result.outcome, result.message) == (Outcome.DIVERGED, "loss is 1e9")
        assert result.metrics == {}


def test_a_kill_below_a_sandbox_is_a_kill():
    """What stands before the command says it as a shell does; an own 1 is an error."""
    assert heard(ending=Ending(137)).outcome is Outcome.KILLED
    assert heard(ending=Ending(1)).outcome is Outcome.ERROR


def test_a_kill_for_want_of_memory_is_told_as_a_guess():
    """Only when the run had taken much of the machine."""
    small = heard(ending=Ending(-9, peak_mb=100, memory_mb=8000))
    large = heard(ending=Ending(-9, peak_mb=7000, memory_mb=8000))
    assert small.outcome is large.outcome is Outcome.KILLED
    assert "memory" not in small.message
    assert "used 7000 of 8000 MB" in large.message


def test_processes_that_do_not_die_are_named():
    """A process stuck in a driver call may hold its device for ever."""
    result = heard(ending=Ending(exit_code=-15, left=(77,)))
    assert result.message == "ended by SIGTERM (processes that do not die: (77,))"


@given(st.lists(st.binary(max_size=80)), st.sampled_from(["train", "evaluate", "pace"]))
def test_bytes_never_make_a_metric(chunks, phase):
    """Whatever arrives on the event pipe, there is a result, and it is not ok."""
    result = heard(*chunks, phase=phase)
    assert result.metrics == {}
    assert not result.ok or phase == "pace"


@given(st.lists(st.integers(1, 400), max_size=8))
def test_events_may_arrive_in_pieces(cuts):
    """Pipes have no respect for lines."""
    said = (
        line("phase", phase="start")
        + line("step", step=1, loss=2.5, tokens=64, elapsed=0.1)
        + line("step", step=2, loss=float("nan"))
        + line("phase", phase="evaluate")
        + line("result", metrics={"score": 1.5})
    )
    places = sorted({0, len(said), *(min(cut, len(said)) for cut in cuts)})
    pieces = [said[a:b] for a, b in pairwise(places)]
    result = heard(*pieces)
    assert result.metrics == {"score": 1.5}
    assert result.curve == ((1, 2.5),)


def test_each_phase_has_its_own_deadline():
    """The clock starts with the phase; naming it again does not start it anew."""
    spec = spec_for(Path("/tmp"), limits={"start": 5, "train": 10})
    transcript = Transcript(spec, now=100.0)
    assert transcript.overdue(105.0) is None
    assert transcript.overdue(105.1).outcome is Outcome.TIMEOUT_START
    list(transcript.hear_events(line("phase", phase="train"), 103.0))
    list(transcript.hear_events(line("phase", phase="train"), 112.0))
    assert transcript.overdue(112.9) is None
    assert transcript.overdue(113.1).outcome is Outcome.TIMEOUT_TRAIN
    transcript.pause(5.0)
    assert transcript.overdue(113.1) is None
    list(transcript.hear_events(line("phase", phase="save"), 120.0))
    assert transcript.overdue(720.0) is None
    assert transcript.overdue(720.1).outcome is Outcome.TIMEOUT_SAVE
    result = transcript.result(Ending(exit_code=0), None, 121.0)
    assert result.seconds == {"start": 3.0, "train": 12.0, "save": 1.0}


def test_a_long_curve_is_thinned():
    """Every second point goes when there are too many; order and span stay."""
    said = b"".join(line("step", step=i, loss=1.0) for i in range(1, 3 * MAX_CURVE))
    steps = [step for step, _ in heard(said).curve]
    assert MAX_CURVE // 4 < len(steps) <= MAX_CURVE
    assert steps == sorted(set(steps))
    assert steps[-1] > 3 * MAX_CURVE - 10


# ---------------------------------------------------------------------------- log text


@given(st.binary(max_size=3000) | st.text(max_size=3000).map(lambda s: s.encode()))
def test_a_log_is_printable_and_short(data):
    """Whatever a process prints, its tail can be shown anywhere."""
    text = clean_log(data)
    assert all(part.isprintable() for part in text.split("\n"))
    assert all(len(part) <= LOG_WIDTH for part in text.split("\n"))
    assert len(text) <= LOG_SIZE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x1b[1;31mred\x1b[0m\n", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"10 %\r50 %\r100 %\r\n", "100 %"),
        (b"a\tb\x00\x08c", "a    bc"),
        (b"one\n\ntwo\n\n\n", "one\n\ntwo"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x\N{ZERO WIDTH SPACE}".encode(), "\ufffdx\ufffd"),
        (b"caf\xc3\xa9 \xff", "café \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_terminals_obey_is_taken_out(data, expected):
    """Colours, titles, carriage returns; invisible characters are shown."""
    assert clean_log(data) == expected
