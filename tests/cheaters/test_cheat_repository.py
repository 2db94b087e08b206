"""Row 60: programs planted in git's settings. A keep must not run one of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autoresearch_plugin.repository import Repository

HOOKS = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "post-index-change",
    "reference-transaction",
    "fsmonitor-watchman",
    "pre-auto-gc",
    "update",
    "post-update",
    "proc-receive",
]
DRIVER = "evil=driver"  # `-c filter.evil=driver.clean=` could not switch it off
PROGRAMS = [
    "core.fsmonitor",
    "core.editor",
    "core.pager",
    "core.askPass",
    "core.sshCommand",
    "core.gitProxy",
    "core.alternateRefsCommand",
    "sequence.editor",
    "credential.helper",
    "gpg.program",
    "gpg.ssh.program",
    "gpg.x509.program",
    "gpg.ssh.defaultKeyCommand",
    "interactive.diffFilter",
    "diff.external",
    "diff.evil.command",
    "diff.evil.textconv",
    "merge.evil.driver",
    "pager.log",
    "pager.diff",
    "pager.show",
    "pager.status",
    "pager.config",
    "uploadpack.packObjectsHook",
    "trailer.candidate.command",
    "trailer.candidate.cmd",
]
SWITCHES = {
    "commit.gpgSign": "true",
    "tag.gpgSign": "true",
    "log.showSignature": "true",
    "push.gpgSign": "true",
    "filter.evil=driver.required": "true",
    "diff.evil.cachetextconv": "false",
}
COMMANDS = "hash-object update-ref commit-tree log diff-tree status rev-parse ls-tree"
ENVIRONMENT = [
    "GIT_EXTERNAL_DIFF",
    "GIT_SSH_COMMAND",
    "GIT_SSH",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_PAGER",
    "GIT_SEQUENCE_EDITOR",
    "GIT_PROXY_COMMAND",
]
SOURCE = "DEPTH = 4\n"


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a target, a dirty neighbour and a dirty submodule."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    other = made(tmp_path / "other", {"data.py": "1\n"})
    top = made(tmp_path / "work", {"train.py": SOURCE, "notes.txt": "1\n"})
    git(top, "-c", "protocol.file.allow=always", "submodule", "add", str(other), "lib")
    git(top, "commit", "-qm", "lib")
    (top / "notes.txt").write_text("2\n")
    (top / "lib/data.py").write_text("2\n")
    return top


def made(path: Path, files: Mapping[str, str]) -> Path:
    """A repository with one commit."""
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for name, text in files.items():
        (path / name).write_text(text)
    for key, value in {"user.name": "Ada", "user.email": "ada@example.org"}.items():
        git(path, "config", key, value)
    git(path, "add", ".")
    git(path, "commit", "-qm", "start")
    return path


def git(where: Path, *words: str) -> str:
    """Run git as a user would."""
    done = subprocess.run(
        ["git", *words], cwd=where, check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode()


def program(top: Path, name: str = "evil") -> Path:
    """A program that leaves a mark beside the repository, with its name in it."""
    path = top.parent / "programs" / name
    path.parent.mkdir(exist_ok=True)
    mark = top.parent / f"PWNED-{name}"
    path.write_text(f"#!/bin/sh\necho {name} >> {mark}\ncat\n")
    path.chmod(0o755)
    return path


def settings(top: Path) -> dict[str, str]:
    """Every setting that names a program, as one that leaves its own mark."""
    named = {key: str(program(top, key)) for key in PROGRAMS}
    for key in ("clean", "smudge", "process"):
        named[f"filter.{DRIVER}.{key}"] = str(program(top, f"filter.{key}"))
    for word in COMMANDS.split():
        named[f"alias.{word}"] = f"!{program(top, f'alias.{word}')}"
    template = top.parent / "template/hooks"
    template.mkdir(parents=True, exist_ok=True)
    return {**named, **SWITCHES, "init.templateDir": str(template.parent)}


def write_settings(top: Path, *words: str) -> None:
    """Plant them with `git config WORDS`."""
    for key, value in settings(top).items():
        git(top, "config", *words, key, value)


def in_repository(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """.git/config."""
    write_settings(top)


def in_submodule(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a submodule, and its attributes."""
    write_settings(top / "lib")
    (top / "lib/.gitattributes").write_text(f"* filter={DRIVER} diff=evil\n")


def in_global(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~/.gitconfig."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(top.parent / "global"))
    write_settings(top, "--file", str(top.parent / "global"))


def in_system(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/gitconfig."""
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(top.parent / "system"))
    write_settings(top, "--file", str(top.parent / "system"))


def in_included(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that .git/config includes."""
    write_settings(top, "--file", str(top.parent / "included"))
    git(top, "config", "include.path", str(top.parent / "included"))


def in_environment(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIT_* variables: programs, settings, another repository, files to write."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, str(program(top, name)))
    found = settings(top)
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(found)))
    for i, (key, value) in enumerate(found.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{i}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{i}", value)
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.fsmonitor=/bin/false'")
    commands = top.parent / "exec-path"
    commands.mkdir()
    for word in COMMANDS.split():
        (commands / f"git-{word}").symlink_to(program(top, f"exec-{word}"))
    monkeypatch.setenv("GIT_EXEC_PATH", str(commands))
    monkeypatch.setenv("GIT_TRACE", str(top.parent / "PWNED-trace"))
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(top.parent / "PWNED-trace2"))
    monkeypatch.setenv("GIT_DIR", str(top.parent / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(top.parent / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(top.parent / "PWNED-index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(top.parent / "PWNED-objects"))


def in_hooks(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """.git/hooks, and core.hooksPath in another directory."""
    (top / "hooks").mkdir()
    for name in HOOKS:
        (top / ".git/hooks" / name).unlink(missing_ok=True)
        (top / ".git/hooks" / name).symlink_to(program(top, f"hook-{name}"))
        (top / "hooks" / name).symlink_to(program(top, f"path-{name}"))
    git(top, "config", "core.hooksPath", "hooks")


Plant = Callable[[Path, pytest.MonkeyPatch], None]
PLANTS: tuple[Plant, ...] = (
    in_repository,
    in_submodule,
    in_global,
    in_system,
    in_included,
    in_environment,
    in_hooks,
)


@pytest.mark.parametrize("plant", PLANTS)
def test_no_planted_program_runs_during_a_keep(
    top: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From opening to reading back: no mark, the right bytes, the right repository."""
    (top / ".gitattributes").write_text(f"* filter={DRIVER} diff=evil merge=evil\n")
    plant(top, monkeypatch)
    (top / "train.py").touch()  # git cannot take the index' word for it
    (top / "notes.txt").touch()
    whole_keep(top)

    assert not sorted(path.name for path in top.parent.glob("PWNED*"))


def whole_keep(top: Path) -> None:
    """All that a session asks of git."""
    repository = Repository(top, "train.py")
    assert repository.top == top.resolve()
    assert not repository.target_is_dirty()
    assert any("notes.txt" in note for note in repository.notes())
    tag = repository.default_tag()
    repository.note_parent(tag)
    parent = repository.parent(tag)
    files = {"train.py": b"DEPTH = 5\r\n", "experiments/test_0001_x.py": b"1\n"}
    trailers = [("Candidate", "0123456789abcdef")]
    sha = repository.commit_keep(tag, parent.commit, files, "Deeper", "Why.", trailers)
    assert repository.at(sha).source == "DEPTH = 5\r\n"
    assert "0123456789abcdef" in repository.history(sha)


def test_a_target_changed_behind_a_filter_is_still_a_change(top: Path) -> None:
    """A clean filter that prints the committed text cannot hide an edit."""
    (top / ".gitattributes").write_text("train.py filter=liar\n")
    git(top, "config", "filter.liar.clean", "echo 'DEPTH = 4'")
    (top / "train.py").write_text("DEPTH = 9\n")

    assert Repository(top, "train.py").target_is_dirty()


def test_the_planted_programs_do_run_under_an_ordinary_git(top: Path) -> None:
    """The trap works: what a keep avoids, `git status` and `git commit` run."""
    (top / ".gitattributes").write_text(f"* filter={DRIVER}\n")
    for key in ("core.fsmonitor", f"filter.{DRIVER}.clean"):
        git(top, "config", key, str(program(top, key.replace(DRIVER, "filter"))))
    subprocess.run(["git", "status"], cwd=top, capture_output=True, timeout=60)

    marks = {path.name for path in top.parent.glob("PWNED*")}
    assert {"PWNED-core.fsmonitor", "PWNED-filter.filter.clean"} <= marks
