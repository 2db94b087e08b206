"""The soak: what it injects, what it would notice, and a small one as a whole."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.bench.soak import examine, faults, timing, training
from autoresearch_plugin.bench.soak.driver import Life, Options, Record, parts
from autoresearch_plugin.bench.soak.faults import DISK, KILLS, PROPOSER, Fault, Process
from autoresearch_plugin.bench.soak.model import FAULTS, SHARE, Model, Served
from autoresearch_plugin.bench.soak.project import Project
from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.trial import Outcome, TrialResult

GOOD = TrialResult(Outcome.OK, metrics={"score": 2.0}, seconds={"train": 1.0})


def soak(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """The console script, in a process of its own."""
    start = "import sys; from autoresearch_plugin.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", start, "bench", "soak", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# --------------------------------------------------------------- what is injected


@given(st.integers(8, 3000), st.integers(0, 200), st.integers(0, 9))
def test_all_kills_are_planned_and_two_full_disks(
    candidates: int, kills: int, seed: int
) -> None:
    """As many as asked for, in order, each before the candidates are used up."""
    planned = parts(Options(candidates=candidates, kills=kills, seed=seed))
    kinds = Counter(kind for part in planned for _, kind in part.faults)

    assert sum(part.candidates for part in planned) == candidates
    assert kinds.pop(DISK) == 2
    assert sum(kinds.values()) == kills
    if kills >= 16:
        assert set(kinds) == {*KILLS, PROPOSER}
    for part in planned:
        at = [number for number, _ in part.faults]
        assert at == sorted(at)
        assert all(number < part.candidates for number in at)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("python -u -c import sys;exec(eval(sys.stdin.readline()))", "worker"),
        ("python -I -S /x/executors/run.py {... /x/soak/training.py ...}", "trial"),
        (
            "python -I -S /x/sandbox/enter.py p -- python /x/soak/training.py",
            "training",
        ),
        ("python /x/bench/soak/program.py", "proposer"),
        ("python -m pytest --autoresearch --x=command:/x/soak/program.py", "other"),
        ("git log", "other"),
    ],
)
def test_processes_are_known_by_their_command_lines(words: str, kind: str) -> None:
    """A runner quotes the training's words and is none."""
    assert Process(2, 1, words).kind == kind


def test_only_what_the_controller_started_is_hit() -> None:
    """The search begins at one process; a stranger of the same kind is not found."""
    script = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "soak/program.py"]
    with (
        subprocess.Popen([sys.executable, "-c", script, *sleep]) as parent,
        subprocess.Popen(sleep) as stranger,
    ):
        try:
            found: list[Process] = []
            while not found:
                found = [p for p in faults.below(parent.pid) if p.kind == PROPOSER]
                time.sleep(0.01)
            assert stranger.pid not in {p.pid for p in found}
            os.kill(found[0].pid, 9)
        finally:
            parent.kill()
            stranger.kill()


def test_a_full_disk_is_full_for_the_session_alone(tmp_path: Path) -> None:
    """A process that is told so cannot make a file longer, until it is told again."""
    writes = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        with open(sys.argv[1], 'a', buffering=1) as f: f.write('x' * 10)\n"
        "        print('written', flush=True)\n"
        "    except OSError as error:\n"
        "        print(error.errno, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", writes, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = []
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for limit in (None, 0, None):
            faults._limit_files(process.pid, limit)
            process.stdin.write("\n")
            process.stdin.flush()
            said.append(process.stdout.readline().strip())
        process.stdin.close()
    assert said == ["written", "27", "written"]  # EFBIG


def ask(url: str, words: str) -> bytes:
    """One request; the body as it came."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    body = {"model": "claude-sonnet-5-5", "max_tokens": 10, "words": words}
    connection.request("POST", "/v1/messages", json.dumps(body))
    with contextlib.closing(connection):
        response = connection.getresponse()
        try:
            return response.read()
        except http.client.IncompleteRead as error:
            return error.partial


def test_a_fifth_of_the_calls_fails_in_every_way() -> None:
    """Each fault occurs, and what the server books is what an answer says."""
    with Model(seed=1) as model:
        bodies = [ask(model.url, "w" * n) for n in range(200)]
        calls = list(model.calls)
    kinds = Counter(call.fault for call in calls)

    assert set(kinds) == {"", *FAULTS}
    assert abs(1 - kinds[""] / 200 - SHARE) < 0.1
    for call, body in zip(calls, bodies, strict=True):
        if not call.fault:
            usage = json.loads(body)["usage"]
            assert usage["cache_read_input_tokens"] == call.serial
            assert 0 < call.usd < call.worst


def test_ideas_are_fresh() -> None:
    """No two answers are alike, whatever is asked."""
    with Model(seed=2) as model:
        for _ in range(50):
            ask(model.url, "same")
        titles = [call.title for call in model.calls]
    assert len(set(titles)) == 50


# ----------------------------------------------------------------- the stand-in


def train(tmp_path: Path, seed: int, **knobs: float) -> float:
    """What one run of the stand-in reports."""
    import hashlib

    source = tmp_path / "train.py"
    text = training.TARGET + "".join(f"{k} = {v}\n" for k, v in knobs.items())
    source.write_text(text)
    read, write = os.pipe()
    spec = {
        "phase": "train",
        "source": str(source),
        "source_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": seed,
        "budget": {"unit": "steps", "amount": 2},
        "events_fd": write,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    words = ("-I", "-S", training.__file__, "--seconds", "0.01")
    subprocess.run(
        [sys.executable, *words, "--spec", str(tmp_path / "spec.json")],
        check=True,
        pass_fds=[write],
    )
    os.close(write)
    with os.fdopen(read) as events:
        last = json.loads(events.read().splitlines()[-1])
    return float(last["metrics"]["score"])


def test_the_stand_in_tells_its_truth_with_noise(tmp_path: Path) -> None:
    """Runs of one seed differ by the truth and little else."""
    here = train(tmp_path, 3)
    there = train(tmp_path, 3, ALPHA=training.BEST["ALPHA"])
    gain = training.WEIGHT["ALPHA"] * (0.2 - training.BEST["ALPHA"]) ** 2

    assert abs(here - there - gain) < 4 * training.NOISE * 0.36
    assert train(tmp_path, 3) == here
    assert train(tmp_path, 4) != here


# ------------------------------------------------------------- what it would notice


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A soak's project; nobody's git settings matter."""
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    found = Project(tmp_path, 0.1)
    found.git("branch", "autoresearch/main")
    return found


@pytest.fixture
def ledger(project: Project) -> Iterator[Ledger]:
    """Its ledger with one candidate that was decided as it should be."""
    found = Ledger(project.ledger)
    row = found.start_session("research", "main", "{}")
    found.add_head("head", "fingerprint", "sha", "source", None)
    found.set_head(row["id"], "head", None, "fingerprint")
    add(found, "good", "discard")
    yield found
    found.close()


def add(ledger: Ledger, title: str, state: str, runs: int = 1, n: int = 1) -> int:
    """A candidate with `runs` runs and a verdict that speaks of `n`."""
    fields = {"title": title, "edits": "[]", "signature": title, "source_key": title}
    number = ledger.add_candidate(1, "generated", {**fields, "head": "head"})
    for index in range(runs):
        trial = ledger.start_trial(1, "head", number, index)["id"]
        ledger.finish_trial(trial, GOOD, 2.0, "cpu:0", "10 steps")
    ledger.add_verdict(number, "head", state, {"n": n})
    ledger.update_candidate(number, state=state)
    return number


def counts(project: Project, served: tuple[Served, ...] = ()) -> tuple[int, int, int]:
    """How many of each kind of finding."""
    found = examine.findings(project, served, wanted=1)
    return len(found.lost), len(found.twice), len(found.without_evidence)


def test_nothing_is_found_where_all_is_well(project: Project, ledger: Ledger) -> None:
    """A verdict with its evidence and runs."""
    assert counts(project) == (0, 0, 0)


@pytest.mark.parametrize("state", ["queued", "running", "stopped", "failed"])
def test_a_candidate_without_a_verdict_is_lost(
    project: Project, ledger: Ledger, state: str
) -> None:
    """Whatever else its row says."""
    ledger.update_candidate(add(ledger, "open", "discard"), state=state)
    assert counts(project) == (1, 0, 0)


def test_an_idea_that_was_paid_for_and_is_nowhere_is_lost(
    project: Project, ledger: Ledger
) -> None:
    """The ledger has the call and no candidate."""
    booked = call(ledger, usd=0.1, serial=7)
    assert counts(project, (booked,)) == (1, 0, 0)
    assert counts(project, (replace(booked, title="good"),)) == (0, 0, 0)


def test_a_keep_that_is_not_on_the_branch_is_lost(
    project: Project, ledger: Ledger
) -> None:
    """Its commit is named and not there."""
    ledger.update_candidate(add(ledger, "kept", "keep"), commit_id="1" * 40)
    assert counts(project) == (1, 0, 0)


def test_what_was_evaluated_twice_is_found(project: Project, ledger: Ledger) -> None:
    """A seed that ran twice, a second verdict, and an equal source."""
    number = add(ledger, "again", "discard", n=2)
    trial = ledger.start_trial(1, "head", number, 0)["id"]
    ledger.finish_trial(trial, GOOD, 2.0, "cpu:0", "10 steps")
    assert counts(project) == (0, 1, 0)
    ledger.add_verdict(number, "head", "discard", {"n": 2})
    assert counts(project) == (0, 2, 0)
    ledger.update_candidate(add(ledger, "equal", "discard"), source_key="again")
    assert counts(project) == (0, 3, 0)


def test_verdicts_without_evidence_are_found(project: Project, ledger: Ledger) -> None:
    """More runs than there are, or a crash where nothing crashed."""
    add(ledger, "bold", "discard", runs=1, n=3)
    add(ledger, "calm", "crash")
    assert counts(project) == (0, 0, 2)


# ----------------------------------------------------------------------- money


def call(ledger: Ledger, usd: float, serial: int, status: str = "ok") -> Served:
    """A call in the ledger, and as the server has it."""
    handle = ledger.reserve(1, 5.0, 100.0)
    booked = {
        "proposer": "anthropic",
        "model": "m",
        "input_tokens": 1,
        "cache_read_tokens": serial,
        "cache_write_tokens": 0,
        "output_tokens": 1,
        "usd": usd,
        "seconds": 0.1,
        "status": status,
    }
    ledger.settle(1, handle, booked)
    fault = "" if status == "ok" else "half"
    return Served(serial, fault, 10.0, 0.1, 5.0, f"idea {serial}")


def test_what_was_booked_as_charged_is_no_error(
    project: Project, ledger: Ledger
) -> None:
    """Answers as they say, lost ones in full, refused ones not at all."""
    served = [call(ledger, 0.1, 1), call(ledger, 5.0, 0, "connection (ReadError)")]
    served.append(Served(3, "529", 10.0, 0.1, 5.0, "idea 3"))
    assert examine.spend_error(project, served, ends=0) == pytest.approx(0.0)


def test_every_wrong_booking_is_an_error(project: Project, ledger: Ledger) -> None:
    """A cent too much, an answer that is not booked, a charge for nothing."""
    wrong = call(ledger, 0.11, 1)
    assert examine.spend_error(project, [wrong], ends=0) == pytest.approx(0.01)
    missing = Served(9, "", 10.0, 0.1, 5.0, "idea 9")
    assert examine.spend_error(project, [wrong, missing], 0) == pytest.approx(5.01)
    call(ledger, 2.0, 0, "lost")
    assert examine.spend_error(project, [wrong], ends=0) == pytest.approx(2.01)
    assert examine.spend_error(project, [wrong], ends=1) == pytest.approx(0.01)


# ------------------------------------------------------------------------- time


def runs(*spans: tuple[str, float, float | None], calls: tuple[Any, ...] = ()) -> Any:
    """A project whose ledger has these runs (owner, start, end) and calls."""
    rows = [
        {"owner": f"{pid}:0", "started": a, "finished": b, "state": "done"}
        for pid, a, b in spans
    ]
    told = [{"status": status, "created": at} for status, at in calls]
    return SimpleNamespace(query=lambda sql: told if "llm_calls" in sql else rows)


def test_lanes_that_always_run_have_a_ratio_of_one() -> None:
    """Start-up before the first run does not count."""
    record = Record(lives=[Life(0.0, 25.0, False, 0)])
    full = runs(("1", 5, 15), ("2", 5, 10), ("2", 10, 15))
    assert timing.schedule_ratio(full, record, 2) == pytest.approx(1.0)
    half = runs(("1", 5, 15), ("2", 5, 10))
    assert timing.schedule_ratio(half, record, 2) == pytest.approx(20 / 15)


def test_an_injected_outage_is_not_the_schedule() -> None:
    """A controller that was killed, and a lane until its successor runs."""
    record = Record(
        lives=[Life(0, 12, True, -9), Life(12, 40, False, 0)],
        faults=[Fault("worker", 24.0, 3)],
    )
    spans = runs(
        *(("1", 2, 12), ("2", 2, 7), ("2", 7, None)),  # killed at 12
        *(("3", 20, None), ("4", 20, 30), ("5", 27, 30)),  # 3 dies at 24
    )
    assert timing.schedule_ratio(spans, record, 2) == pytest.approx(1.0)


def test_a_model_that_is_silent_for_long_is_an_outage() -> None:
    """Lanes that wait for it are not blamed; a short back-off is everyday life."""
    record = Record(lives=[Life(0.0, 45.0, False, 0)])
    spans = (("1", 0, 10), ("1", 30, 40))
    long = (("ok", 1), ("HTTP 529", 10), ("HTTP 529", 15), ("ok", 30))
    short = (("HTTP 500", 10), ("ok", 12))
    ratios = [
        timing.schedule_ratio(runs(*spans, calls=calls), record, 1)
        for calls in (long, short)
    ]
    assert ratios == pytest.approx([1.0, 2.0])


def test_memory_is_compared_once_everything_is_imported() -> None:
    """The first seconds of a controller are no growth."""
    record = Record(lives=[Life(0.0, 100.0, False, 0)])
    record.memory = [(1.0, 0, 20.0), (30.0, 5, 90.0), (60.0, 50, 97.5)]
    assert timing.rss_growth(record) == 7.5
    assert timing.rss_growth(Record()) is None


# --------------------------------------------------------------------- as a whole


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--candidates", "3"), "--candidates 3: give 8 or more"),
        (("--lanes", "0"), "--lanes 0 --kills 50 --seconds 5: give a lane or more"),
        (("--seconds", "nan"), "runs of 0.05 to 3600 seconds"),
    ],
)
def test_a_size_that_makes_no_sense_is_said(words: tuple[str, ...], said: str) -> None:
    """One sentence, exit code 1, nothing started."""
    done = soak(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_in_use_is_not_touched(project: Project) -> None:
    """What lies there stays as it was."""
    before = project.git("status", "--porcelain")
    done = soak("--folder", str(project.path.parent))
    assert "there is a soak's project in it already" in done.stderr
    assert project.git("status", "--porcelain") == before


def test_a_python_that_is_gone_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, with the file that was looked for."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InfrastructureError, match="whether /nowhere/python is still"):
        project.start([], "http://127.0.0.1:1")


@pytest.mark.slow
def test_a_small_soak_loses_nothing(tmp_path: Path) -> None:
    """Thirty candidates, two lanes, four kills, two full disks: nothing is lost."""
    sizes = ("--candidates", "30", "--lanes", "2", "--kills", "4", "--seconds", "0.3")
    done = soak(*sizes, "--json", "--folder", str(tmp_path), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    (figures,) = json.loads(done.stdout)

    wanted = {"candidates": 30, "lanes": 2, "kills": 4, "lost": 0, "twice": 0}
    wanted |= {"without_evidence": 0, "spend_error": 0.0}
    assert {key: figures[key] for key in wanted} == wanted
    assert figures["llm_faults"] > 0
    assert figures["query_ms"] < 50
    assert 0 < figures["prompt_tokens_10"] <= figures["prompt_tokens_last"]
