"""Repositories of tests, and what must not change in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoresearch_plugin.repository import Repository

SOURCE = "DEPTH = 2\n"
FILES = {"train.py": b"DEPTH = 3\n", "experiments/test_0001_depth.py": b"# a test\n"}
TRAILERS = [("Candidate", "0123456789abcdef"), ("Val-Bpb", "0.99 \u00b1 0.01 (n=3)")]
HOSTILE = '"; rm -rf ~ #'


@pytest.fixture(autouse=True)
def only_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine, no repository around tmp_path."""
    for name in [*os.environ]:
        if name.startswith("GIT_") or name == "EMAIL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with a target, a second file, a script and one commit."""
    return make(tmp_path / "project")


def make(top: Path, *options: str) -> Path:
    git(top.parent, "init", "--quiet", "-b", "main", *options, str(top))
    git(top, "config", "user.name", "Ada")
    git(top, "config", "user.email", "ada@example.org")
    write(top / "train.py", SOURCE)
    write(top / "data.py", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")
    write(top / "run.sh", "#!/bin/sh\n").chmod(0o755)
    write(top / ".gitignore", "*.log\n")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "start")
    return top


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def git(where: Path, *words: str, stdin: str | None = None) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *words]
    done = subprocess.run(
        command, cwd=where, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.removesuffix("\n")


def blob(where: Path, spec: str) -> bytes:
    command = ["git", "cat-file", "blob", spec]
    return subprocess.run(command, cwd=where, capture_output=True, check=True).stdout


def keep(
    repository: Repository,
    files: Mapping[str, bytes] = FILES,
    tag: str = "main",
    parent: str = "",
    subject: str = "Deeper",
) -> str:
    parent = parent or repository.parent(tag).commit
    return repository.commit_keep(tag, parent, files, subject, "Why.", TRAILERS)


def snapshot(top: Path) -> dict[str, object]:
    """Everything in the checkout and in .git, less objects and our branches."""
    seen: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if name.startswith(".git/objects") or "heads/autoresearch" in name:
            continue
        fact = path.lstat()
        if path.is_file():
            moment = fact.st_mtime_ns if ".git" not in path.parts else 0
            seen[name] = (path.read_bytes(), fact.st_mode, moment)
        elif not name.startswith(".git/"):
            seen[name] = (fact.st_mode, fact.st_mtime_ns)
    words = ("status", "--porcelain=v2", "--branch", "--ignored")
    seen["status"] = git(top, "--no-optional-locks", *words)
    seen["HEAD"] = git(top, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
    refs = git(top, "for-each-ref").splitlines()
    seen["refs"] = [ref for ref in refs if "refs/heads/autoresearch/" not in ref]
    return seen


@contextmanager
def unchanged(top: Path) -> Iterator[None]:
    before = snapshot(top)
    yield
    assert snapshot(top) == before


def refuse_everything(directory: Path) -> None:
    """Hooks that rewrite the target, leave a mark and refuse."""
    names = (
        "pre-commit prepare-commit-msg commit-msg post-commit reference-transaction "
        "post-index-change post-checkout pre-auto-gc fsmonitor-watchman"
    )
    for name in names.split():
        text = "#!/bin/sh\necho formatted > train.py\ntouch hook-ran\nexit 1\n"
        write(directory / name, text).chmod(0o755)
