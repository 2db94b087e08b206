"""A session leaves the user's checkout as it was, whatever state that is in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin.ledger import is_alive
from autoresearch_plugin.repository import MESSAGES

OURS = (".git", ".autoresearch", "autoresearch-report", "_generated", ".pytest_cache")
HOOKS = ("pre-commit", "commit-msg", "post-commit", "reference-transaction")
HOOK = "#!/bin/sh\necho hooked >> train.py\necho hooked >> hooks.log\n"
GAIN = {"LR": 0.02}
SLOW = {"STEP_COST": 900.0}


def snapshot(project: Any) -> dict[str, Any]:
    """HEAD, index, every file of the user's, and what `git status` says."""
    found: dict[str, Any] = {"index": (project.path / ".git" / "index").read_bytes()}
    for folder, below, names in os.walk(project.path):
        below[:] = [name for name in below if name not in OURS]
        for path in (Path(folder, name) for name in names):
            status = path.lstat()
            content = path.readlink() if path.is_symlink() else path.read_bytes()
            found[str(path)] = (content, status.st_mode, status.st_mtime_ns)
    git = project.git
    plain = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    words = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=all"]
    run = subprocess.run(words, cwd=project.path, env=plain, capture_output=True)
    found["status"] = run.stdout.decode()
    found["HEAD"] = (project.path / ".git" / "HEAD").read_bytes()
    found["stash"] = git("stash", "list")
    found["config"] = (project.path / ".git" / "config").read_bytes()
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What is not the same, for a message that says something."""
    names = before.keys() | after.keys()
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(names)
        if before.get(name) != after.get(name)
    }


def says(text: str, name: str) -> bool:
    """Whether one of the collected messages is in a text, whatever its values."""
    parts = re.split(r"\{.*?\}", MESSAGES[name])
    return (
        re.search(".*?".join(map(re.escape, parts)), " ".join(text.split())) is not None
    )


# ------------------------------------------------------------------ a messy checkout


@pytest.fixture(scope="module")
def messy(new_project: Any) -> Any:
    """Everything at once: dirt, a staged hunk, strangers, hooks, a submodule."""
    project = new_project("messy")
    path, git = project.path, project.git
    (path / ".gitignore").write_text("secret.env\n__pycache__/\n")
    (path / "notes.txt").write_text("one\ntwo\nthree\n")
    (path / "staged.txt").write_text("one\n")
    (path / "run.sh").write_text("#!/bin/sh\n")
    project.commit()
    library = path.with_name("library")
    subprocess.run(["git", "init", "-q", str(library)], check=True)
    (library / "code.py").write_text("X = 1\n")
    subprocess.run(["git", "add", "-A"], cwd=library, check=True)
    subprocess.run(["git", "commit", "-qm", "lib"], cwd=library, check=True)
    allow = ("-c", "protocol.file.allow=always")
    git(*allow, "submodule", "--quiet", "add", str(library), "library")
    git("commit", "-qm", "library")
    (path / "library" / "code.py").write_text("X = 2\n")
    (path / "notes.txt").write_text("one\nTWO\nthree\n")
    (path / "staged.txt").write_text("one\nstaged\n")
    git("add", "staged.txt")
    (path / "staged.txt").write_text("one\nstaged\nand more\n")
    (path / "run.sh").chmod(0o755)
    (path / "untracked.txt").write_text("mine\n")
    (path / "secret.env").write_text("PASSWORD=1\n")
    (path / "link").symlink_to("notes.txt")
    for name in HOOKS:
        hook = path / ".git" / "hooks" / name
        hook.write_text(HOOK)
        hook.chmod(0o755)
    (path.parent / f"{path.name}-gitconfig").write_text("")  # no user.name
    return project


@pytest.fixture(scope="module")
def kept(messy: Any) -> Any:
    """A session with a keep in it."""
    messy.before = snapshot(messy)
    words = (messy.script(gain=GAIN), "-pno:xdist", "--autoresearch-rule=greedy")
    messy.ran = messy.research(*words)
    messy.after = snapshot(messy)
    messy.text = messy.ran.stdout.str() + messy.ran.stderr.str()
    return messy


def test_a_keep_leaves_the_checkout_as_it_was(kept: Any) -> None:
    """Files, modes, times, index bytes, HEAD, config and status are identical."""
    assert kept.ran.ret == 0, kept.text
    assert kept.git("log", "-1", "--format=%s", "autoresearch/main") == "gain"
    assert differences(kept.before, kept.after) == {}


def test_a_keep_holds_none_of_the_dirt(kept: Any) -> None:
    """The commit changes the target and adds the test; no hook had a say in it."""
    names = kept.git("show", "--format=", "--name-only", "autoresearch/main").split()

    assert names == ["experiments/test_0001_gain.py", "train.py"]
    assert kept.git("show", "autoresearch/main:staged.txt") == "one"
    assert "hooked" not in kept.git("show", "autoresearch/main:train.py")
    assert not (kept.path / "hooks.log").exists()


def test_each_oddity_is_said_in_the_header(kept: Any) -> None:
    """Dirt, hooks and the missing identity: one note each, from the collected ones."""
    for name in ("note-dirt", "note-hooks", "note-identity"):
        assert says(kept.text, name), name
    author = kept.git("log", "-1", "--format=%an <%ae>", "autoresearch/main")
    assert author == "autoresearch <autoresearch@localhost>"


@pytest.mark.parametrize("lanes", ["-n2", "-pno:xdist"])
def test_ctrl_c_leaves_the_checkout_as_it_was(
    messy: Any, lanes: str, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """In the middle of a training, with a messy checkout: the same again."""
    before = snapshot(messy)
    tag = f"--autoresearch-tag=stopped{lanes[:3]}"
    words = (messy.script(slow=SLOW), lanes, tag)
    process = messy.start("--autoresearch", *words)

    def in_training() -> bool:
        sql = "SELECT owner FROM trials WHERE state='running' AND candidate NOT NULL"
        return any(is_alive(row["owner"]) for row in messy.ledger()._query(sql))

    try:
        messy.until((messy.path / ".autoresearch" / "ledger.db").exists)
        messy.until(in_training)
        os.killpg(process.pid, signal.SIGINT)
        messy.until(lambda: process.poll() is not None)
    finally:
        end(process)

    assert process.returncode == 2
    assert differences(before, snapshot(messy)) == {}


def test_a_detached_head_stays_detached(kept: Any) -> None:
    """The keep goes to a branch that is named after the commit."""
    head = kept.git("rev-parse", "HEAD")
    (kept.path / ".git" / "HEAD").write_text(f"{head}\n")
    before = snapshot(kept)
    kept.candidate("gain", "set('LR', 0.021)", title="By hand: cooler.")
    words = ("-pno:xdist", "--autoresearch-rule=greedy")
    ran = kept.research(*words)
    (kept.path / "experiments" / "test_gain.py").unlink()
    text = ran.stdout.str() + ran.stderr.str()
    branch = f"autoresearch/detached-{head[:7]}"

    assert ran.ret == 0, text
    assert kept.git("log", "-1", "--format=%s", branch) == "By hand"
    assert says(text, "note-detached")
    assert differences(before, snapshot(kept)) == {}
    (kept.path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


# ---------------------------------------------------------------- where none can run


def no_git(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """git is not installed."""
    project.commit()
    (project.path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(project.path / "bin"))


def no_repository(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said git init."""


def no_commit(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """git init was all."""
    project.git("init", "-q", "-b", "main")


def not_committed(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is ignored."""
    (project.path / ".gitignore").write_text("train.py\n")
    project.commit()


def submodule(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target belongs to a submodule."""
    library = project.path / "library"
    library.mkdir()
    (library / "train.py").write_text(project.target)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "lib"]):
        subprocess.run(["git", *words], cwd=library, check=True)
    project.configure(target="library/train.py")
    project.commit()


def conflict(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch of the name `autoresearch` leaves no room for autoresearch/main."""
    project.commit()
    project.git("branch", "autoresearch")


def checked_out(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The research branch itself is checked out in another worktree."""
    project.commit()
    project.git("worktree", "add", "-q", "-b", "autoresearch/main", "../worktree")


@pytest.mark.parametrize(
    ("name", "arrange"),
    [
        ("no-git", no_git),
        ("not-a-repository", no_repository),
        ("no-commit", no_commit),
        ("not-committed", not_committed),
        ("other-repository", submodule),
        ("ref-conflict", conflict),
        ("checked-out", checked_out),
    ],
)
def test_where_no_keep_could_be_made_nothing_starts(
    project: Any, name: str, arrange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4 with the collected message, before anything is trained."""
    arrange(project, monkeypatch)
    ran = project.run("--autoresearch", "--autoresearch-proposer=none", "-pno:xdist")
    text = ran.stdout.str() + ran.stderr.str()

    assert ran.ret == 4, text
    assert says(text, name), text
    assert "Traceback" not in text
    assert not list(project.path.glob(".autoresearch/scratch/*"))
