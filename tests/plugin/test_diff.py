"""`pytest --autoresearch-diff REF`: does the working tree's target beat REF's?"""

from __future__ import annotations

import re

import pytest


@pytest.fixture(scope="module")
def edited(shared):
    """A committed project whose target the tests edit."""
    shared.configure("--noise 0.0005 --no-evaluate")
    shared.candidate("harm", 'set("LR", 0.9)')
    (shared.path / "tests").mkdir()
    (shared.path / "tests" / "test_ordinary.py").write_text("def test_it(): pass\n")
    shared.commit()
    return shared


@pytest.fixture
def edit(edited):
    """Write the target with other text; the committed text returns afterwards."""

    def write(old: str, new: str) -> None:
        assert old in edited.target
        (edited.path / "train.py").write_text(edited.target.replace(old, new))

    yield write
    (edited.path / "train.py").write_text(edited.target)


def last_line(result) -> str:
    """pytest's own summary."""
    return result.outlines[-1]


def test_a_better_target_passes(edited, edit):
    """Exit 0; only the target is tested, and git is as before."""
    edit("LR = 0.1", "LR = 0.02")
    before = edited.git("rev-parse", "HEAD"), edited.git("diff")

    result = edited.run("--autoresearch-diff=HEAD")

    assert result.ret == 0, str(result.stdout)
    assert "1 passed" in last_line(result)
    commit = before[0][:7]
    result.stdout.fnmatch_lines(
        [f"autoresearch: train.py of the working tree against HEAD ({commit})*"]
    )
    assert (edited.git("rev-parse", "HEAD"), edited.git("diff")) == before
    assert edited.git("branch", "--list", "autoresearch/*") == ""


def test_a_worse_target_fails_with_one_line(edited, edit):
    """Exit 1 with the verdict and the diff, and no traceback."""
    edit("LR = 0.1", "LR = 0.9")

    result = edited.run("--autoresearch-diff=HEAD")

    assert result.ret == 1
    text = str(result.stdout)
    assert re.search(r"^discard: 2\.\d+ vs 2\.\d+ ± .* run$", text, re.MULTILINE)
    assert "+LR = 0.9" in text
    assert "assert" not in text
    assert "FAILED train.py::against-HEAD" in text


def test_the_same_target_is_skipped(edited):
    """There is nothing to measure, and that is no failure."""
    trials = len(edited.ledger().candidates())

    result = edited.run("--autoresearch-diff=HEAD", "-rs")

    assert result.ret == 0
    assert "1 skipped" in last_line(result)
    result.stdout.fnmatch_lines(["*train.py is the same as at *: nothing to measure"])
    assert len(edited.ledger().candidates()) == trials


def test_a_change_that_cannot_matter_fails_untrained(edited, edit):
    """A pull request that edits a comment claims nothing that can be measured."""
    edit("# step size", "# size of a step")

    result = edited.run("--autoresearch-diff=HEAD")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["no-op: only comments*"])


def test_a_target_that_is_not_python_fails_in_words(edited, edit):
    """With the line at which it stops being Python."""
    edit("LR = 0.1", "LR = = 0.1")

    result = edited.run("--autoresearch-diff=HEAD")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["*is not Python: invalid syntax (line 3)."])


def test_an_older_ref_is_the_baseline(edited, edit):
    """REF's own text is what is beaten, and what was measured is not run again."""
    edit("LR = 0.1", "LR = 0.02")
    edited.run("--autoresearch-diff=HEAD")
    edited.commit("better")
    try:
        against_itself = edited.run("--autoresearch-diff=HEAD")
        against_start = edited.run("--autoresearch-diff=HEAD~1")
    finally:
        edited.git("reset", "-q", "--hard", "HEAD~1")

    assert "1 skipped" in last_line(against_itself)
    assert "1 passed" in last_line(against_start)
    states = [(row["kind"], row["state"]) for row in edited.ledger().candidates()]
    assert states.count(("diff", "keep")) >= 2
    assert not any("run 1" in line for line in against_start.outlines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--autoresearch-diff=nonsense"], "git knows no commit 'nonsense' in"),
        (["--autoresearch-diff=HEAD", "--autoresearch"], "two different sessions"),
    ],
)
def test_a_usage_error_is_one_line(edited, words, message):
    """Exit 4 before anything is collected."""
    result = edited.run(*words)

    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    assert message in line


def test_there_must_be_a_repository(project):
    """Without git there is no REF."""
    result = project.run("--autoresearch-diff=main")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *is in no git repository*"])
