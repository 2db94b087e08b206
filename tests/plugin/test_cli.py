"""The console script: every verb, on a project with a finished session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch_plugin import cli
from autoresearch_plugin.verbs import project

VERBS = ("doctor", "log", "show", "prompt", "rejudge")
# Ends the process at the first attempt to reach another machine.
OFFLINE = """
import sys, os
def hook(event, arguments):
    if event == "socket.connect":
        os._exit(99)
sys.addaudithook(hook)
from autoresearch_plugin.cli import main
code = main(sys.argv[1:])
assert "anthropic" not in sys.modules, "a client was made"
sys.exit(code)
"""


@pytest.fixture(scope="module")
def finished(shared):
    """A project after a session with a keep, a loser and a stale candidate."""
    shared.configure("--noise 0.0005 --no-evaluate")
    shared.candidate("lr", 'set("LR", 0.02)', title="Lower LR: it is near the best.")
    shared.candidate("harm", 'set("LR", 0.9)', strict=False, title="Higher LR: no.")
    shared.candidate("stale", 'replace("no such", "x")', strict=False, title="Stale.")
    shared.commit()
    result = shared.research()
    assert result.ret == 0, str(result.stdout)
    return shared


@pytest.fixture
def run(capsys, shared):
    """Call the script on the shared project; exit code, lines and error text."""

    def call(*words: str, root=None) -> tuple[int, list[str], str]:
        code = cli.main(["--root", str(root or shared.path), *words])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return call


def number_of(project, title: str) -> str:
    """The number of the candidate with this title."""
    rows = project.ledger().candidates()
    return str(next(row["id"] for row in rows if row["title"] == title))


# ------------------------------------------------------------------------- log, show


def test_log_has_a_line_for_each_candidate(finished, run):
    """Number, state, commit of a keep, title and reason."""
    code, lines, _ = run("log")
    commit = finished.git("rev-parse", "autoresearch/main")[:7]
    assert code == 0
    found = {line[22:62].strip(): line for line in lines}
    assert set(found) == {"Lower LR", "Higher LR", "Stale"}
    assert re.match(rf"#\d+ keep     {commit} Lower LR  +keep: ", found["Lower LR"])
    assert re.match(r"#\d+ discard {10}Higher LR +discard: ", found["Higher LR"])
    assert "does not apply to" in found["Stale"]


def test_show_tells_all_of_a_keep(finished, run):
    """Words, commit, every run, the evidence and the patch."""
    code, lines, _ = run("show", number_of(finished, "Lower LR"))
    text = "\n".join(lines)
    assert code == 0
    assert finished.git("rev-parse", "autoresearch/main") in text
    assert "hypothesis it is near the best." in text
    assert len(re.findall(r"^  run \d+ +ok 2\.\d{6} \(seed", text, re.MULTILINE)) == 2
    assert "relation=better" in text
    assert lines[-1].strip()
    assert "| +LR = 0.02  # step size; range 0.001..1 log" in lines


def test_show_of_a_stale_candidate_says_that_it_never_applied(finished, run):
    """There is no patch to show."""
    code, lines, _ = run("show", number_of(finished, "Stale"))
    assert code == 0
    assert lines[-1] == "(it never applied to a parent)"


@pytest.mark.parametrize("title", ["Lower LR", "Higher LR"])
def test_show_patch_is_what_git_apply_takes(finished, run, title):
    """Also a discarded patch can be taken up by hand."""
    code, lines, _ = run("show", number_of(finished, title), "--patch")
    assert code == 0
    done = subprocess.run(
        ["git", "apply", "--check", "-v", "-"],
        cwd=finished.path,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "train.py" in done.stderr


def test_show_patch_without_a_patch_says_why(finished, run):
    """Nothing is written that `git apply` would stumble over."""
    code, lines, error = run("show", number_of(finished, "Stale"), "--patch")
    assert (code, lines) == (1, [])
    assert re.match(r"autoresearch: #\d+ has no patch: does not apply to ", error)


@pytest.mark.parametrize("number", ["99", "9" * 23])
def test_an_unknown_number_is_one_line(finished, run, number):
    """With the verb that lists the known ones; also where SQLite has no such number."""
    code, lines, error = run("show", number)
    assert (code, lines) == (1, [])
    assert f"there is no candidate {number}" in error
    assert "`autoresearch log` lists them" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", [["log"], ["show", "1"], ["prompt"]])
def test_without_a_ledger_the_first_step_is_named(tmp_path, run, verb):
    """No empty ledger appears where somebody only looked."""
    code, lines, error = run(*verb, root=tmp_path)
    assert (code, lines) == (1, [])
    assert error.startswith("autoresearch: there is no ledger at ")
    assert "Run pytest --autoresearch" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", [["log"], ["show", "1"], ["prompt"], ["power", "0.001"], ["doctor"]]
)
def test_a_folder_of_the_project_is_the_project(finished, run, verb):
    """Every verb finds the ledger and the settings upward, and leaves nothing there."""
    folder = finished.path / "notes" / "may"
    folder.mkdir(parents=True, exist_ok=True)
    code, lines, error = run(*verb, root=folder)
    assert (code, error) == (0, ""), lines
    assert lines
    assert list(folder.iterdir()) == []


# --------------------------------------------------------------------------- prompt


def test_prompt_needs_no_key_and_sends_nothing(finished):
    """It prints what would be said now, from the kept source and the ledger."""
    environ = {k: v for k, v in os.environ.items() if k != "ANTHROPIC_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "--root", str(finished.path), "prompt"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "LR = 0.02  # step size" in done.stdout
    for title in ("Lower LR", "Higher LR", "Stale"):
        assert title in done.stdout


# -------------------------------------------------------------------------- rejudge


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"not a table\n", "instead of 5"),
        (b"", "takes at least 5"),
    ],
)
def test_rejudge_of_a_wrong_file_is_one_line(tmp_path, run, content, message):
    """Whatever the file is, the message says what it should be."""
    path = tmp_path / "results.tsv"
    if content is not None:
        path.write_bytes(content)
    code, lines, error = run("rejudge", str(path))
    assert (code, lines) == (1, [])
    assert message in error
    assert error.count("\n") == 1


def test_rejudge_counts_probable_noise(tmp_path, run):
    """A log of the five columns gives a table and a number."""
    rows = [f"{i:07x}\t{1 - i / 50:.6f}\t44.0\tkeep\tidea {i}" for i in range(12)]
    path = tmp_path / "results.tsv"
    header = "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    path.write_text("\n".join([header, *rows]) + "\n")
    code, lines, _ = run("rejudge", str(path))
    assert code == 0
    assert any("noise" in line for line in lines)


def test_rejudge_asks_another_rule_of_a_ledgers_runs(finished, run, monkeypatch):
    """A rule that keeps nothing changes the keeps, and the default one changes none."""
    ledger = str(finished.path / ".autoresearch" / "ledger.db")
    code, lines, error = run("rejudge", ledger)
    assert code == 0, error
    assert lines[-1].startswith("1 of 1 keeps stand")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (finished.path / "mine.py").write_text(
        "from autoresearch_plugin.judge import Opinion\n"
        "def never(question): return Opinion('discard', False, False)\n"
    )
    code, lines, error = run("rejudge", ledger, "--rule", "mine:never")
    assert code == 0, error
    assert any("keep -> discard" in line for line in lines)
    assert "nothing is kept" in lines[-1]


def test_rejudge_of_a_log_has_no_rule(tmp_path, run):
    """A results.tsv has one run a candidate: no rule but its own can judge it."""
    path = tmp_path / "results.tsv"
    path.write_text("")
    code, lines, error = run("rejudge", str(path), "--rule", "greedy")
    assert (code, lines) == (1, [])
    assert "is no ledger" in error


# --------------------------------------------------------------------------- doctor


def test_doctor_is_content_with_a_project_that_works(finished, run):
    """Every check is ok, the training command's own words included."""
    code, lines, _ = run("doctor")
    assert code == 0, lines
    assert all(line.startswith("ok   ") for line in lines)
    checks = {line.split()[1] for line in lines}
    assert {"versions", "target", "git", "devices", "disk", "training"} <= checks
    assert any("toy command: nothing is trained" in line for line in lines)


def test_doctor_names_each_fault_with_a_fix(tmp_path, run):
    """Nothing is there: exit 1, and below each FAIL what to do."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nautoresearch_command = no-such-program {x\n"
    )
    code, lines, _ = run("doctor", root=tmp_path)
    assert code == 1
    faults = {
        line.split()[1]: lines[number + 1].strip()
        for number, line in enumerate(lines)
        if line.startswith("FAIL")
    }
    assert faults["target"] == "Set autoresearch_target."
    assert faults["git"].startswith("Keeps are commits")
    assert faults["training"] == "Run it by hand: no-such-program {x"


def test_doctor_survives_a_target_that_is_no_text(finished, run):
    """A binary file in place of the target is a finding."""
    path = finished.path / "train.py"
    before = path.read_bytes()
    path.write_bytes(b"\xff\xfe\x00")
    try:
        code, lines, _ = run("doctor")
    finally:
        path.write_bytes(before)
    assert code == 1
    assert any(line.startswith("FAIL target") for line in lines)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pytest.ini", "[pytest]\nautoresearch_hours = x\n", "ini autoresearch_hours"),
        ("pyproject.toml", "[tool.pytest\n", "pyproject.toml cannot be read"),
        ("setup.cfg", "no section\n", "setup.cfg cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(
    tmp_path, run, name, text, expected
):
    """The file or the key is named."""
    (tmp_path / name).write_text(text)
    code, _, error = run("doctor", root=tmp_path)
    assert code == 1
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.toml", "[pytest]\nautoresearch_tag = 'may'\n"),
        ("pytest.ini", "[pytest]\nautoresearch_tag = may\n"),
        ("pyproject.toml", "[tool.pytest]\nautoresearch_tag = 'may'\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nautoresearch_tag = 'may'\n"),
        ("tox.ini", "[pytest]\nautoresearch_tag = may\n"),
        ("setup.cfg", "[tool:pytest]\nautoresearch_tag = may\n"),
    ],
)
def test_settings_are_read_where_pytest_reads_them(tmp_path, name, text):
    """Every file that pytest knows."""
    (tmp_path / name).write_text(text)
    assert project.settings_of(tmp_path).tag == "may"


# ----------------------------------------------------------------------------- usage


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb, capsys):
    """--help exits 0 with a sentence."""
    with pytest.raises(SystemExit) as left:
        cli.main([verb, "--help"])
    assert left.value.code == 0
    assert f"usage: autoresearch {verb}" in capsys.readouterr().out


def test_help_lists_every_verb(capsys):
    """And says that pytest does the work."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {verb} ", text, re.MULTILINE) for verb in VERBS)
    assert "pytest --autoresearch -n auto" in text


@pytest.mark.parametrize("words", [[], ["dance"], ["show"], ["show", "x"]])
def test_wrong_usage_is_exit_code_2(words, capsys):
    """argparse says what is missing."""
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    assert "usage: autoresearch" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_one_line(finished):
    """What cannot be written is said in words, and the exit code is 1."""
    code = "from autoresearch_plugin.cli import main; raise SystemExit(main())"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "--root", str(finished.path), "log"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("autoresearch: the output cannot be written: No ")
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(finished):
    """`autoresearch show 1 | head -1` ends quietly, however early the reader went."""
    code = "from autoresearch_plugin.cli import main; raise SystemExit(main())"
    script = f'{sys.executable} -c "{code}" --root {finished.path} show 1 | true'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
