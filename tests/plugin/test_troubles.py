"""What goes wrong around a session: full disks, odd files, reports in the way."""

from __future__ import annotations

import sys

import pytest


def test_a_path_that_is_not_there_costs_no_report(project):
    """Said before a session begins, so that the last one's reports stay."""
    project.commit()

    result = project.research("nosuch/")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["*file or directory not found: nosuch/"])
    assert not (project.path / "autoresearch-report").exists()


DISK = """
import errno
import tempfile

import pytest

seen = []
real = tempfile.mkdtemp


def full(*words, **options):
    if "scratch" in str(options.get("dir")):
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("no such thing was ever seen")
    return real(*words, **options)


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    monkeypatch.setattr(tempfile, "mkdtemp", full)
"""


def test_a_baseline_run_that_breaks_off_is_run_again(project):
    """Whatever broke it: nobody waits for a run that no process makes."""
    project.candidate("bad", 'set("LR", 0.5)')
    project.candidate("good", 'set("LR", 0.02)')
    (project.path / "experiments" / "conftest.py").write_text(DISK)
    project.commit()

    result = project.run("experiments", timeout=60)

    result.assert_outcomes(failed=1, passed=1)
    rows = project.ledger().fingerprint_trials(
        project.ledger().sessions()[-1]["fingerprint"]
    )
    assert len(rows) >= 4


@pytest.mark.parametrize("name", [".", "src"])
def test_reports_do_not_go_where_other_files_are(project, name):
    """A notebook of the user's is not overwritten, nor its folder hidden from git."""
    (project.path / "src").mkdir()
    for folder in (project.path, project.path / "src"):
        (folder / "results.tsv").write_text("mine\n")
    project.commit()

    result = project.research(f"--autoresearch-report={name}")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["*has other files in it*"])
    assert (project.path / name / "results.tsv").read_text() == "mine\n"
    (project.path / name / "new.py").touch()
    assert "new.py" in project.git("status", "--porcelain")


def test_a_report_that_cannot_be_made_is_a_usage_error(project):
    """Before anything is measured."""
    project.commit()
    result = project.research("--autoresearch-report=train.py")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*cannot make the directory*"])


def test_reports_that_cannot_be_written_end_no_session(project):
    """The ledger goes on; the session fails at its end and says why."""
    project.candidate("good", 'set("LR", 0.02)')
    project.commit()
    report = project.path / "autoresearch-report"
    (report / "results.tsv.part").mkdir(parents=True)  # no file can go there
    (report / ".gitignore").write_text("*\n")

    result = project.research("-p", "no:xdist")

    assert result.ret == 1
    assert "INTERNALERROR" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*reports cannot be written:*", "KEPT *good*"])


def test_a_keep_without_its_commit_is_no_row(project):
    """A test that ends pytest after its run has proven nothing that can be taken."""
    path = project.candidate("good", 'set("LR", 0.02)')
    text = path.read_text().replace(
        "    assert", "    __import__('os')._exit(9)\n    #"
    )
    path.write_text(text)
    project.commit()

    result = project.research("-n1")

    assert result.ret == 1
    table = (project.path / "autoresearch-report" / "results.tsv").read_text()
    assert "good" not in table


@pytest.mark.parametrize("words", [["--autoresearch"], ["--autoresearch-diff=HEAD"]])
def test_a_target_that_is_no_text_is_said_in_words(project, words):
    """Exit 4 and one line, also when it is committed."""
    (project.path / "train.py").write_bytes(b"LR = 0.1  # \xe9\n")
    project.commit()
    result = project.run("--autoresearch-proposer=none", *words)
    assert result.ret == 4
    assert "UTF-8" in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    "text",
    [
        "# -*- coding: latin-1 -*-\n# \xe9\n",
        pytest.param(
            '"""bad \\ud800: x"""\n',
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 13), reason="Python itself refuses it there"
            ),
        ),
    ],
)
def test_a_test_of_odd_characters_is_a_candidate(project, text):
    """Valid Python that is no UTF-8, or whose docstring cannot be encoded."""
    path = project.candidate("good", 'set("LR", 0.02)', title=" ")
    body = path.read_text().split("\n", 1)[1]
    path.write_bytes((text + body).encode("latin-1"))
    project.commit()
    result = project.research("-p", "no:xdist")
    assert result.ret == 0, result.stdout.str()


@pytest.mark.parametrize("lanes", ["-n1", "-pno:xdist"])
def test_a_session_can_go_on_after_collection_errors(project, lanes):
    """With pytest's own option for it, with and without workers."""
    (project.path / "experiments" / "test_broken.py").write_text("import nowhere\n")
    script = project.script(Lower_LR={"LR": 0.02})
    project.commit()

    result = project.research(script, lanes, "--continue-on-collection-errors")

    assert result.ret == 1
    assert project.states() == {"Lower LR": "keep"}


CANNOT_JOIN = """
import os

if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
    from autoresearch_plugin import errors, state

    def refuse(*_, **__):
        raise errors.InfrastructureError("the sandbox is weaker here.")

    state.join_session = refuse
"""


def test_a_lane_that_cannot_join_stops_nobody(project):
    """It says why; the other lane does the work, and the exit code is not 0."""
    (project.path / "experiments" / "conftest.py").write_text(CANNOT_JOIN)
    project.commit()
    words = project.script(harm={"LR": 0.9}, worse={"WIDTH": 1})

    result = project.research(words, "-n2", timeout=90)

    assert result.ret == 1, result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
    assert "the sandbox is weaker here." in result.stdout.str()
    assert project.states() == {"harm": "discard", "worse": "discard"}
    assert project.ledger().session(1)["state"] == "failed"


def test_a_session_whose_lane_broke_can_be_resumed(project):
    """What was not decided is not given up."""
    broken = "def pytest_runtest_logfinish():\n    raise OSError('no more')\n"
    (project.path / "broken.py").write_text(broken)
    project.commit()
    words = project.script(harm={"LR": 0.9}, worse={"WIDTH": 1})
    first = project.research(words, "-pno:xdist", "-pbroken")
    state = project.ledger().session(1)["state"]
    again = project.research(words, "-pno:xdist")

    assert first.ret == 1, first.stdout.str()
    assert state == "failed"
    assert again.ret == 0, again.stdout.str()
    again.stdout.fnmatch_lines(["autoresearch *: autoresearch/main at *, resumed"])
    assert project.states() == {"harm": "discard", "worse": "discard"}
