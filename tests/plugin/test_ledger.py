"""The ledger: work is handed out once, money stays within the cap, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.ledger import (
    VERSION,
    Ledger,
    is_alive,
    schema,
    this_process,
)
from autoresearch_plugin.proposers import Call
from autoresearch_plugin.team import LedgerPurse
from autoresearch_plugin.trial import Outcome, TrialResult

CALL = {
    "proposer": "anthropic",
    "model": "m",
    "input_tokens": 1,
    "output_tokens": 1,
    "seconds": 0.1,
    "status": "ok",
}
GOOD = TrialResult(Outcome.OK, metrics={"score": 2.0}, seconds={"train": 1.0})


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    found = Ledger(tmp_path / "ledger.db")
    yield found
    found.close()


@pytest.fixture
def session(ledger) -> int:
    """A running session with a head."""
    row = ledger.start_session("research", "main", "{}")
    ledger.add_head("head", "fingerprint", "sha", "source", None)
    ledger.set_head(row["id"], "head", None, "fingerprint")
    return row["id"]


def in_another_process(ledger, code: str) -> str:
    """Run `code` with a `ledger` of its own in a process; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", prologue(ledger) + code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def prologue(ledger) -> str:
    """The start of a program that opens the same ledger."""
    return (
        "from pathlib import Path\n"
        "from autoresearch_plugin.ledger import Ledger, this_process\n"
        f"ledger = Ledger(Path({str(ledger.path)!r}))\n"
    )


def candidate(ledger, session: int, **fields) -> int:
    """A generated candidate."""
    given_fields = {"title": "t", "edits": "[]", "signature": "s", **fields}
    return ledger.add_candidate(session, "generated", given_fields)


# ---------------------------------------------------------------------------- claims


def test_claims_of_eight_processes_are_distinct(ledger, session):
    """No unit is run twice and none is forgotten, whoever is faster."""
    for number in range(64):
        ledger.add_unit(session, "generated", f"test_{number}.py")
    code = prologue(ledger) + (
        "import sys\n"
        "sys.stdin.readline()\n"
        "while (row := ledger.claim_unit(1, sys.argv[1], 'cpu:0')):\n"
        "    print(row['id'])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"gw{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    claimed = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        claimed += process.communicate(timeout=60)[0].split()
    assert sorted(map(int, claimed)) == list(range(1, 65))
    assert [process.returncode for process in processes] == [0] * 8


def test_hand_written_units_come_first(ledger, session):
    """In the order in which they were written, whatever came in between."""
    for kind, target in (("generated", "a"), ("hand", "b"), ("hand", "c")):
        ledger.add_unit(session, kind, target, [f"{target}::test"])
    claims = [ledger.claim_unit(session, "gw0", "cpu:0") for _ in range(4)]
    assert [row and row["target"] for row in claims] == ["b", "c", "a", None]
    assert claims[0]["nodeids"] == ["b::test"]


def test_a_unit_belongs_to_its_session(ledger, session):
    """Another session's work is not ours."""
    ledger.add_unit(session + 1, "hand", "x")
    assert ledger.claim_unit(session, "gw0", "cpu:0") is None


def test_a_lane_that_died_is_found_with_its_test(ledger, session):
    """What it was doing is known until the unit is closed."""
    ledger.add_unit(session, "hand", "f.py", ["f.py::a", "f.py::b"])
    unit = ledger.claim_unit(session, "gw0", "cpu:0")
    ledger.begin_item(unit["id"], "f.py::b", ("f.py", 3, "b"))
    found = ledger.unit_of_lane(session, "gw0")
    assert (found["current"], found["nodeids"]) == ("f.py::b", ["f.py::a", "f.py::b"])
    ledger.finish_unit(unit["id"], "died")
    assert ledger.unit_of_lane(session, "gw0") is None
    assert ledger.unit_counts(session) == {("hand", "died"): 1}


def test_a_missing_baseline_run_is_claimed_once(ledger, session):
    """Seeds of the bank are handed out in order, each to one process."""
    rows = [ledger.claim_head_trial(session, "head", 2) for _ in range(3)]
    assert [row and row["seed_index"] for row in rows] == [0, 1, None]
    assert len(ledger.running_head_trials("head")) == 2


def test_a_failed_baseline_run_is_missing_again(ledger, session):
    """Only a good run counts towards the wanted number."""
    row = ledger.claim_head_trial(session, "head", 1)
    ledger.finish_trial(row["id"], TrialResult(Outcome.ENV), None, "cpu:0", "1 s")
    again = ledger.claim_head_trial(session, "head", 1)
    assert again["seed_index"] == 0
    ledger.finish_trial(again["id"], GOOD, 2.0, "cpu:0", "1 s")
    assert ledger.claim_head_trial(session, "head", 1) is None
    assert [row["value"] for row in ledger.head_trials("head")] == [2.0]


def test_a_baseline_inherits_the_runs_that_did_not_choose_it(ledger, session):
    """All but a kept candidate's first run count for the baseline that it becomes."""
    number = candidate(ledger, session, head="old")
    for value in (1.0, 2.0, 3.0):
        row = ledger.start_trial(session, "old", number, int(value) - 1)
        ledger.finish_trial(row["id"], GOOD, value, "cpu:0", "1 s")
    ledger.add_head("new", "print", "sha", "source", "commit", inherits=number)

    assert [row["value"] for row in ledger.head_trials("new")] == [2.0, 3.0]
    rows = [ledger.claim_head_trial(session, "new", 4) for _ in range(3)]
    assert [row and row["seed_index"] for row in rows] == [0, 1, None]


def test_pairs_go_on_with_all_runs_and_their_seeds(ledger, session):
    """The next candidate's runs meet, in their order, the seeds that the baseline had
    as a candidate, and then new ones."""
    number = candidate(ledger, session, head="old")
    for index in range(3):
        row = ledger.start_trial(session, "old", number, index)
        ledger.finish_trial(row["id"], GOOD, 1.0 + index, "cpu:0", "10 steps")
    ledger.add_verdict(number, "old", "keep", {"paired": True})
    ledger.add_head("new", "print", "sha", "source", "commit", inherits=number)

    known = ledger.head_trials("new")
    assert [row["value"] for row in known] == [1.0, 2.0, 3.0]
    bank = [ledger.start_trial(session, "new", 99, i)["seed"] for i in range(5)]
    assert bank[:3] == [row["seed"] for row in known]
    assert bank[3] == ledger.claim_head_trial(session, "new", 4)["seed"]
    assert len(set(bank)) == 5


def test_a_baseline_with_runs_of_its_own_inherits_none(ledger, session):
    """One that was left and is reached again, by a keep that takes the last one back:
    both would have runs of the same seeds."""
    own = ledger.claim_head_trial(session, "head", 1)
    ledger.finish_trial(own["id"], GOOD, 2.0, "cpu:0", "10 steps")
    number = candidate(ledger, session, head="other")
    again = ledger.start_trial(session, "other", number, 0)
    ledger.finish_trial(again["id"], GOOD, 1.0, "cpu:0", "10 steps")
    ledger.add_head("head", "print", "sha", "source", "commit", inherits=number)
    assert [row["value"] for row in ledger.head_trials("head")] == [2.0]


def test_a_lone_run_counts_for_greedy_alone(ledger, session):
    """Another rule's session measures the baseline that greedy has chosen by it."""
    number = candidate(ledger, session, head="old")
    row = ledger.start_trial(session, "old", number, 0)
    ledger.finish_trial(row["id"], GOOD, 1.0, "cpu:0", "10 steps")
    ledger.add_head("new", "print", "sha", "source", "commit", inherits=number)
    assert [row["value"] for row in ledger.head_trials("new")] == [1.0]
    ledger.disown_lone_run("new")
    assert ledger.head_trials("new") == []


def test_seeds_are_fixed_for_a_ledger_and_unknown_elsewhere(ledger, tmp_path):
    """A bank is a function of ledger, head and index."""
    other = Ledger(tmp_path / "other.db")
    seeds = [ledger.seed("head", index) for index in range(20)]
    assert seeds == [ledger.seed("head", index) for index in range(20)]
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds != [other.seed("head", index) for index in range(20)]
    other.close()


# ------------------------------------------------------------------- dead processes


def test_what_a_dead_owner_was_doing_is_free_again(ledger, session):
    """Its baseline run and its lease go to whoever asks next."""
    code = (
        "print(ledger.claim_head_trial(1, 'head', 1)['id'], ledger.try_lease('keep'))"
    )
    assert in_another_process(ledger, code) == "1 True"
    assert ledger.running_head_trials("head") == []
    assert ledger.claim_head_trial(session, "head", 1)["seed_index"] == 0
    assert ledger.try_lease("keep")


def test_a_living_owner_keeps_what_it_has(ledger, session):
    """Another process gets neither the run nor the lease, and cannot release it."""
    assert ledger.claim_head_trial(session, "head", 1)
    assert ledger.try_lease("keep")
    code = (
        "print(ledger.claim_head_trial(1, 'head', 1), ledger.try_lease('keep'))\n"
        "ledger.release_lease('keep')"
    )
    assert in_another_process(ledger, code) == "None False"
    assert in_another_process(ledger, "print(ledger.try_lease('keep'))") == "False"
    ledger.release_lease("keep")
    assert in_another_process(ledger, "print(ledger.try_lease('keep'))") == "True"


def test_a_lease_can_be_taken_twice_by_its_owner(ledger):
    """Asking again is no deadlock."""
    assert ledger.try_lease("keep")
    assert ledger.try_lease("keep")


def test_a_recycled_pid_is_another_process():
    """The same pid with another start time is not the owner any more."""
    pid, started, _ = this_process().split(":")
    assert is_alive(f"{pid}:{started}")
    assert not is_alive(f"{pid}:{int(started) + 1}")
    assert not is_alive("4194305:1")
    assert not is_alive("")


def test_a_process_of_another_boot_is_dead():
    """After a reboot pid and start time can come again; an older release's name has
    no more than these."""
    pid, started, boot = this_process().split(":")
    assert is_alive(f"{pid}:{started}:{boot}")
    assert is_alive(f"{pid}:{started}")
    assert not is_alive(f"{pid}:{started}:0badb007")


def test_a_process_that_nobody_waited_for_is_dead():
    """A zombie holds a pid but nothing else."""
    code = "from autoresearch_plugin.ledger import this_process; print(this_process())"
    with subprocess.Popen(
        [sys.executable, "-c", code + "; input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        owner = process.stdout.readline().strip()
        assert is_alive(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(owner)


def test_lost_work_is_closed(ledger, session):
    """A resume marks runs of processes that are gone; ours goes on."""
    in_another_process(ledger, "ledger.start_trial(1, 'head', 7, 0)")
    ours = ledger.start_trial(session, "head", 8, 0)
    ledger.lost_work(session)
    states = {
        row["candidate"]: row["state"] for row in ledger._query("SELECT * FROM trials")
    }
    assert states == {7: "lost", 8: "running"}
    assert ours["state"] == "running"


# --------------------------------------------------------------------------- resume


def test_an_interrupted_session_goes_on(ledger, session):
    """Its number, its time and its unfinished generated units come back."""
    done, open_one = (
        candidate(ledger, session, title=title) for title in ("done", "open")
    )
    for number in (done, open_one):
        ledger.add_unit(session, "generated", f"{number}.py", candidate=number)
    ledger.add_unit(session, "hand", "h.py", ["h.py::h"])
    hand = ledger.claim_unit(session, "gw0", "cpu:0")
    first = ledger.claim_unit(session, "gw0", "cpu:0")
    ledger.finish_unit(first["id"])
    ledger.update_candidate(done, state="discard", started=1.0)
    running = ledger.claim_unit(session, "gw0", "cpu:0")
    ledger.stop(session, "interrupted")
    ledger.finish_unit(running["id"], "stopped")
    ledger.finish_session(session, "interrupted", "")
    assert hand["kind"] == "hand"

    again = ledger.start_session("research", "main", "{}")

    assert again["id"] == session
    assert again["resumed"]
    assert ledger.stopping(session) is None
    assert ledger.claim_unit(session, "gw1", "cpu:0")["candidate"] == open_one
    assert ledger.claim_unit(session, "gw1", "cpu:0") is None
    assert ledger.decided_count(session) == 1


@pytest.mark.parametrize(
    ("kind", "tag", "settings"),
    [
        ("research", "other", "{}"),
        ("research", "main", '{"budget": 1}'),
        ("plain", "main", "{}"),
    ],
)
def test_another_command_is_another_session(ledger, session, kind, tag, settings):
    """Only the same kind, tag and settings continue an interrupted session."""
    ledger.finish_session(session, "interrupted", "")
    row = ledger.start_session(kind, tag, settings)
    assert row["id"] != session
    assert "resumed" not in row


def test_a_finished_session_starts_anew(ledger, session):
    """The same command again is a new session."""
    ledger.finish_session(session, "finished", "budget used up")
    assert ledger.start_session("research", "main", "{}")["id"] == session + 1


def test_plain_sessions_are_never_resumed(ledger):
    """Two plain runs at once are two sessions."""
    one = ledger.start_session("plain", None, "{}")
    two = ledger.start_session("plain", None, "{}")
    assert one["id"] != two["id"]


@pytest.mark.parametrize("jump", [36_000, -36_000])
def test_a_clock_that_is_set_changes_no_session(ledger, session, jump, monkeypatch):
    """Neither its hours nor its device time; nor what a resume counts from."""
    wall, steady = [time.time()], [time.monotonic()]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    ledger._start_clock(session)
    row = ledger.start_trial(session, "head", 1, 0)
    wall[0], steady[0] = wall[0] + jump, steady[0] + 20
    ledger.finish_trial(row["id"], GOOD, 2.0, "cpu:0", "1 s")
    assert ledger.session_seconds(session) == pytest.approx(20)
    assert ledger.device_seconds(session) == pytest.approx(20)
    steady[0] += 5
    ledger.finish_session(session, "interrupted", "")
    assert ledger.session_seconds(session) == pytest.approx(25)
    steady[0] += 7000
    ledger.start_session("research", "main", "{}")
    steady[0] += 1
    assert ledger.session_seconds(session) == pytest.approx(26)


def test_a_night_in_suspension_is_no_device_time(ledger, session, monkeypatch):
    """A run that slept with its machine is repeated, and used up no cap."""
    steady = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    for outcome, hours in (("suspended", 8), ("ok", 1)):
        row = ledger.start_trial(session, "head", 1, 0)
        steady[0] += 3600 * hours
        result = TrialResult(Outcome(outcome))
        ledger.finish_trial(row["id"], result, None, "cpu:0", "1 s")
    assert ledger.device_seconds(session) == pytest.approx(3600)


def test_the_time_after_a_kill_is_not_counted(ledger, session):
    """A killed session had worked until its last run ended."""
    code = (
        "import time\n"
        "session = ledger.start_session('research', 'killed', '{}')['id']\n"
        "row = ledger.start_trial(session, 'head', 7, 0)\n"
        "from autoresearch_plugin.trial import Outcome, TrialResult\n"
        "good = TrialResult(Outcome.OK)\n"
        "ledger.finish_trial(row['id'], good, 1.0, 'cpu:0', '1 s')\n"
        "print(session)"
    )
    number = int(in_another_process(ledger, code))
    ledger._execute("UPDATE meta SET value='77' WHERE key=?", f"seconds {number}")
    assert ledger.session_seconds(number) == 77
    ledger.start_session("research", "killed", "{}")
    assert 77 <= ledger.session_seconds(number) < 87


def test_events_of_an_earlier_part_are_no_news(ledger, session):
    """A resumed session tells what happened since."""
    ledger.add_event(session, "error", "before")
    ledger.finish_session(session, "failed", "")
    ledger.start_session("research", "main", "{}")
    ledger.add_event(session, "error", "now")
    assert [row["text"] for row in ledger.news(session)] == ["now"]


def test_the_time_of_an_interruption_is_not_counted(ledger, session):
    """An older release's session goes on where its last trial ended, not where it is
    now."""
    ledger._execute("DELETE FROM meta WHERE key<>'salt'")
    row = ledger.start_trial(session, "head", 1, 0)
    ledger.finish_trial(row["id"], GOOD, 2.0, "cpu:0", "1 s")
    ledger._execute("UPDATE sessions SET started=1000 WHERE id=?", session)
    ledger._execute("UPDATE trials SET started=1010, finished=1030")
    ledger.finish_session(session, "interrupted", "")
    assert ledger.device_seconds(session) == 20
    ledger.start_session("research", "main", "{}")
    assert 30 <= ledger.session_seconds(session) < 40


def test_the_first_reason_to_stop_stays(ledger, session):
    """What ended a session is not overwritten by what followed."""
    ledger.stop(session, "interrupted")
    ledger.stop(session, "worker died")
    assert ledger.stopping(session) == "interrupted"
    ledger.finish_session(session, "interrupted", "budget used up")
    assert ledger.session(session)["reason"] == "interrupted"


# ----------------------------------------------------------------------------- money


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    cap=st.floats(0, 10),
    calls=st.lists(
        st.tuples(st.floats(0, 4), st.floats(0, 1), st.booleans()), max_size=12
    ),
)
def test_spending_never_passes_the_cap(tmp_path_factory, cap, calls):
    """Whatever is reserved and settled in whatever order, as long as the worst case
    is what was reserved."""
    ledger = Ledger(tmp_path_factory.mktemp("money") / "ledger.db")
    waiting = []
    for worst, share, settle_first in calls:
        handle = ledger.reserve(1, worst, cap)
        if handle is not None:
            waiting.append((handle, worst * share))
        if waiting and settle_first:
            handle, usd = waiting.pop(0)
            ledger.settle(1, handle, {**CALL, "usd": usd})
        assert ledger._committed(1) <= cap
    for handle, usd in waiting:
        ledger.settle(1, handle, {**CALL, "usd": usd})
    assert sum(call["usd"] for call in ledger.calls(1)) <= cap
    ledger.close()


def test_a_session_has_its_own_purse(ledger):
    """What another session spent is not counted, what it reserved neither."""
    assert ledger.reserve(1, 1.0, cap=1.0) is not None
    assert ledger.reserve(1, 0.1, cap=1.0) is None
    assert ledger.reserve(2, 1.0, cap=1.0) is not None


def test_a_call_that_outlives_its_session_is_booked_in_full(ledger, session):
    """It may have cost its worst case; an answer that comes later changes nothing."""
    handle = ledger.reserve(session, 0.7, cap=1.0)
    ledger.finish_session(session, "interrupted", "")
    assert ledger.reserve(session, 0.4, cap=1.0) is None
    ledger.settle(session, handle, {**CALL, "usd": 0.1})
    assert [call["usd"] for call in ledger.calls(session)] == [0.7]


def test_a_kill_in_the_middle_of_a_call_gives_no_money_back(ledger):
    """What was set aside may have been charged: it counts on in the resume, and is
    booked in full at the end."""
    code = (
        "session = ledger.start_session('research', 'main', '{}')['id']\n"
        "ledger.reserve(session, 0.7, 1.0)\n"
        "print(session)"
    )
    session = int(in_another_process(ledger, code))
    again = ledger.start_session("research", "main", "{}")
    assert (again["id"], again["resumed"]) == (session, True)
    assert ledger.reserve(session, 0.4, cap=1.0) is None
    ledger.finish_session(session, "finished", "")
    assert [call["usd"] for call in ledger.calls(session)] == [0.7]


def test_the_proposers_purse_is_the_ledger(ledger, session):
    """A resume goes on counting where the money stands."""
    purse = LedgerPurse(ledger, session, 1.0)
    assert purse.reserve(0.9)
    purse.settle(Call("p", "m", 1, 0, 0, 1, 0.4, 0.1, "ok"), 0.9)
    again = LedgerPurse(ledger, session, 1.0)
    assert not again.reserve(0.7)
    assert again.reserve(0.6)


# -------------------------------------------------------------------- candidates


def test_a_candidate_comes_with_its_last_verdict(ledger, session):
    """The evidence is data again; there may be none."""
    number = candidate(ledger, session, edits='[{"op": "set"}]')
    assert ledger.candidate(number)["evidence"] is None
    ledger.add_verdict(number, "head", "replicate", {"d": 1})
    ledger.add_verdict(number, "head", "discard", {"d": 2})
    row = ledger.candidate(number)
    assert (row["decision"], row["evidence"]) == ("discard", {"d": 2})
    assert row["edits"] == [{"op": "set"}]


def test_numbers_are_never_given_twice(ledger, session):
    """They name files and commits, so a number stays what it was."""
    numbers = [candidate(ledger, session) for _ in range(3)]
    ledger._execute("DELETE FROM candidates WHERE id=?", numbers[-1])
    assert candidate(ledger, session) == numbers[-1] + 1


def test_an_unknown_number_names_the_way_to_the_list(ledger):
    """A typing error at `autoresearch show` is answered in words."""
    with pytest.raises(LedgerError, match=r"no candidate 99 in .*`autoresearch log`"):
        ledger.candidate(99)


def test_an_equal_candidate_is_found_on_the_same_head_only(ledger, session):
    """Decided means judged, by the same code against the same baseline."""
    fields = {"head": "head", "source_key": "k"}
    first, second, new = (candidate(ledger, session, **fields) for _ in range(3))
    assert ledger.decided_before("head", "k", new) is None
    for number in (first, second):
        ledger.update_candidate(number, state="discard", reason=f"#{number}")
        ledger.add_verdict(number, "head", "discard", {})
    assert ledger.decided_before("head", "k", new)["id"] == first
    assert ledger.decided_before("head", "k", first)["id"] == second
    assert ledger.decided_before("other", "k", new) is None
    assert ledger.decided_before("head", "other", new) is None


def test_a_lane_says_what_it_does(ledger, session):
    """Its last word stands; None is idle."""
    ledger.set_lane(session, "gw1", "cpu:1", {"label": "x"})
    ledger.set_lane(session, "gw0", "cpu:0", {"label": "y"})
    ledger.set_lane(session, "gw0", "cpu:0", None)
    lanes = [(row["name"], row["status"]) for row in ledger.lanes(session)]
    assert lanes == [("gw0", None), ("gw1", {"label": "x"})]


def test_events_can_be_read_from_where_one_stopped(ledger, session):
    """A screen shows each once."""
    ledger.add_event(session, "progress", "one")
    ledger.add_event(session + 1, "progress", "of another session")
    ledger.add_event(session, "error", "two")
    one, two = ledger.events(session)
    assert [row["text"] for row in ledger.events(session, one["id"])] == ["two"]
    assert ledger.events(session, two["id"]) == []


# -------------------------------------------------------------------------- the file


def test_the_file_is_private(tmp_path):
    """Patches and prompts are nobody else's, whatever the umask says."""
    old = os.umask(0)
    try:
        ledger = Ledger(tmp_path / "new" / "ledger.db")
        ledger.add_event(1, "progress", "x")
        files = list((tmp_path / "new").iterdir())
        assert len(files) > 1  # SQLite's own files beside it
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        ledger.close()
    finally:
        os.umask(old)


@pytest.mark.parametrize("version", [VERSION + 1, 0])
def test_another_schema_is_refused_with_the_way_out(tmp_path, version):
    """A ledger of another release, or a database of somebody else's."""
    path = tmp_path / "ledger.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs(x)")
    db.execute(f"PRAGMA user_version={version}")
    db.commit()
    db.close()
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    expected = rf"{path} has schema version {version}, this release needs {VERSION}. "
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("Use the release that wrote it, or move it away.")


@pytest.mark.parametrize("content", [b"no database " * 100, b"SQLite format 3\0" * 64])
def test_a_damaged_file_is_explained(tmp_path, content):
    """Not a stack of sqlite3, and the file is left as it is."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="If the file is damaged, move it away"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_directory_in_its_place_is_explained(tmp_path):
    """The path and what SQLite said."""
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerError, match=re.escape(str(tmp_path / "ledger.db"))):
        Ledger(tmp_path / "ledger.db")


def test_threads_of_a_process_share_a_ledger(ledger, session):
    """Each has a connection of its own, as SQLite wants it."""

    def work():
        for _ in range(20):
            ledger.add_event(session, "progress", "x")
        ledger.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.events(session)) == 80


def test_a_failed_transaction_leaves_nothing(ledger):
    """All of it or none of it."""

    def half():
        with ledger._transaction():
            ledger.add_event(1, "progress", "x")
            ledger._execute("INSERT INTO no_such_table VALUES(1)")

    with pytest.raises(LedgerError, match="no_such_table"):
        half()
    assert ledger.events(1) == []
    assert ledger.try_lease("keep")  # the ledger can be written again


def test_a_transaction_within_another_is_a_part_of_it(ledger, session):
    """What ends a run is one; all of it goes where the outer one goes."""

    def half():
        with ledger._transaction():
            with ledger._transaction():
                ledger.finish_unit(1)
                ledger.add_event(session, "progress", "x")
            assert ledger._db.in_transaction
            ledger._execute("INSERT INTO no_such_table VALUES(1)")

    with pytest.raises(LedgerError, match="no_such_table"):
        half()
    assert ledger.events(session) == []
    assert not ledger._db.in_transaction


def test_what_a_lane_does_is_not_waited_for(ledger, session):
    """The disk is: for a verdict, and for whatever comes after a note that failed."""
    told = []
    ledger._db.set_trace_callback(told.append)
    ledger.set_lane(session, "main", "cpu:0", None)
    ledger.finish_unit(1)
    assert told[0] == "PRAGMA synchronous=NORMAL"
    assert told[1].startswith("INSERT OR REPLACE INTO lanes")
    assert told[2] == "PRAGMA synchronous=FULL"
    assert told[3].startswith("UPDATE units")
    with pytest.raises(LedgerError, match="no_such_table"):
        ledger._note("INSERT INTO no_such_table VALUES(1)")
    assert ledger._one("PRAGMA synchronous")["synchronous"] == 2


def test_a_note_of_a_new_thread_explains_itself(ledger, session, tmp_path):
    """It may be the first thing that a thread asks of a ledger that is gone."""
    found = []

    def note():
        try:
            ledger.add_event(session, "progress", "x")
        except LedgerError as error:
            found.append(str(error))

    ledger.path = tmp_path / "gone" / "ledger.db"
    thread = threading.Thread(target=note)
    thread.start()
    thread.join()
    assert "cannot use the ledger" in found[0]


def test_noise_is_told_by_more_than_one_run(ledger, session):
    """Runs of the baseline, and of candidates that have several on it."""
    for number in (None, 1, 2, 2, 3):
        trial = ledger.start_trial(session, "head", number, 0)["id"]
        ledger.finish_trial(trial, GOOD, 2.0, "cpu:0", "10 steps")
    broken = ledger.start_trial(session, "head", 3, 1)["id"]
    ledger.finish_trial(broken, TrialResult(Outcome.NAN), None, "cpu:0", "10 steps")

    told = ledger.noise_trials("fingerprint")
    assert [row["candidate"] for row in told] == [None, 2, 2]
    assert len(ledger.fingerprint_trials("fingerprint")) == 5
    assert ledger.noise_trials("another") == []


# ------------------------------------------------------------------- at any length

FREQUENT = {  # what is asked at every candidate, in every poll, or for every prompt
    "candidate": lambda x, session: x.candidate(1),
    "decided before": lambda x, session: x.decided_before("head", "key", 1),
    "kept as": lambda x, session: x.kept_as("signature", "sha"),
    "kept evidence": lambda x, session: x.kept_evidence(session, but=1),
    "made": lambda x, session: x.made_count(session),
    "open": lambda x, session: x.open_counts(session),
    "committed": lambda x, session: x.committed(session),
    "results": lambda x, session: x.results(session),
    "decided": lambda x, session: x.decided_count(session),
    "screened": lambda x, session: x.screened_count("head"),
    "its runs": lambda x, session: x.candidate_trials(1),
    "runs of the baseline": lambda x, session: x.head_trials("head"),
    "recent runs": lambda x, session: x.recent_seconds(session),
    "next unit": lambda x, session: x.claim_unit(session, "gw0", "cpu:0"),
    "units": lambda x, session: x.unit_counts(session),
    "news": lambda x, session: x.events(session, 10),
}


@pytest.mark.parametrize("name", FREQUENT)
def test_the_thousandth_candidate_asks_as_fast_as_the_first(ledger, session, name):
    """Whatever is asked often has an index: none that grows with them is scanned."""
    asked: list[str] = []
    ledger._db.set_trace_callback(asked.append)
    with contextlib.suppress(LedgerError):
        FREQUENT[name](ledger, session)
    ledger._db.set_trace_callback(None)
    plans = [
        row["detail"]
        for sql in asked
        if sql.startswith(("SELECT", "UPDATE"))
        for row in ledger._query(f"EXPLAIN QUERY PLAN {sql}")
    ]
    assert plans
    scanned = [plan for plan in plans if re.match(r"SCAN (?!CONSTANT|heads)", plan)]
    assert [plan for plan in scanned if "USING" not in plan] == []


def test_an_older_ledger_gets_its_indexes():
    """A file of version 3 is as fast as a new one once it was opened."""
    assert schema.INDEXES in schema.SCHEMA
    assert schema.INDEXES in schema.MIGRATIONS[3]


def test_a_lane_of_before_a_kill_waits_for_nothing(ledger, session):
    """A resume begins without the lanes of the process that is gone."""
    ledger.set_lane(session, "gw0", "cpu:0", {"phase": "waits"})
    ledger.finish_session(session, "interrupted", "killed")
    row = ledger.session(session)
    again = ledger.start_session(row["kind"], row["tag"], row["settings"])
    assert again["id"] == session
    assert ledger.lanes(session) == []


def test_what_is_put_back_is_queued_once(ledger, session):
    """The unit whose lane died stays closed beside the one that took it up."""
    number = candidate(ledger, session, state="crash")
    ledger.add_unit(session, "generated", "experiments/x.py", candidate=number)
    unit = ledger.claim_unit(session, "gw0", "cpu:0")
    ledger.update_candidate(number, state="running")
    assert ledger.take_up_again(unit)
    ledger.claim_unit(session, "gw1", "cpu:0")
    ledger.update_candidate(number, state="crash")
    ledger.put_back([number])
    assert ledger.unit_counts(session) == {
        ("generated", "died"): 1,
        ("generated", "stopped"): 1,
    }
