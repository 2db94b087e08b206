"""Lanes: the same session in one process, in two workers, and when a worker dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import Any
from xml.etree import ElementTree as ET

import pytest

MODES = {"two": "-n2", "none": "-n0", "without": "-pno:xdist"}
# Gains and harms of at least 40 sigma, in whatever order lanes come to them.
SCRIPT = {
    "gain": {"LR": 0.02},
    "harm": {"LR": 0.9},
    "crash": {"MISBEHAVE": "crash"},
    "wider": {"WIDTH": 9},
    "narrower": {"WIDTH": 1},
}
VICTIM = {"LR": 0.8, "STEP_COST": 150.0}  # a harm whose run takes seconds
PROPOSER = '''"""Half a second of thought for each proposal, four proposals."""
import json, sys, time
request = json.load(sys.stdin)
number = len(request["tried"])
time.sleep(0.5)
if number < 4:
    edits = [{"op": "set", "knob": "LR", "value": 0.6 + number / 10}]
    print(json.dumps({"title": f"burn {number}", "hypothesis": "h", "edits": edits}))
'''
FIXTURES = '''"""Says when what is set up and torn down, and in which process."""
import os
import pytest

def note(words):
    with open("fixtures.log", "a") as file:
        file.write(f"{os.getpid()} {words}\\n")

@pytest.fixture(scope="session", autouse=True)
def whole():
    note("session up")
    yield
    note("session down")

@pytest.fixture(scope="module", autouse=True)
def part(request):
    name = request.module.__name__.split(".")[-1]
    note(f"{name} up")
    yield
    note(f"{name} down")
'''
PLAIN = "def test_{0}_1():\n    pass\n\ndef test_{0}_2():\n    pass\n"


def read_junit(project: Any) -> list[ET.Element]:
    """Testcases of the last session."""
    path = project.path / "autoresearch-report" / "junit.xml"
    return list(ET.parse(path).getroot().iter("testcase"))


def verdicts(project: Any) -> dict[str, str]:
    """Signature -> state of the candidates."""
    return {row["signature"]: row["state"] for row in project.ledger().candidates()}


# ------------------------------------------------------------- the same in all modes


@pytest.fixture(scope="module")
def same(new_project: Any) -> dict[str, Any]:
    """One script through all three ways to run it: mode -> (project, result)."""
    ended = {}
    for mode, option in MODES.items():
        project = new_project(mode)
        project.commit()
        words = project.script(**SCRIPT)
        ended[mode] = project, project.research(words, option)
    return ended


@pytest.mark.parametrize("mode", MODES)
def test_a_script_ends_well(same: Any, mode: str) -> None:
    """Exit code 0, two keeps on the branch, nothing left running."""
    project, ran = same[mode]

    assert ran.ret == 0, str(ran.stdout) + str(ran.stderr)
    assert sorted(project.git("log", "--format=%s", "autoresearch/main").split()) == [
        *("gain", "start", "wider")
    ]
    assert project.alive() == {}


@pytest.mark.parametrize("mode", ["none", "without"])
def test_verdicts_do_not_depend_on_lanes(same: Any, mode: str) -> None:
    """The same {signature: verdict} with two lanes as with one."""
    assert verdicts(same[mode][0]) == verdicts(same["two"][0])
    assert sorted(same["two"][0].states().values()) == [
        *("crash", "discard", "discard", "keep", "keep")
    ]


@pytest.mark.parametrize("mode", MODES)
def test_reports_know_tests_and_no_lanes(same: Any, mode: str) -> None:
    """A testcase for each candidate, once; the percentage ends at 100."""
    project, ran = same[mode]
    names = [case.attrib["name"] for case in read_junit(project)]

    assert sorted(names) == [f"test_{name}" for name in sorted(SCRIPT)]
    assert re.findall(r"\[ *(\d+)%\]", ran.stdout.str())[-1] == "100"
    assert "autoresearch-lane" not in ran.stdout.str()


def test_a_keep_on_an_old_baseline_is_measured_again(same: Any) -> None:
    """With two lanes too, each keep is judged on the commit that it stands on."""
    project, _ = same["two"]
    ledger = project.ledger()
    for row in ledger.candidates():
        if row["state"] == "keep":
            parent = project.git("rev-parse", f"{row['commit_id']}~")
            assert ledger.head(row["head"])["commit_id"] == parent
            assert len(ledger.good_trials(row["id"], row["head"])) == 2
            assert len(ledger.head_trials(row["head"])) >= 3


def test_no_two_lanes_share_a_device(same: Any) -> None:
    """There are two workers, and each has a device of its own."""
    project, ran = same["two"]
    lanes = {row["name"]: row["device"] for row in project.ledger().lanes(1)}

    assert "created: 2/2 workers" in ran.stdout.str()
    assert set(lanes) <= {"gw0", "gw1"}
    assert len(set(lanes.values())) == len(lanes)


# ----------------------------------------------------- waiting, fixtures, --dist, auto


@pytest.fixture(scope="module")
def slow(new_project: Any) -> Any:
    """Two lanes, a slow proposer, two hand-written files, fixtures that take notes."""
    project = new_project("slow")
    folder = project.path / "experiments"
    (folder / "conftest.py").write_text(FIXTURES)
    for name in "ab":
        (folder / f"test_{name}.py").write_text(PLAIN.format(name))
    program = project.path / "proposer.py"
    program.write_text(PROPOSER)
    project.commit()
    words = f"--autoresearch-proposer=command:{{python}} {program}"
    project.ran = project.research(words, "-n2")
    return project


def test_a_candidate_starts_as_soon_as_it_is_written(slow: Any) -> None:
    """Written-to-started stays below two seconds while lanes wait for ideas."""
    rows = [row for row in slow.ledger().candidates() if row["kind"] == "generated"]
    waits = [
        unit["s"]
        for row in rows
        for unit in slow.ledger()._query(
            "SELECT started - created AS s FROM units WHERE candidate=?", row["id"]
        )
    ]

    assert slow.ran.ret == 0, slow.ran.stdout.str()
    assert len(waits) == 4
    assert max(waits) < 2


def test_fixtures_are_torn_down_in_order(slow: Any) -> None:
    """In each worker: session first up and last down, one module at a time between."""
    lines: dict[str, list[str]] = {}
    for line in (slow.path / "fixtures.log").read_text().splitlines():
        pid, words = line.split(" ", 1)
        lines.setdefault(pid, []).append(words)
    modules = []
    for words in lines.values():
        assert (words[0], words[-1]) == ("session up", "session down")
        inner = words[1:-1]
        for up, down in zip(inner[::2], inner[1::2], strict=True):
            assert up.removesuffix(" up") == down.removesuffix(" down")
            modules.append(up.removesuffix(" up"))

    assert 1 <= len(lines) <= 2
    assert sorted(modules) == [
        *("test_0001_burn_0", "test_0002_burn_1", "test_0003_burn_2"),
        *("test_0004_burn_3", "test_a", "test_b"),
    ]


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ("--tx 2*popen --dist=loadgroup", 2),
        ("-nauto --autoresearch-devices=cpu:0", 1),
    ],
)
def test_xdist_options_change_nothing(slow: Any, words: str, workers: int) -> None:
    """Whatever --dist says, lanes run the session; -n auto is one lane a device."""
    ran = slow.research(*words.split(), slow.script(hot={"LR": 0.95}))

    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines([f"{workers} worker* [[]5 items[]]"])
    names = sorted(case.attrib["name"] for case in read_junit(slow))
    assert names[:4] == ["test_a_1", "test_a_2", "test_b_1", "test_b_2"]


def test_dist_each_is_refused(slow: Any) -> None:
    """`--dist each` would run each candidate in each worker, so it is refused."""
    ran = slow.research("-n2", "--dist=each")

    assert ran.ret == 4
    ran.stderr.fnmatch_lines(["*--dist each*Leave --dist out."])


# ------------------------------------------------------------------ equal candidates


def test_equal_candidates_at_once_run_once(new_project: Any) -> None:
    """Two spellings of one source on two lanes: one is trained, one waits for it."""
    project = new_project("equal")
    project.commit()
    other = {"op": "replace", "old": "LR = 0.1  #", "new": "LR = 0.9  #"}
    words = project.script(burn={"LR": 0.9}, same={"edits": [other]})
    ran = project.research(words, "-n2")
    ledger = project.ledger()
    runs = [len(ledger.candidate_trials(row["id"])) for row in ledger.candidates()]

    assert ran.ret == 0, ran.stdout.str()
    assert sorted(runs) == [0, 1]
    assert list(project.states().values()) == ["discard", "discard"]


# ------------------------------------------------------------------ a lane that dies


@pytest.fixture(scope="module")
def killed(new_project: Any) -> Any:
    """A session one of whose workers is killed while it trains a slow candidate."""
    project = new_project("killed")
    project.commit()
    words = project.script(victim=VICTIM, harm={"LR": 0.9}, worse={"WIDTH": 1})
    process = project.start("--autoresearch", words, "-n2")

    def victim() -> Any:
        return project.ledger()._one(
            "SELECT t.owner, u.device, u.lane FROM trials t JOIN candidates c ON "
            "c.id = t.candidate JOIN units u ON u.candidate = c.id WHERE "
            "t.state = 'running' AND c.title = 'victim'"
        )

    try:
        project.until(lambda: (project.path / ".autoresearch/ledger.db").exists())
        project.until(victim)
        project.victim = victim()
        os.kill(int(project.victim["owner"].split(":")[0]), signal.SIGKILL)
        project.out, _ = process.communicate(timeout=60)
        project.code = process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return project


def test_a_dead_lane_is_reported_once_by_name(killed: Any) -> None:
    """The candidate's name and its device, one failure, exit code 1; the candidate
    itself is not to blame and gets its verdict from another lane."""
    cases = read_junit(killed)
    mine = [case for case in cases if case.attrib["name"] == "autoresearch-lane"]
    failure = mine[0].find("failure")

    assert killed.code == 1, killed.out
    assert len(mine) == 1
    assert failure is not None
    words = f"worker {killed.victim['lane']} died on {killed.victim['device']} while"
    assert words in failure.attrib["message"]
    assert "test_victim, which is run again" in failure.attrib["message"]
    assert killed.states()["victim"] == "discard"


def test_the_session_goes_on_with_a_replacement(killed: Any) -> None:
    """The others are decided; the new worker has the device of the dead one."""
    states = killed.states()
    lanes = {row["name"]: row["device"] for row in killed.ledger().lanes(1)}

    assert (states["harm"], states["worse"]) == ("discard", "discard")
    assert sorted(case.attrib["name"] for case in read_junit(killed)) == [
        *("autoresearch-lane", "test_harm", "test_victim", "test_worse")
    ]
    assert "replacing crashed worker" in killed.out
    assert lanes.get("gw2", killed.victim["device"]) == killed.victim["device"]


def test_a_dead_lane_leaves_nothing_behind(killed: Any) -> None:
    """Its training died with it, and its device is free."""
    from autoresearch_plugin.devices import discover, lease

    device = next(
        one for one in discover({}, "cpu") if one.id == killed.victim["device"]
    )
    with lease(device) as held:
        assert held.shared_with is None
    assert killed.alive() == {}


def test_the_next_session_tries_again_what_a_death_cut_short(killed: Any) -> None:
    """A lane's death is nobody's verdict: a new session may propose the same idea."""
    words = killed.script(victim=VICTIM)
    ran = killed.research(words, "-pno:xdist")

    assert ran.ret == 0, ran.stdout.str()
    assert killed.ledger().candidates()[-1]["state"] == "discard"
