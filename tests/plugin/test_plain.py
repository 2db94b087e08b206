"""A candidate as a plain test: `pytest experiments/test_mine.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from autoresearch_plugin import plugin
from autoresearch_plugin.fixtures import Measured
from autoresearch_plugin.trial import Estimate

HARM = 'set("LR", 0.9)'
BODIES = {  # candidates that are wrong as tests, whatever they change
    "never": "train_module.set('LR', 0.8)",
    "twice": "train_module.set('LR', 0.7)\n"
    "    gpu_budget.run(train_module)\n"
    "    gpu_budget.run(train_module)",
    "metric": "train_module.set('LR', 0.6)\n"
    "    assert gpu_budget.run(train_module).val_bpb < baseline.val_bpb",
    "object": "train_module.set('LR', {1, 2})\n    gpu_budget.run(train_module)",
}
SIMPLER = '''"""Fewer lines."""

import pytest


@pytest.fixture
def result(train_module, gpu_budget):
    train_module.replace({old!r}, "")
    return gpu_budget.run(train_module)


def test_not_worse(result, baseline):
    assert result.score <= baseline.score


def test_lower(result, baseline):
    assert result.score < baseline.score
'''


@dataclass
class Ran:
    """One session's outcome for each test, from its JUnit file, and its output."""

    code: int
    text: str
    cases: dict[str, ET.Element]
    trials: int

    def message(self, name: str, kind: str) -> str:
        """The message of a test that ended as `kind` (failure, error, skipped)."""
        found = self.cases[f"test_{name}"].find(kind)
        assert found is not None, ET.tostring(self.cases[f"test_{name}"])
        return found.get("message", "")

    def passed(self, name: str) -> bool:
        """Whether a test passed."""
        kinds = {child.tag for child in self.cases[f"test_{name}"]}
        return not kinds & {"failure", "error", "skipped"}

    def section(self, name: str) -> list[str]:
        """What the terminal shows below the heading of a failed test."""
        _, _, rest = self.text.partition(f" test_{name} _")
        lines = rest.splitlines()[1:]
        ends = (i for i, line in enumerate(lines) if re.match("[-_=]{5}", line))
        return lines[: next(ends)]


def run(project, *words: str) -> Ran:
    """Run pytest and read what it left."""
    file = project.path / "report.xml"
    result = project.run(f"--junitxml={file}", "-o", "junit_logging=no", *words)
    cases = {case.get("name"): case for case in ET.parse(file).iter("testcase")}
    trials = sum(map(len, all_trials(project)))
    return Ran(int(result.ret), str(result.stdout), cases, trials)


def all_trials(project) -> list[list[dict]]:
    """The trials of each session so far."""
    ledger = project.ledger()
    return [ledger.session_trials(row["id"]) for row in ledger.sessions()]


# ------------------------------------------------- one session with every kind of claim


@pytest.fixture(scope="module")
def target(shared):
    """The toy's target with a seed, in a project of many candidates."""
    shared.configure("--noise 0.0005 --no-evaluate --limit 10")
    path = shared.path / "train.py"
    path.write_text(shared.target.replace("\nLR =", "\nSEED = 1\nLR ="))
    for name, edit in {
        "lr": 'set("LR", 0.02)',
        "harm": HARM,
        "same": 'set("LR", 0.10)',
        "comment": 'replace("# step size", "# size of a step")',
        "prints": 'replace("    run.save", "    print(model)\\n    run.save")',
        "seed": 'set("SEED", 2)',
        "stale": 'replace("no such text", "x")',
        "syntax": 'replace("LR = 0.1", "LR = = 0.1")',
        "crash": 'set("MISBEHAVE", "crash")',
        "nan": 'set("MISBEHAVE", "nan")',
        "import": 'replace("LR = 0.1", "import no_such_module")',
        "hang": 'replace("LR = 0.1", "import time; time.sleep(60)")',
    }.items():
        shared.candidate(name, edit)
    path = shared.path / "experiments" / "test_lr.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    shared.candidate("loose", 'set("LR", 0.5)', strict=False)
    typo = shared.candidate("typo", 'set("LR", 0.4)', strict=False)
    typo.write_text(typo.read_text().replace("strict", "stricct"))
    for name, body in BODIES.items():
        file = shared.path / "experiments" / f"test_{name}.py"
        arguments = "train_module, gpu_budget, baseline"
        file.write_text(f"def test_{name}({arguments}):\n    {body}\n")
    shared.commit()
    return shared


@pytest.fixture(scope="module")
def first(target):
    """All of them, run for the first time."""
    return run(target, "experiments")


def test_a_true_improvement_passes(first):
    """A candidate that is proven better passes, with letter K."""
    assert first.passed("lr")
    assert re.search(r"^(experiments/test_lr.py )?K", first.text, re.MULTILINE)


def test_a_false_claim_fails_with_one_line(first):
    """The verdict and where the test is: no `where` lines, no traceback."""
    assert first.code == 1
    verdict, where = first.section("harm")
    assert re.fullmatch(r"discard: 2\.\d+ vs 2\.\d+ ± .+ after 1 paired run", verdict)
    assert where == "(experiments/test_harm.py:5)"
    assert first.message("harm", "failure").splitlines()[0] == verdict


def test_a_loser_is_dropped_after_one_run(target, first):
    """A true harm costs a single training."""
    assert len(_trials(target, "harm")) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("same", "equals its parent"),
        ("comment", "only comments"),
        ("prints", "only prints"),
        ("seed", "only a seed"),
    ],
)
def test_a_change_that_cannot_matter_is_refused_before_training(
    target, first, name, why
):
    """A no-op fails with the reason and has no trial."""
    assert re.match(f"no-op: .*{why}", first.message(name, "failure"))
    assert _trials(target, name) == []


@pytest.mark.parametrize("name", ["stale", "syntax"])
def test_a_patch_that_does_not_apply_costs_no_training(target, first, name):
    """The failure names the parent, and there is no trial."""
    commit = target.git("rev-parse", "HEAD")[:7]
    expected = f"does not apply to {commit}: "
    assert first.message(name, "failure").startswith(expected)
    assert _trials(target, name) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "error: ValueError: broken on purpose"),
        ("nan", "nan: "),
        ("import", "import: "),
        ("hang", "timeout-prepare: "),
    ],
)
def test_a_run_without_a_number_says_how_it_ended(target, first, name, reason):
    """Each failure has its type and a reason in one line; nothing stands in."""
    assert first.message(name, "failure").startswith(reason)
    assert len(first.section(name)) == 2
    assert [row["value"] for row in _trials(target, name)] == [None]


def test_a_candidate_that_never_runs_is_a_failure_in_words(first):
    """Taking gpu_budget and not calling it is no pass."""
    assert "this candidate never ran" in first.message("never", "failure")


def test_the_budget_can_be_used_once(first):
    """A second run in a test is refused with what to do instead."""
    text, where = first.section("twice")
    assert "gpu_budget was already used in this test" in text
    assert text.endswith("write a second test.")
    assert where == "(experiments/test_twice.py:1)"


def test_a_wrong_metric_names_the_right_one(first):
    """`result.val_bpb` of a command that reports `score`."""
    message = first.message("metric", "failure")
    assert "a result has 'score', not 'val_bpb'" in message


def test_a_value_that_is_no_literal_is_refused(target, first):
    """A knob takes what can be written in the target and in the ledger."""
    assert "a knob takes a plain literal" in first.message("object", "failure")
    assert _trials(target, "object") == []


def test_not_strict_makes_it_an_expected_failure(first):
    """With strict=False a loser is a discarded proposal, letter d."""
    message = first.message("loose", "skipped")
    assert re.match(r"discarded: \d", message)
    assert re.search(r"^(experiments/test_loose.py )?d", first.text, re.MULTILINE)


def test_a_misspelt_marker_argument_is_named(first):
    """Nothing is trained under a marker that cannot be read."""
    section = first.section("typo")
    assert len(section) == 2
    assert "unexpected keyword argument 'stricct'" in section[0]
    assert "@pytest.mark.candidate(strict=False)" in section[0]


# ------------------------------------------------------------ what was decided before


@pytest.fixture(scope="module")
def second(target, first):
    """Some of them again, and one that crashed."""
    names = [f"experiments/test_{name}.py" for name in ("lr", "harm", "crash")]
    return run(target, *names)


def test_what_was_decided_is_reported_from_the_ledger(first, second):
    """No training is repeated; a keep passes again, and a false claim fails again."""
    assert second.trials == first.trials + 1  # the crash
    assert second.passed("lr")
    reason = first.message("harm", "failure").splitlines()[0]
    again = second.message("harm", "failure").splitlines()[0]
    assert re.fullmatch(rf"decided before as #\d+: {re.escape(reason)}", again)


def test_a_crash_is_tried_again(second):
    """A failed run is no verdict: the machine may have been to blame."""
    assert "broken on purpose" in second.message("crash", "failure")


def test_an_old_failure_points_at_the_users_test(second):
    """The location is the candidate's, not a line of the plugin."""
    assert (
        "(experiments/test_harm.py:5)" in second.cases["test_harm"].find("failure").text
    )


@pytest.fixture(scope="module")
def third(target, second):
    """New losers under --runxfail and --assert=plain, and an old one again."""
    target.candidate("loose2", 'set("LR", 0.55)', strict=False)
    target.candidate("harm2", 'set("LR", 0.95)')
    names = [f"experiments/test_{name}.py" for name in ("loose2", "harm2", "harm")]
    return run(target, "--runxfail", "--assert=plain", *names)


def test_runxfail_makes_a_discard_fail(third):
    """pytest's option for looking at expected failures works here too."""
    assert third.message("loose2", "failure").startswith("discard: ")


def test_the_reason_does_not_need_assertion_rewriting(third):
    """--assert=plain leaves asserts without a message; ours is the verdict's."""
    assert third.message("harm2", "failure").startswith("discard: ")


def test_a_decision_is_quoted_once(third):
    """The third time still names the first decision."""
    assert third.message("harm", "failure").count("decided before") == 1


@pytest.fixture(scope="module")
def adopted(target, third):
    """The improvement kept by a research session and merged by its user."""
    kept = run(
        target,
        "--autoresearch",
        "--autoresearch-proposer=none",
        "experiments/test_lr.py",
    )
    # Decided before, so that it is committed without another run.
    assert (kept.code, kept.trials) == (0, third.trials), kept.text
    target.git("merge", "-q", "autoresearch/main")
    return run(target, "experiments/test_lr.py")


def test_what_is_in_the_baseline_is_skipped_with_its_commit(target, adopted):
    """A kept test stays in the project and costs nothing."""
    commit = target.git("rev-parse", "autoresearch/main")[:7]
    message = adopted.message("lr", "skipped")
    pattern = rf"in the baseline since {commit} \(-.*e-.* ± .*\)"
    assert re.fullmatch(pattern, message), message
    assert adopted.code == 0


def test_a_patch_applied_by_hand_is_in_the_baseline(project):
    """Without the commit of the research branch: the ledger knows what it proved."""
    project.candidate("lr", 'replace("LR = 0.1", "LR = 0.02")')
    project.commit()
    assert project.research("-p", "no:xdist").ret == 0
    diff = project.path.with_name("by-hand.diff")
    diff.write_text(project.ledger().candidate(1)["diff"])
    project.git("apply", str(diff))
    project.commit("by hand")

    result = project.run("-rs", "experiments/test_lr.py")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["SKIPPED * in the baseline, proven as #001"])


def _trials(project, name: str) -> list[dict]:
    """The trials of the first candidate in experiments/test_NAME.py."""
    ledger = project.ledger()
    rows = [
        row
        for row in ledger.candidates()
        if row["nodeid"] == f"experiments/test_{name}.py::test_{name}"
    ]
    return ledger.candidate_trials(rows[0]["id"]) if rows else []


def test_the_test_is_committed_byte_for_byte(target, adopted):
    """Line ends included: `git status` is clean after the merge."""
    assert target.git("status", "--porcelain", "--untracked-files=no") == ""
    changed = target.git("show", "--name-only", "--format=", "autoresearch/main")
    assert changed.split() == ["train.py"]


# ------------------------------------------------------------------- other projects


def test_two_at_once_measure_a_missing_baseline_once(project, end):
    """Two pytest processes share the baseline run through the ledger."""
    project.configure("--noise 0.0005 --no-evaluate")
    for name, value in (("one", 0.9), ("two", 0.8)):
        project.candidate(name, f'set("LR", {value})')
    project.commit()
    names = ("one", "two")
    processes = [project.start(f"experiments/test_{name}.py") for name in names]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            end(process)

    assert [process.returncode for process in processes] == [1, 1], outputs
    rows = [row["candidate"] for rows in all_trials(project) for row in rows]
    assert (rows.count(None), len(rows)) == (1, 3)


def test_a_dirty_target_is_measured_as_it_is(project):
    """A plain candidate meets the working tree's text, and git is left alone."""
    project.configure("--noise 0.0005 --no-evaluate")
    project.candidate("harm", HARM)
    project.commit()
    dirty = project.target.replace("WIDTH = 4", "WIDTH = 8")
    (project.path / "train.py").write_text(dirty)
    before = project.git("diff", "HEAD"), project.git("rev-parse", "HEAD")

    ran = run(project, "experiments")

    assert ran.message("harm", "failure").startswith("discard: ")
    (session,) = project.ledger().sessions()
    assert session["state"] == "finished"
    assert project.ledger().head(session["head"])["source"] == dirty
    after = project.git("diff", "HEAD"), project.git("rev-parse", "HEAD")
    assert after == before
    assert project.git("branch", "--list", "autoresearch/*") == ""


def test_no_git_is_needed(project):
    """Without a repository there are verdicts, against the working tree."""
    project.configure("--noise 0.0005 --no-evaluate")
    project.candidate("harm", HARM)
    project.candidate("stale", 'replace("no such text", "x")')

    ran = run(project, "experiments")

    assert ran.message("harm", "failure").startswith("discard: ")
    expected = "does not apply to the working tree: "
    assert ran.message("stale", "failure").startswith(expected)


def test_a_metric_that_nobody_reports_is_nobodys_fault(project):
    """A wrong autoresearch_metric stops at the baseline, with the name."""
    project.configure("--noise 0.0005 --no-evaluate", metric="nope")
    harm = project.candidate("harm", HARM)
    harm.write_text(harm.read_text().replace(".score", ".nope"))

    ran = run(project, "experiments")

    message = ran.message("harm", "failure")
    assert message.startswith("the baseline itself does not run: ")
    assert "reported no metric 'nope'" in message
    assert not any(">" in line for line in ran.section("harm"))


def test_a_metric_can_rise(project):
    """With direction max the assert is `>`, and losers are worse when lower."""
    project.configure("--noise 0.0005 --no-evaluate --direction max")
    for name, value in (("better", 0.02), ("worse", 0.9)):
        path = project.candidate(name, f'set("LR", {value})')
        path.write_text(path.read_text().replace("<", ">"))

    ran = run(project, "experiments")

    assert ran.passed("better")
    assert ran.message("worse", "failure").startswith("discard: 1.7")


def test_fewer_lines_at_an_equal_result_are_not_worse(project):
    """`<=` is true for a simplification that costs nothing; `<` stays false."""
    project.configure("--noise 0 --no-evaluate")
    useless = "".join(f"    unused_{i} = {i}\n" for i in range(10))
    text = project.target.replace("    model =", f"{useless}    model =")
    (project.path / "train.py").write_text(text)
    path = project.path / "experiments" / "test_simpler.py"
    path.write_text(SIMPLER.format(old=useless))

    ran = run(project, "experiments")

    assert ran.passed("not_worse"), ran.text
    assert "10 lines fewer" in ran.message("lower", "failure")


def test_a_bare_pytest_trains_nothing(project):
    """`pytest` alone runs tests/ and makes no directory of ours."""
    project.candidate("harm", HARM)
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_ordinary.py").write_text("def test_it(): pass\n")

    result = project.run("-v")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["tests/test_ordinary.py::test_it PASSED*"])
    assert "experiments" not in str(result.stdout)
    assert not (project.path / ".autoresearch").exists()


# -------------------------------------------------------------------- without a run


def test_only_a_comparison_of_metrics_is_explained_by_the_verdict():
    """`result.score < 1.0` keeps pytest's own explanation."""
    verdict = type("Verdict", (), {"sentence": "not proven lower: 2 vs 2"})()
    result = Measured(Estimate(2.0, 0.1, 1), verdict=verdict)
    baseline = Measured(Estimate(2.0, 0.1, 3))

    expected = ["not proven lower: 2 vs 2"]
    assert plugin.pytest_assertrepr_compare(result, baseline) == expected
    assert plugin.pytest_assertrepr_compare(baseline, result) == expected
    assert plugin.pytest_assertrepr_compare(result, 1.0) is None
    assert plugin.pytest_assertrepr_compare(Path(), Path()) is None
