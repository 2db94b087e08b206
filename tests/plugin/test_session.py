"""`pytest --autoresearch` from its first line to its last, in one process."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

# A harm is worse than the baseline by 100 sigma, a gain better by 40.
HARM = {"LR": 0.9}
GAIN = {"LR": 0.02}
PLAIN_TEST = "def test_plain():\n    assert True\n"
COMMENT = {
    "edits": [{"op": "replace", "old": "step size; range 0.001..1 log", "new": "rate"}]
}


class Ended:
    """What one session left: exit code, screen, reports."""

    def __init__(self, project: Any, ran: pytest.RunResult) -> None:
        self.project = project
        self.code = int(ran.ret)
        self.text = "\n".join([*ran.outlines, *ran.errlines])
        self.report = project.path / "autoresearch-report"

    @property
    def cases(self) -> dict[str, ET.Element]:
        """Testcases of junit.xml by name."""
        root = ET.parse(self.report / "junit.xml").getroot()
        return {case.attrib["name"]: case for case in root.iter("testcase")}

    def line(self, name: str) -> dict[str, str]:
        """One line of results.tsv, by its description."""
        with (self.report / "results.tsv").open() as file:
            rows = {
                row["description"]: row
                for row in csv.DictReader(file, dialect="excel-tab")
            }
        return rows[name]

    def trials(self, title: str) -> list[dict[str, Any]]:
        """Runs of the last candidate with this title."""
        ledger = self.project.ledger()
        rows = [row for row in ledger.candidates() if row["title"] == title]
        found: list[dict[str, Any]] = ledger.candidate_trials(rows[-1]["id"])
        return found


def properties(case: ET.Element) -> dict[str, str]:
    """A testcase's properties."""
    found = case.iterfind("properties/property")
    return {one.attrib["name"]: one.attrib["value"] for one in found}


# ------------------------------------------------------------- one whole session


@pytest.fixture(scope="module")
def project(new_project: Any) -> Any:
    """One hand-written gain, an ordinary test, a failing one outside experiments/."""
    made = new_project("session")
    made.candidate("wide", "set('WIDTH', 9)", title="Wider: units cost nothing here.")
    (made.path / "experiments" / "test_plain.py").write_text(PLAIN_TEST)
    (made.path / "tests").mkdir()
    (made.path / "tests" / "test_no.py").write_text("def test_no():\n    assert 0\n")
    made.commit()
    return made


@pytest.fixture(scope="module")
def first(project: Any) -> Ended:
    """The hand-written keep first, then a script of every kind of proposal."""
    words = project.script(
        harm=HARM,
        comment=COMMENT,
        gain=GAIN,
        crash={"MISBEHAVE": "crash"},
        not_a_number={"MISBEHAVE": "nan"},
        no_module={"MISBEHAVE": "missing"},
        refuses={"MISBEHAVE": "refuse"},
        memory={"MISBEHAVE": "memory"},
    )
    return Ended(project, project.research(words, "-p", "no:xdist", "--durations=0"))


def test_a_used_up_script_is_success(first: Ended) -> None:
    """Discards, crashes and refused proposals are results, not failures."""
    assert first.code == 0, first.text


def test_a_keep_is_a_commit_on_the_research_branch(first: Ended) -> None:
    """`git log` shows the keeps in order, on top of the start; main has not moved."""
    git = first.project.git

    assert git("log", "--format=%s", "autoresearch/main").splitlines() == [
        "gain",
        "Wider",
        "start",
    ]
    assert git("log", "--format=%s", "main") == "start"


def test_a_keep_shows_exactly_the_patch_that_ran(first: Ended) -> None:
    """`git show` of the target is the ledger's diff; the test comes with it."""
    git = first.project.git
    rows = {row["title"]: row for row in first.project.ledger().candidates()}
    shown = git("diff", "autoresearch/main~", "autoresearch/main", "--", "train.py")

    assert (
        shown[shown.index("@@") :]
        == rows["gain"]["diff"][rows["gain"]["diff"].index("@@") :].strip()
    )
    assert git("show", "--format=", "--name-only", "autoresearch/main").split() == [
        f"experiments/test_{rows['gain']['id']:04d}_gain.py",
        "train.py",
    ]


def test_a_keep_s_trailers_name_the_bytes_and_the_idea(first: Ended) -> None:
    """Train-Sha256 is that of the committed bytes, Candidate the signature."""
    git = first.project.git
    rows = {row["title"]: row for row in first.project.ledger().candidates()}
    source = subprocess.run(
        ["git", "show", "autoresearch/main:train.py"],
        cwd=first.project.path,
        capture_output=True,
        check=True,
    ).stdout
    lines = git("log", "-1", "--format=%(trailers)", "autoresearch/main").splitlines()
    trailers = dict(line.split(": ", 1) for line in lines)

    assert trailers["Train-Sha256"] == hashlib.sha256(source).hexdigest()
    assert trailers["Candidate"] == rows["gain"]["signature"]
    assert trailers["Runs"] == "2"
    assert set(trailers) >= {"Score", "Baseline-Score", "Effect", "Device"}


def test_the_next_candidate_meets_the_new_baseline(first: Ended) -> None:
    """A keep moves the baseline of what comes after it, in the source too."""
    keeps = first.project.git("log", "--format=%H", "autoresearch/main").split()
    parents = {n: properties(c).get("parent") for n, c in first.cases.items()}

    assert parents["test_wide"] == keeps[2]
    assert parents["test_harm"] == parents["test_gain"] == keeps[1]
    assert parents["test_crash"] == keeps[0]
    rows = {row["title"]: row for row in first.project.ledger().candidates()}
    assert "+LR = 0.02" in rows["gain"]["diff"]
    assert " WIDTH = 9" in rows["gain"]["diff"]


def test_a_true_harm_costs_one_run(first: Ended) -> None:
    """The first run of a candidate far worse than the baseline is the last."""
    assert len(first.trials("harm")) == 1
    assert first.project.states()["harm"] == "discard"


def test_a_no_op_costs_no_run(first: Ended) -> None:
    """A change of comments is refused before it becomes a candidate."""
    assert "comment" not in first.project.states()
    assert "comment" in first.text
    assert "1 answers of the proposer could not be used (no run spent)" in first.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash", "crashed: error: ValueError: broken on purpose"),
        ("not_a_number", "crashed: nan: "),
        ("no_module", "crashed: import: "),
        ("refuses", "crashed: assert: "),
        ("memory", "crashed: oom-train: "),
    ],
)
def test_a_crash_is_typed_and_expected(first: Ended, name: str, words: str) -> None:
    """A candidate that breaks is an expected failure that says how it broke."""
    skipped = first.cases[f"test_{name}"].find("skipped")

    assert skipped is not None
    assert skipped.attrib["type"] == "pytest.xfail"
    assert skipped.attrib["message"].startswith(words)
    assert first.line(name.replace("_", " "))["score"] == ""
    assert first.line(name.replace("_", " "))["status"] == "crash"


def test_the_header_says_where_each_value_comes_from(first: Ended) -> None:
    """Target, profile, budget, devices, proposer, rule, stop, each with its source."""
    for pattern in (
        r"autoresearch \S+: autoresearch/main at [0-9a-f]{7}",
        r"target train\.py \(ini autoresearch_target\)",
        r"profile \S+ \(default\)",
        r"budget 10 steps \(profile\)",
        r"device .+: cpu:0.* \(default\)",
        r"proposer scripted:\S+ \(--autoresearch-proposer\)",
        r"rule default \(default\)",
        r"stop: at Ctrl-C",
        r"toy command: nothing is trained",
    ):
        assert re.search(pattern, first.text), pattern


def test_junit_holds_every_test_and_no_lane(first: Ended) -> None:
    """One testcase each; a keep says candidate, baseline, device and commit."""
    assert set(first.cases) == {
        *("test_wide", "test_plain", "test_harm", "test_gain", "test_crash"),
        *("test_not_a_number", "test_no_module", "test_refuses", "test_memory"),
    }
    kept = properties(first.cases["test_gain"])
    assert kept["verdict"] == "keep"
    assert kept["commit"] == first.project.git("rev-parse", "autoresearch/main")
    assert float(kept["score_mean"]) < float(kept["baseline_mean"])
    assert (kept["score_n"], kept["baseline_n"]) == ("2", "2")
    out = first.cases["test_gain"].findtext("system-out") or ""
    assert "gain helps." in out
    assert "+LR = 0.02" in out
    assert properties(first.cases["test_plain"]) == {}


def test_kept_xml_holds_the_keeps(first: Ended) -> None:
    """Both keeps with their commits, and nothing else."""
    cases = ET.parse(first.report / "kept.xml").getroot().iter("testcase")
    commits = {case.attrib["name"]: properties(case)["commit"] for case in cases}
    keeps = first.project.git("log", "-2", "--format=%H", "autoresearch/main").split()

    assert commits == {"test_wide": keeps[1], "test_gain": keeps[0]}


def test_results_tsv_is_the_notebook(first: Ended) -> None:
    """Five columns; the value is that of the verdict, on the head that decided it."""
    header = (first.report / "results.tsv").read_text().splitlines()[0]

    assert header.split("\t") == [
        *("commit", "score", "memory_gb", "status", "description")
    ]
    kept = properties(first.cases["test_gain"])
    assert first.line("baseline")["status"] == "keep"
    assert first.line("gain")["status"] == "keep"
    assert first.line("gain")["commit"] == kept["commit"][:7]
    assert float(first.line("gain")["score"]) == pytest.approx(
        float(kept["score_mean"]), abs=1e-5
    )
    assert float(first.line("harm")["score"]) > float(first.line("baseline")["score"])


def test_the_screen_shows_letters_words_and_progress(first: Ended) -> None:
    """A line a test, a line a run, the percentage ends at 100."""
    assert re.search(r"test_gain KEPT +\[ *\d+%\]", first.text)
    assert re.search(r"test_harm DISCARDED", first.text)
    assert re.search(r"main  baseline [0-9a-f]{7}, run 1: score \d", first.text)
    assert re.findall(r"\[ *(\d+)%\]", first.text)[-1] == "100"
    assert "3 passed, 6 xfailed" in first.text


def test_generated_files_are_gone_and_the_checkout_is_clean(first: Ended) -> None:
    """The directory is ours and empty; git sees nothing new."""
    generated = first.project.path / "experiments" / "_generated"

    assert [path.name for path in generated.iterdir()] == [".gitignore"]
    assert first.project.git("status", "--porcelain") == ""


# --------------------------------------------------------- after the keeps are merged


@pytest.fixture(scope="module")
def merged(first: Ended) -> Ended:
    """The research branch merged, so the same baseline; beside it two false claims."""
    project = first.project
    project.git("merge", "-q", "autoresearch/main")
    project.candidate("hand_harm", "set('LR', 0.9)", title="Hotter: it burns.")
    project.candidate("hand_noop", "replace('units; ', '')", title="Wordless: shorter.")
    return Ended(project, project.research("-p", "no:xdist"))


def test_a_kept_test_is_skipped_with_its_commit(merged: Ended) -> None:
    """Its change is in the baseline: no run, the commit that holds it named."""
    keeps = merged.project.git("log", "-2", "--format=%h", "autoresearch/main").split()

    for name, commit in zip(("test_gain", "test_wide"), keeps, strict=True):
        skipped = merged.cases[name].find("skipped")
        assert skipped is not None
        words = f"in the baseline since {commit[:7]} (-"
        assert skipped.attrib["message"].startswith(words)


def test_a_false_claim_of_a_developer_fails(merged: Ended) -> None:
    """Hand-written and not better: F with the one-line reason, exit code 1."""
    failure = merged.cases["test_hand_harm"].find("failure")

    assert merged.code == 1
    assert failure is not None
    assert failure.attrib["message"].startswith("discard: ")
    assert "test_hand_harm FAILED" in merged.text


def test_a_hand_written_no_op_fails_without_a_run(merged: Ended) -> None:
    """Only a comment: refused before training, with words."""
    failure = merged.cases["test_hand_noop"].find("failure")

    assert failure is not None
    assert failure.attrib["message"].startswith("no-op: ")
    assert merged.trials("Wordless") == []


def test_a_finished_session_starts_anew(merged: Ended) -> None:
    """The next command is a session of its own; only an interrupted one goes on."""
    assert "resumed" not in merged.text
    assert [row["state"] for row in merged.project.ledger().sessions()] == [
        "finished",
        "finished",
    ]


def test_the_baseline_is_not_measured_twice(merged: Ended) -> None:
    """The kept commit's runs of the first session serve the second."""
    sessions = {row["session"] for row in merged.project.ledger().session_trials(2)}
    counts = merged.project.ledger().session_trials(2)

    assert sessions <= {2}
    assert [row for row in counts if row["candidate"] is None] == []


# ------------------------------------------------------------------- small sessions


def small_project(new_project: Any, name: str) -> Any:
    """A project whose hand-written tests are an ordinary one and a false claim."""
    made = new_project(name)
    made.candidate("burns", "set('LR', 0.9)")
    (made.path / "experiments" / "test_a_plain.py").write_text(PLAIN_TEST)
    made.commit()
    return made


@pytest.fixture(scope="module")
def idle(new_project: Any) -> Any:
    """Such a project in which nothing is ever trained."""
    return small_project(new_project, "idle")


@pytest.fixture(scope="module")
def small(new_project: Any) -> Any:
    """Such a project whose false claim was measured, and failed."""
    made = small_project(new_project, "small")
    assert made.research("-pno:xdist").ret == 1
    return made


@pytest.mark.parametrize(
    "words", ["--collect-only", "--setup-plan", "--setup-plan -n2"]
)
def test_looking_at_a_session_starts_none(new_project: Any, words: str) -> None:
    """--collect-only and --setup-plan show hand-written tests and train nothing."""
    project = small_project(new_project, "looked-at")
    ended = Ended(project, project.research(*words.split(), project.script(one=HARM)))

    assert ended.code == 0, ended.text
    assert "-n2" in words or "test_burns" in ended.text
    assert "autoresearch-lane" not in ended.text
    assert not (project.path / ".autoresearch").exists()


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n2"])
def test_no_time_means_no_training(idle: Any, lanes: str) -> None:
    """--autoresearch-hours 0: candidates are skipped as aborted, ordinary tests run."""
    words = ("--autoresearch-hours=0", lanes, idle.script(one=HARM))
    ended = Ended(idle, idle.research(*words))
    skipped = ended.cases["test_burns"].find("skipped")

    assert ended.code == 0, ended.text
    assert skipped is not None
    assert "aborted, time budget of 0 h used up" in skipped.attrib["message"]
    assert set(ended.cases) == {"test_burns", "test_plain"}
    assert "this session: time budget of 0 h used up" in ended.text
    assert idle.ledger()._query("SELECT * FROM trials") == []


def test_require_keep_fails_a_session_without_one(idle: Any) -> None:
    """--autoresearch-require-keep turns "nothing kept" into exit code 1."""
    words = ("--autoresearch-require-keep", "--autoresearch-hours=0", "-pno:xdist")

    assert Ended(idle, idle.research(*words)).code == 1


def test_a_filter_is_about_hand_written_tests_only(small: Any) -> None:
    """-k and --deselect drop claims, never what the proposer writes; exit 0, not 5."""
    script = small.script(one={"LR": 0.85})
    words = ("-k", "nothing_is_called_so", script, "-pno:xdist")
    ended = Ended(small, small.research(*words))

    assert ended.code == 0, ended.text
    assert set(ended.cases) == {"test_one"}
    words = ("--deselect", "experiments/test_burns.py", small.script(two={"LR": 0.8}))
    ended = Ended(small, small.research(*words, "-pno:xdist"))
    assert ended.code == 0, ended.text
    assert set(ended.cases) == {"test_plain", "test_two"}


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n2"])
def test_x_stops_at_a_real_failure(small: Any, lanes: str) -> None:
    """-x: exit 1 with and without xdist, the session is finished, no run is left."""
    broken = small.path / "experiments" / "test_0_broken.py"
    broken.write_text("def test_broken():\n    assert 0\n")
    slow = {"edits": [{"op": "set", "knob": "STEP_COST", "value": 900.0}]}
    ended = Ended(small, small.research("-x", lanes, small.script(slow=slow)))
    broken.unlink()

    assert ended.code == 1, ended.text
    assert ended.cases["test_broken"].find("failure") is not None
    assert (
        "test_slow" not in ended.cases
        or ended.cases["test_slow"].find("skipped") is not None
    )
    assert small.ledger().sessions()[-1]["state"] == "finished"
    assert small.alive() == {}


def test_last_failed_reruns_claims_and_still_generates(small: Any) -> None:
    """--lf picks what failed alone, and new files are not skipped by it."""
    flaky = small.path / "experiments" / "test_flaky.py"
    flaky.write_text("def test_flaky():\n    assert 0\n")
    failed = Ended(small, small.research("-pno:xdist"))
    words = ("--lf", "-pno:xdist", small.script(lf={"LR": 0.7}))
    ended = Ended(small, small.research(*words))
    flaky.unlink()

    assert failed.code == ended.code == 1, ended.text
    assert set(ended.cases) == {"test_flaky", "test_lf"}


def test_what_was_decided_is_not_trained_again(small: Any) -> None:
    """The false claim's second session answers from the ledger, as a skip."""
    ended = Ended(small, small.research("-pno:xdist"))
    skipped = ended.cases["test_burns"].find("skipped")

    assert ended.code == 0, ended.text
    assert skipped is not None
    assert "decided before as #" in skipped.attrib["message"]
    assert small.ledger().session_trials(small.ledger().sessions()[-1]["id"]) == []


def test_a_tag_is_another_research_branch(small: Any) -> None:
    """--autoresearch-tag: the keep goes to autoresearch/TAG and leaves main's alone."""
    small.candidate("gain", "set('LR', 0.02)", title="Cooler: it helps.")
    words = ("--autoresearch-tag=may/1", "-pno:xdist", "-k", "gain")
    ended = Ended(small, small.research(*words))

    assert ended.code == 0, ended.text
    assert "autoresearch/may/1 at" in ended.text
    assert small.git("log", "-1", "--format=%s", "autoresearch/may/1") == "Cooler"
    assert small.git("branch", "--list", "autoresearch/main") == ""


# --------------------------------------------------------------------- usage errors


@pytest.fixture(scope="module")
def refused(new_project: Any) -> Any:
    """A project for commands that end before anything runs."""
    made = new_project("refused")
    made.commit()
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--autoresearch-proposer=scripted:none.jsonl", "there is no such file"),
        ("--autoresearch-proposer=oracle", "is unknown; use auto"),
        ("--autoresearch-proposer=none -n2 --dist=each", "--dist each"),
        ("--autoresearch-target=nothing.py", "no target nothing.py"),
        ("--autoresearch-budget=soon", "a budget looks like"),
        ("--autoresearch-rule=mine", "no rule 'mine'"),
        ("--autoresearch-diff=HEAD", "two different sessions"),
    ],
)
def test_an_unusable_setting_is_a_usage_error(
    refused: Any, words: str, said: str
) -> None:
    """Exit 4 and one sentence, before a session is opened."""
    ended = Ended(refused, refused.run("--autoresearch", *words.split()))

    assert ended.code == 4, ended.text
    assert said in ended.text
    assert "Traceback" not in ended.text
    assert "INTERNALERROR" not in ended.text


def test_a_dirty_target_is_a_usage_error(refused: Any) -> None:
    """There is no parent to improve; the sentence says what to do."""
    target: Path = refused.path / "train.py"
    target.write_text(target.read_text() + "# mine\n")
    ended = Ended(refused, refused.research())
    refused.git("checkout", "-q", "train.py")

    assert ended.code == 4, ended.text
    assert "train.py has uncommitted changes" in ended.text
    assert "--autoresearch-diff HEAD" in ended.text


def test_missing_experiments_is_a_usage_error(new_project: Any) -> None:
    """The flag means experiments/; without it and without a path there is no work."""
    project = new_project("bare")
    (project.path / "experiments").rmdir()
    project.commit()
    ended = Ended(project, project.research())

    assert ended.code == 4
    assert "no directory" in ended.text
    assert "experiments" in ended.text


def test_a_training_command_that_fails_is_exit_1(refused: Any) -> None:
    """The machinery's failure: exit 1 with its last words, and no candidate blamed."""
    words = "--autoresearch-command={python} -c 'raise SystemExit(\"no_data_here\")'"
    ended = Ended(refused, refused.research(words))

    assert ended.code == 1, ended.text
    assert "failed to describe itself" in ended.text
    assert "no_data_here" in ended.text


def _asks(project: Any, program: Path) -> bool:
    """Whether a proposing program runs."""
    lines = project.alive().values()
    return any(str(program) in line and "-m pytest" not in line for line in lines)


def test_a_second_controller_is_refused_by_pid(
    refused: Any, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """One session on one ledger at a time; the sentence names the other's pid."""
    program = refused.path / "slow.py"
    program.write_text("import time\ntime.sleep(60)\n")
    first = refused.start(
        "--autoresearch", f"--autoresearch-proposer=command:{{python}} {program}"
    )
    try:
        refused.until(lambda: _asks(refused, program))
        ended = Ended(refused, refused.research())
    finally:
        end(first)

    assert ended.code == 4, ended.text
    assert f"(pid {first.pid})" in ended.text
