"""What is shipped beside the code works: the second target, and the replay of mar8."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from autoresearch_plugin.settings import OPTIONS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "sorting"
WRONG = '''"""No work at all: a list that is not sorted is very fast."""

import pytest


@pytest.mark.candidate(strict=False)
def test_no_work(train_module, gpu_budget, baseline):
    train_module.define("def sort(numbers): return numbers")
    result = gpu_budget.run(train_module)
    assert result.speed > baseline.speed
'''


class Sorting:
    """The example, copied out of this repository and run once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CI", "PYTEST_ADDOPTS")
        self.environ = {k: v for k, v in os.environ.items() if k not in kept}
        self.environ |= {
            f"GIT_{who}_{what}": "ada@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        shutil.copytree(
            EXAMPLE, path, ignore=shutil.ignore_patterns(".*", "_*", "autoresearch-*")
        )
        (path / "experiments" / "test_no_work.py").write_text(WRONG)
        self.call("git", "init", "-q", "-b", "main")
        self.call("git", "add", "-A")
        self.call("git", "commit", "-qm", "start")
        self.code, self.output = self.pytest(
            "--autoresearch", "--autoresearch-proposer=none"
        )

    def call(self, *words: str) -> str:
        """What a command prints; it must succeed."""
        code, output = self._run(*words)
        assert code == 0, output
        return output

    def pytest(self, *words: str) -> tuple[int, str]:
        """Exit code and output of pytest in the project."""
        return self._run(sys.executable, "-m", "pytest", *words)

    def _run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            words,
            cwd=self.path,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout

    def verdicts(self) -> dict[str, str]:
        """Test name -> verdict, from junit.xml."""
        tree = ET.parse(self.path / "autoresearch-report" / "junit.xml")
        return {
            case.get("name", ""): item.get("value", "")
            for case in tree.iter("testcase")
            for item in case.iter("property")
            if item.get("name") == "verdict"
        }


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    """One session of the example."""
    return Sorting(tmp_path_factory.mktemp("example") / "sorting")


def test_only_the_good_candidate_is_kept(sorting):
    """Merge sort is kept; bubble sort and no work at all are not."""
    verdicts = sorting.verdicts()
    # Merge sort has no use for a gap. What a busy machine makes of that is chance.
    assert verdicts.pop("test_shell_gap") in ("keep", "discard")
    assert sorting.code == 0, sorting.output
    assert verdicts == {
        "test_merge_sort": "keep",
        "test_bubble_sort": "discard",
        "test_no_work": "crash",
    }


def test_the_keep_is_one_commit_of_the_target(sorting):
    """Its diff is the merge sort, and main is where it was."""
    log = sorting.call("git", "log", "--format=%s", "autoresearch/sorting")
    log = log.split("\n")[:-1]
    changed = sorting.call(
        "git", "diff", "--name-only", "main", "autoresearch/sorting"
    ).split()

    assert log[-2:] == ["Merge sort", "start"]
    assert changed == ["sort.py"]
    assert sorting.call("git", "status", "--porcelain") == ""


def test_a_metric_that_should_rise(sorting):
    """The closing screen and the trailers show a gain as a plus."""
    message = sorting.call("git", "show", "-s", "--format=%B", "autoresearch/sorting")
    effect = next(x for x in message.splitlines() if x.startswith("Effect: "))

    assert effect.startswith("Effect: +")
    assert "not proven lower" not in sorting.output


def test_a_wrong_order_has_no_speed(sorting):
    """The command says what is wrong, and no number is reported."""
    rows = (sorting.path / "autoresearch-report" / "results.tsv").read_text()
    (row,) = [line.split("\t") for line in rows.splitlines() if "No work" in line]

    assert "assert: AssertionError: a wrong order" in sorting.output
    assert row[1] == ""


def test_the_gap_helps_the_start(sorting):
    """On a branch of its own, without merge sort, the same candidate is kept."""
    code, output = sorting.pytest(
        "--autoresearch",
        "--autoresearch-proposer=none",
        "--autoresearch-tag=gaps",
        "experiments/test_shell_gap.py",
    )

    assert code == 0, output
    assert sorting.verdicts() == {"test_shell_gap": "keep"}


# ----------------------------------------------------------------------------- mar8


def collected(*words: str) -> list[str]:
    """Names of the files that pytest collects in this repository."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *words],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
    )
    return [line.split("::")[0] for line in done.stdout.splitlines() if "::" in line]


def test_mar8_is_collected_only_when_named():
    """Named: its 22 files in order. Not named: none of them."""
    named = collected("--autoresearch", "experiments/mar8", "-p", "no:randomly")

    assert [Path(name).name[5:7] for name in named] == [
        f"{i:02d}" for i in range(1, 23)
    ]
    assert not [name for name in collected("experiments") if "mar8" in name]


@pytest.mark.parametrize(
    ("words", "proposer"),
    [
        (("experiments/mar8", "-n", "auto"), "none"),
        (("experiments/mar8", "--autoresearch-proposer=tpe"), "tpe"),
        (("experiments/mar8", "experiments/test_lr.py"), "tpe"),
    ],
)
def test_mar8_alone_has_no_proposer(project, words, proposer):
    """A replay is a replay, unless more is named or another proposer chosen."""
    project.configure(devices="cpu:1")
    mar8 = project.path / "experiments" / "mar8"
    mar8.mkdir()
    shutil.copy(ROOT / "experiments" / "mar8" / "conftest.py", mar8)
    project.candidate("lr", 'set("LR", 0.9)', strict=False)
    shutil.copy(project.path / "experiments" / "test_lr.py", mar8 / "test_01_lr.py")
    project.commit()

    result = project.run("--autoresearch", "--autoresearch-experiments=0", *words)

    result.stdout.fnmatch_lines([f"*  proposer {proposer} (*"])


# --------------------------------------------------------------------------- pages

PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/limits.md",
        "docs/examples/sorting/README.md",
        "experiments/mar8/README.md",
        ".github/workflows/autoresearch.yml",
    )
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_what_exists(page):
    """Every option and every link in the pages leads somewhere."""
    text = page.read_text()
    options = {f"--autoresearch-{option.name}" for option in OPTIONS}
    ini_twins = {option.dest for option in OPTIONS if option.ini}
    links = re.findall(r"\]\(([^)#:]+)\)", text)

    assert set(re.findall(r"--autoresearch-[a-z-]+", text)) <= options
    assert (
        set(re.findall(r"\bautoresearch_[a-z_]+", text)) - {"autoresearch_plugin"}
        <= ini_twins
    )
    assert [link for link in links if not (page.parent / link).exists()] == []
