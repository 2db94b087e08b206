"""git: keeps are commits, and nothing else in the repository ever changes."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_plugin.errors import RepositoryError
from autoresearch_plugin.loop import Research
from autoresearch_plugin.repository import (
    MESSAGES,
    BranchMoved,
    Repository,
    commit_message,
)

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


# ------------------------------------------------------------------------ a keep


def test_a_keep_is_a_commit_on_the_research_branch(top: Path) -> None:
    """Bytes, parent, author, message and place of a kept commit are as asked."""
    repository = Repository(top, "train.py")
    start = repository.parent("main")
    with unchanged(top):
        commit = keep(repository)
    assert git(top, "rev-parse", "autoresearch/main") == commit
    assert git(top, "rev-parse", f"{commit}^") == start.commit
    assert {name: blob(top, f"{commit}:{name}") for name in FILES} == FILES
    assert git(top, "log", "-1", "--format=%an <%ae> %s", commit) == (
        "Ada <ada@example.org> Deeper"
    )
    changed = git(top, "diff", "--name-only", start.commit, commit).splitlines()
    assert sorted(changed) == sorted(FILES)


def test_the_second_keep_stands_on_the_first(top: Path) -> None:
    """Once the branch exists its tip is the parent, whatever HEAD is."""
    repository = Repository(top, "train.py")
    first = keep(repository)
    parent = repository.parent("main")
    assert (parent.commit, parent.source) == (first, "DEPTH = 3\n")
    assert parent.short == first[:7]
    second = keep(repository, {"train.py": b"DEPTH = 4\n"})
    assert git(top, "rev-parse", f"{second}^") == first
    assert git(top, "fsck", "--strict") == ""


def test_every_kind_of_dirt_stays_as_it_is(top: Path) -> None:
    """Staged hunks, edits, untracked and ignored files survive byte for byte."""
    data = top / "data.py"
    data.write_text(data.read_text().replace("one", "ONE"))
    git(top, "add", "data.py")
    data.write_text(data.read_text().replace("eight", "EIGHT"))
    write(top / "new.py", "staged and new\n")
    git(top, "add", "new.py")
    git(top, "rm", "--quiet", "--cached", "run.sh")
    write(top / "notes.txt", "untracked\n")
    write(top / "experiments/test_0001_depth.py", "# mine, untracked\n")
    write(top / "big.log", "ignored\n")
    write(top / "train.py", "DEPTH = 99\n")
    with unchanged(top):
        repository = Repository(top, "train.py")
        commit = keep(repository)
        assert repository.parent("main").source == "DEPTH = 3\n"
        repository.notes()
        assert repository.target_is_dirty()
    assert blob(top, f"{commit}:data.py").startswith(b"one\n")
    names = git(top, "ls-tree", "-r", "--name-only", commit).splitlines()
    assert "run.sh" in names
    assert not {"new.py", "notes.txt", "big.log"} & {*names}


@pytest.mark.parametrize("configured", [False, True])
def test_hooks_neither_run_nor_refuse(top: Path, configured: bool) -> None:
    """Hooks that rewrite files or refuse, also from core.hooksPath, see no keep."""
    hooks = top / "hooks" if configured else top / ".git/hooks"
    refuse_everything(hooks)
    if configured:
        git(top, "config", "core.hooksPath", "hooks")
    repository = Repository(top, "train.py")
    with unchanged(top):
        commit = keep(repository)
        notes = "\n".join(repository.notes())
    assert blob(top, f"{commit}:train.py") == FILES["train.py"]
    assert not (top / "hook-ran").exists()
    assert "pre-commit, prepare-commit-msg, commit-msg" in notes


def test_filters_and_line_endings_leave_the_bytes_alone(top: Path) -> None:
    """autocrlf, eol attributes and a clean filter do not touch what is committed."""
    write(top / ".git/info/attributes", "*.py text eol=crlf filter=spoil\n")
    for key, value in {
        "core.autocrlf": "true",
        "core.safecrlf": "true",
        "filter.spoil.clean": "sed s/DEPTH/SPOILT/",
        "filter.spoil.smudge": "sed s/DEPTH/SPOILT/",
        "filter.spoil.required": "true",
    }.items():
        git(top, "config", key, value)
    odd = b"a\r\nb\n\x00\xff no newline"
    repository = Repository(top, "train.py")
    with unchanged(top):
        commit = keep(repository, {"train.py": odd, "new.py": b"x\r\n"})
    assert blob(top, f"{commit}:train.py") == odd
    assert blob(top, f"{commit}:new.py") == b"x\r\n"
    assert repository.at("HEAD").source == SOURCE
    assert not repository.target_is_dirty()


def test_settings_that_start_programs_or_leave_files_are_off(top: Path) -> None:
    """fsmonitor, gpg signing, a split index: none runs, none leaves a trace."""
    monitor = write(top / "monitor", "#!/bin/sh\ntouch monitor-ran\n")
    monitor.chmod(0o755)
    for key, value in {
        "core.fsmonitor": str(monitor),
        "core.splitIndex": "true",
        "commit.gpgSign": "true",
        "gpg.program": "false",
        "i18n.commitEncoding": "ISO-8859-1",
        "i18n.logOutputEncoding": "ISO-8859-1",
        "trailer.separators": "=",
        "diff.noprefix": "true",
        "color.ui": "always",
    }.items():
        git(top, "config", key, value)
    before = snapshot_of_git_dir(top)
    repository = Repository(top, "train.py")
    commit = keep(repository, subject="Größer")
    assert repository.history(commit)["0123456789abcdef"].subject == "Größer"
    assert any("not signed" in note for note in repository.notes())
    assert not (top / "monitor-ran").exists()
    assert snapshot_of_git_dir(top) == before


def snapshot_of_git_dir(top: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (top / ".git").iterdir()
        if path.is_file()
    }


def test_modes_of_existing_files_are_kept(top: Path) -> None:
    """A script stays executable, a new file is a plain one."""
    commit = keep(Repository(top, "train.py"), {"run.sh": b"#!/bin/sh\n:\n", "n": b""})
    modes = git(top, "ls-tree", commit, "run.sh", "n").split("\n")
    assert [line.split()[0] for line in modes] == ["100644", "100755"]


def test_a_missing_identity_is_replaced_and_noted(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without user.name and user.email a keep is by autoresearch; a note says so."""
    git(top, "config", "--unset", "user.name")
    git(top, "config", "--unset", "user.email")
    repository = Repository(top, "train.py")
    with unchanged(top):
        commit = keep(repository)
    who = git(top, "log", "-1", "--format=%an <%ae> %cn <%ce>", commit)
    assert who == " ".join(["autoresearch <autoresearch@localhost>"] * 2)
    assert any("user.email" in note for note in repository.notes())
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Eve")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "eve@example.org")
    assert repository.notes() == []
    commit = keep(repository, {"train.py": b"5"})
    assert git(top, "log", "-1", "--format=%an %cn", commit) == "Eve Eve"


def test_a_detached_head_stays_where_it_is(top: Path) -> None:
    """The tag is named after the commit, the branch is made, HEAD stays detached."""
    git(top, "checkout", "--quiet", "--detach")
    repository = Repository(top, "train.py")
    tag = repository.default_tag()
    head = git(top, "rev-parse", "HEAD")
    assert tag == f"detached-{head[:7]}"
    with unchanged(top):
        commit = keep(repository, tag=tag)
    assert git(top, "rev-parse", f"autoresearch/{tag}") == commit
    assert repository.notes() == [
        f"HEAD is detached at {head[:7]}; keeps go to autoresearch/{tag}."
    ]


def test_a_stale_index_lock_does_not_matter(top: Path) -> None:
    """A lock that a killed git left behind stops the user's git, not a keep."""
    write(top / ".git/index.lock", "")
    repository = Repository(top, "train.py")
    with unchanged(top):
        keep(repository)
        repository.notes()
        assert not repository.target_is_dirty()


def test_a_submodule_elsewhere_is_carried_along(top: Path, tmp_path: Path) -> None:
    """Its entry is the same in the kept commit; nobody looks at what is inside it."""
    git(top, "submodule", "--quiet", "add", str(make(tmp_path / "other")), "!lib")
    git(top, "commit", "--quiet", "-m", "submodule")
    write(top / "!lib/data.py", "changed\n")
    write(top / "!lib/train.pyc", "untracked\n")
    repository = Repository(top, "train.py")
    with unchanged(top):
        commit = keep(repository)
        assert repository.notes() == []
    entries = [git(top, "ls-tree", c, "!lib") for c in ("HEAD", commit)]
    assert entries[0] == entries[1]
    assert entries[0].startswith("160000 commit")
    with pytest.raises(RepositoryError, match=r"absent\.py is not committed"):
        Repository(top, "absent.py")


def test_a_root_may_be_relative_or_a_link(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process goes later does not matter."""
    (tmp_path / "link").symlink_to(top)
    monkeypatch.chdir(tmp_path)
    repository = Repository(Path("link"), "train.py")
    target = str(tmp_path / "link/train.py")
    assert Repository(top, target).parent("main") == repository.parent("main")
    monkeypatch.chdir("/")
    assert blob(top, f"{keep(repository)}:train.py") == FILES["train.py"]


def test_a_linked_worktree_keeps_into_the_common_repository(
    top: Path, tmp_path: Path
) -> None:
    """From a linked worktree both checkouts stay as they are; the branch is shared."""
    linked = tmp_path / "linked"
    git(top, "worktree", "add", "--quiet", "-b", "side", str(linked))
    write(linked / "data.py", "dirty\n")
    repository = Repository(linked, "train.py")
    assert repository.default_tag() == "side"
    status = git(linked, "--no-optional-locks", "status", "--porcelain=v2")
    with unchanged(top):
        commit = keep(repository, tag="side")
    assert git(linked, "--no-optional-locks", "status", "--porcelain=v2") == status
    assert git(top, "rev-parse", "autoresearch/side") == commit


def test_a_worktree_of_a_bare_repository_works(top: Path, tmp_path: Path) -> None:
    """A bare repository's linked worktree has a working tree like any other."""
    git(tmp_path, "clone", "--quiet", "--bare", str(top), "bare.git")
    git(tmp_path / "bare.git", "worktree", "add", "--quiet", "../work", "main")
    commit = keep(Repository(tmp_path / "work", "train.py"))
    assert git(tmp_path / "bare.git", "rev-parse", "autoresearch/main") == commit
    assert git(tmp_path / "work", "status", "--porcelain") == ""


def test_a_project_below_the_top_has_its_own_paths(top: Path) -> None:
    """Paths count from pytest's root, wherever the repository's top is."""
    write(top / "sub/dir/train.py", "WIDTH = 1\n")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "below")
    repository = Repository(top / "sub/dir", "train.py")
    assert repository.parent("main").source == "WIDTH = 1\n"
    with unchanged(top):
        commit = keep(repository, {**FILES, "../up.py": b"up"})
    assert blob(top, f"{commit}:sub/dir/train.py") == FILES["train.py"]
    assert blob(top, f"{commit}:sub/up.py") == b"up"
    assert blob(top, f"{commit}:train.py") == SOURCE.encode()
    write(top / "sub/dir/train.py", "WIDTH = 2\n")
    assert repository.target_is_dirty()
    whole = Repository(top / "sub/dir", str(top / "train.py"))
    assert whole.parent("new").source == SOURCE


def test_a_sha256_repository_works(tmp_path: Path) -> None:
    """Longer object names are no obstacle."""
    top = make(tmp_path / "project", "--object-format=sha256")
    repository = Repository(top, "train.py")
    with unchanged(top):
        first = keep(repository)
        second = keep(repository, {"train.py": b"DEPTH = 4\n"})
    assert len(second) == 64
    assert git(top, "rev-parse", "autoresearch/main^") == first
    assert not repository.target_is_dirty()


def test_a_shallow_clone_works_and_is_noted(top: Path, tmp_path: Path) -> None:
    """A clone of depth 1 can keep; a note says that its history is cut."""
    write(top / "train.py", "DEPTH = 8\n")
    git(top, "commit", "--quiet", "-am", "second")
    git(tmp_path, "clone", "--quiet", "--depth=1", top.as_uri(), "shallow")
    git(tmp_path / "shallow", "config", "user.name", "Ada")
    git(tmp_path / "shallow", "config", "user.email", "ada@example.org")
    repository = Repository(tmp_path / "shallow", "train.py")
    with unchanged(tmp_path / "shallow"):
        commit = keep(repository)
    assert [*repository.history(commit)] == ["0123456789abcdef"]
    assert [note for note in repository.notes() if "unshallow" in note]


def test_a_partial_clone_fetches_nothing(top: Path, tmp_path: Path) -> None:
    """Blobs that a partial clone left on the server are not needed for a keep."""
    git(top, "config", "uploadpack.allowFilter", "true")
    words = ("clone", "--quiet", "--filter=blob:none", "--no-checkout", top.as_uri())
    git(tmp_path, *words, "part")
    git(tmp_path / "part", "checkout", "--quiet", "HEAD", "--", "train.py")
    repository = Repository(tmp_path / "part", "train.py")
    top.rename(tmp_path / "gone")
    commit = keep(repository)
    assert blob(tmp_path / "part", f"{commit}:train.py") == FILES["train.py"]
    names = git(tmp_path / "part", "ls-tree", "--name-only", commit).splitlines()
    assert "data.py" in names


def test_an_index_named_by_the_environment_is_not_used(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a git hook GIT_INDEX_FILE names the user's index; a keep leaves it alone."""
    write(top / "data.py", "staged\n")
    git(top, "add", "data.py")
    repository = Repository(top, "train.py")
    monkeypatch.setenv("GIT_INDEX_FILE", str(top / ".git/index"))
    with unchanged(top):
        commit = keep(repository)
    assert blob(top, f"{commit}:data.py").startswith(b"one")


def test_a_root_with_odd_characters_works(tmp_path: Path) -> None:
    """Spaces, quotes, dollars and non-ASCII letters in paths are only characters."""
    top = make(tmp_path / "a $HOME 'b' \u00fc *")
    name = "exp\u00e9riences/test $x [1].py"
    commit = keep(Repository(top, "train.py"), {name: b"ok"})
    assert blob(top, f"{commit}:{name}") == b"ok"


# -------------------------------------------------------- branches that must not move


def test_a_branch_that_is_checked_out_is_not_moved(top: Path, tmp_path: Path) -> None:
    """Moving it would make that checkout look changed, so the keep is refused."""
    repository = Repository(top, "train.py")
    first = keep(repository)
    git(top, "worktree", "add", "--quiet", str(tmp_path / "look"), "autoresearch/main")
    with pytest.raises(RepositoryError, match=r"checked out in .*look"):
        keep(repository)
    with pytest.raises(RepositoryError, match="--autoresearch-tag"):
        repository.check_branch("main")
    assert git(top, "rev-parse", "autoresearch/main") == first
    git(tmp_path / "look", "switch", "--quiet", "--detach")
    repository.check_branch("main")
    keep(repository)


def test_on_a_research_branch_the_keeps_go_one_level_down(top: Path) -> None:
    """Who works on autoresearch/main gets autoresearch/autoresearch/main."""
    first = keep(Repository(top, "train.py"))
    git(top, "switch", "--quiet", "autoresearch/main")
    repository = Repository(top, "train.py")
    tag = repository.default_tag()
    assert repository.parent(tag).commit == first
    with unchanged(top):
        keep(repository, tag=tag)


@pytest.mark.parametrize(
    ("existing", "tag"),
    [
        ("autoresearch", "main"),
        ("autoresearch/a", "a/b"),
        ("autoresearch/a/b", "a"),
    ],
)
def test_a_branch_in_the_way_is_named(top: Path, existing: str, tag: str) -> None:
    """git cannot hold both names; the message has the command that helps."""
    git(top, "branch", existing)
    repository = Repository(top, "train.py")
    with pytest.raises(RepositoryError, match=f"git branch -m {existing} ") as error:
        keep(repository, tag=tag)
    assert repr(existing) in str(error.value)


@pytest.mark.parametrize("tag", ["", "a b", "a..b", "x.lock", "a//b", "\0", "y" * 300])
def test_a_tag_that_is_no_branch_name_is_refused(top: Path, tag: str) -> None:
    """git's own rules decide, before anything is tried."""
    with pytest.raises(RepositoryError, match="cannot be part of a branch name"):
        Repository(top, "train.py").branch(tag)


def test_tags_with_slashes_and_dashes_are_fine(top: Path) -> None:
    """The default tag is a branch name, so all of those must work."""
    git(top, "tag", "-m", "same name", "feature/-x")
    git(top, "switch", "--quiet", "-c", "feature/-x")
    repository = Repository(top, "train.py")
    assert repository.default_tag() == "feature/-x"
    keep(repository, tag="feature/-x")
    assert git(top, "rev-parse", "refs/heads/autoresearch/feature/-x")


def test_a_keep_on_an_old_parent_is_refused(top: Path) -> None:
    """Somebody else kept in between: nothing is lost, the candidate must run again."""
    repository = Repository(top, "train.py")
    old = repository.parent("main").commit
    first = keep(repository)
    with unchanged(top), pytest.raises(BranchMoved, match=f"is at {first[:7]}, not"):
        keep(repository, parent=old)
    assert git(top, "rev-parse", "autoresearch/main") == first


def test_a_branch_that_stands_for_another_does_not_move_it(top: Path) -> None:
    """A symbolic research branch becomes a branch of its own at its first keep."""
    git(top, "branch", "side")
    git(top, "symbolic-ref", "refs/heads/autoresearch/main", "refs/heads/side")
    commit = keep(Repository(top, "train.py"))
    assert git(top, "rev-parse", "autoresearch/main") == commit
    assert git(top, "rev-parse", "side") == git(top, "rev-parse", "HEAD")


RACER = """
import pathlib, sys
from autoresearch_plugin.repository import BranchMoved, Repository
root, parent, name = sys.argv[1:]
repository = Repository(pathlib.Path(root), "train.py")
print("ready", flush=True)
sys.stdin.readline()
try:
    repository.commit_keep("main", parent, {"train.py": name.encode()}, name, "", [])
except BranchMoved:
    print("moved")
else:
    print("kept")
"""


def test_of_several_processes_exactly_one_keeps(top: Path) -> None:
    """Four keep at the same moment on the same parent, first and later ones alike."""
    repository = Repository(top, "train.py")
    for _ in range(3):
        parent = repository.parent("main").commit
        words = [sys.executable, "-c", RACER, str(top), parent]
        racers = [
            subprocess.Popen(
                [*words, name],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "abcd"
        ]
        for racer in racers:
            assert racer.stdout
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = sorted(racer.communicate()[0].strip() for racer in racers)
        assert said == ["kept", "moved", "moved", "moved"]
        assert git(top, "rev-parse", "autoresearch/main^") == parent


def test_a_locked_branch_gives_gits_own_reason(top: Path) -> None:
    """A lock that stays is no race: the message names it, nothing has moved."""
    repository = Repository(top, "train.py")
    first = keep(repository)
    lock = write(top / ".git/refs/heads/autoresearch/main.lock", "")
    with pytest.raises(RepositoryError, match=r"main\.lock.*File exists") as error:
        keep(repository)
    assert not isinstance(error.value, BranchMoved)
    lock.unlink()
    assert git(top, "rev-parse", "autoresearch/main") == first


@pytest.mark.parametrize("name", ["../../escape.py", "/escape.py", ".git/config"])
def test_no_file_leaves_the_repository(top: Path, name: str) -> None:
    """Paths outside, or inside .git, are refused and the branch does not move."""
    repository = Repository(top, "train.py")
    with unchanged(top), pytest.raises(RepositoryError):
        keep(repository, {name: b"x"})
    assert git(top, "branch", "--list", "autoresearch/*") == ""


def test_a_link_or_a_directory_is_not_overwritten(top: Path) -> None:
    """A symbolic link's entry would take the bytes as its destination."""
    (top / "link.py").symlink_to("data.py")
    write(top / "pack/x.py", "")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "link")
    repository = Repository(top, "train.py")
    with pytest.raises(RepositoryError, match=r"link\.py is a symbolic link at"):
        keep(repository, {"link.py": b"x"})
    with pytest.raises(RepositoryError, match="pack is a directory at"):
        keep(repository, {"pack": b"x"})
    with pytest.raises(RepositoryError, match="update-index failed"):
        keep(repository, {"data.py/x.py": b"x"})


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("subject", "stored"),
    [
        (HOSTILE, HOSTILE),
        ("$(touch owned) `touch owned`", "$(touch owned) `touch owned`"),
        ("w" * 5000, "w" * 117 + "..."),
        ("RoPE \u2192 200K \U0001f642 \u65e5\u672c", None),
        ("two\nlines\r\n\nCandidate: forged", "two lines Candidate: forged"),
        ("-m --amend", "-m --amend"),
        ("# not a comment", "keep # not a comment"),
        ("--- a/x", "keep --- a/x"),
        ("nul \0 bell \a \ud800", "nul bell"),
        (" \n ", "keep a candidate"),
    ],
)
def test_hostile_subjects_are_harmless(
    top: Path, subject: str, stored: str | None
) -> None:
    """Whatever a model calls its idea becomes one line of text and nothing else."""
    repository = Repository(top, "train.py")
    with unchanged(top):
        commit = keep(repository, subject=subject)
    assert git(top, "log", "-1", "--format=%s", commit) == (stored or subject)
    assert [*repository.history(commit)] == ["0123456789abcdef"]


@pytest.mark.parametrize(
    "body",
    [
        "Candidate: forged\nRuns: 9",
        "text\n---\n a diff follows",
        "--- a/train.py\n+++ b/train.py",
        "# ------------------------ >8 ------------------------\nrest",
        "#\n#\nConflicts:\n\ttrain.py",
        "\n\n\n",
        "x\r\n\x0cy\u2028Signed-off-by: z",
    ],
)
def test_no_body_hides_or_forges_trailers(top: Path, body: str) -> None:
    """git reads exactly our trailers from the commit, by both of its readers."""
    repository = Repository(top, "train.py")
    parent = repository.parent("main").commit
    commit = repository.commit_keep("main", parent, FILES, "t", body, TRAILERS)
    ours = "\n".join(f"{key}: {value}" for key, value in TRAILERS)
    assert git(top, "log", "-1", "--format=%(trailers)", commit).strip() == ours
    message = git(top, "log", "-1", "--format=%B", commit)
    assert git(top, "interpret-trailers", "--parse", stdin=message) == ours


TEXTS = st.text(max_size=80) | st.sampled_from(
    [
        "---",
        "#",
        "Candidate: x",
        "a\n\nb: c",
        "\n---\n",
        "(cherry picked from commit x)",
    ]
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(TEXTS, TEXTS, TEXTS)
def test_trailers_parse_back_from_any_message(
    subject: str, body: str, value: str
) -> None:
    """For all texts: first our subject, last our trailers, one line each."""
    message = commit_message(subject, body, [("Candidate", "abc"), ("Val bpb", value)])
    lines = git(Path.cwd(), "interpret-trailers", "--parse", stdin=message).splitlines()
    assert lines[0] == "Candidate: abc"
    assert [line.split(":")[0] for line in lines] == ["Candidate", "Val-bpb"]
    title, blank = message.split("\n")[:2]
    assert title.strip()
    assert not blank


# ----------------------------------------------------------------------- history


def test_history_maps_signatures_to_kept_commits(top: Path) -> None:
    """Subject and effect come from the commit; commits without the trailer do not."""
    repository = Repository(top, "train.py")
    trailers = [("Candidate", "aa"), ("Val-Bpb", "0.9900"), ("Baseline-Bpb", "0.9915")]
    said = [("Candidate", "bb"), ("Effect", "-1.5e-3 \u00b1 0.4e-3")]
    parent = repository.parent("t").commit
    first = repository.commit_keep("t", parent, FILES, "One", "Candidate: no", trailers)
    second = repository.commit_keep("t", first, {"x": b"1"}, "Two", "", said)
    third = repository.commit_keep("t", second, {"x": b"2"}, "Three", "", [])
    found = repository.history(third)
    assert {key: (k.commit, k.subject, k.effect) for key, k in found.items()} == {
        "aa": (first, "One", "-0.0015"),
        "bb": (second, "Two", "-1.5e-3 \u00b1 0.4e-3"),
    }
    assert all(key == kept.signature for key, kept in found.items())
    assert [*repository.history(first)] == ["aa"]
    assert repository.history("HEAD") == {}


def test_a_reverted_keep_is_not_in_the_baseline(top: Path) -> None:
    """`git revert` takes a keep back; reverting the revert brings it in again."""
    commit = keep(Repository(top, "train.py"))
    git(top, "switch", "--quiet", "-c", "mine", commit)
    git(top, "revert", "--no-edit", commit)
    repository = Repository(top, "train.py")
    assert repository.history("HEAD") == {}
    git(top, "revert", "--no-edit", "HEAD")
    assert repository.history("HEAD")["0123456789abcdef"].commit == commit


def test_a_merged_and_a_squashed_keep_count(top: Path) -> None:
    """The trailer decides, not the way in which the commit came into the branch."""
    repository = Repository(top, "train.py")
    commit = keep(repository)
    git(top, "merge", "--quiet", "--no-ff", "-m", "merge", "autoresearch/main")
    assert repository.history("HEAD")["0123456789abcdef"].commit == commit
    message = commit_message("squash", "", [("Candidate", "s1"), ("Candidate", "s2")])
    git(top, "commit", "--quiet", "--allow-empty", "-m", message)
    git(top, "commit", "--quiet", "--allow-empty", "-m", "by hand\n\ncandidate: s3")
    assert {*repository.history("HEAD")} == {"0123456789abcdef", "s1", "s2", "s3"}


def test_the_history_of_a_baseline_is_read_once() -> None:
    """Each candidate asks for it; git is asked again when the baseline has moved."""
    asked: list[str] = []
    repository = SimpleNamespace(
        history=lambda commit: asked.append(commit) or {commit}
    )
    held: Any = SimpleNamespace(repository=repository, _kept=("", {}))
    heads: list[Any] = [SimpleNamespace(commit=name) for name in ("a", "a", "b", "a")]
    found = [Research.kept_before(held, head) for head in heads]
    assert found == [{"a"}, {"a"}, {"b"}, {"a"}]
    assert asked == ["a", "b", "a"]


def test_signatures_shown_in_the_log_do_not_disturb_history(top: Path) -> None:
    """A signed keep and log.showSignature: what gpg says is no part of the log."""
    block = "-----BEGIN PGP SIGNATURE-----\\nx\\n-----END PGP SIGNATURE-----\\n"
    script = (
        "#!/bin/sh\ncat > /dev/null; echo gpg: hello >&2\n"
        "printf '\\n[GNUPG:] SIG_CREATED x\\n' >&2\n"
        f"printf -- '{block}'\n"
    )
    gpg = write(top.parent / "gpg", script)
    gpg.chmod(0o755)
    git(top, "config", "gpg.program", str(gpg))
    git(top, "config", "log.showSignature", "true")
    message = commit_message("mine", "", [("Candidate", "s1")])
    git(top, "commit", "--quiet", "--allow-empty", "-S", "-m", message)
    kept = Repository(top, "train.py").history("HEAD")["s1"]
    assert (kept.commit, kept.subject) == (git(top, "rev-parse", "HEAD"), "mine")


def test_the_target_at_any_ref(top: Path) -> None:
    """Branches, tags, short names and HEAD~1 all name a parent."""
    start = git(top, "rev-parse", "HEAD")
    git(top, "tag", "-m", "annotated", "v1")
    write(top / "train.py", "DEPTH = 7\r\n")
    git(top, "commit", "--quiet", "-am", "seven")
    repository = Repository(top, "train.py")
    for ref in ("v1", start[:8], "HEAD~1"):
        assert repository.at(ref).commit == start
        assert repository.at(ref).source == SOURCE
    assert repository.at("main").source == "DEPTH = 7\r\n"


@pytest.mark.parametrize(
    "ref", ["nope", "", "-x", "--since=2020", "HEAD:train.py", HOSTILE, "\0"]
)
def test_an_unknown_ref_says_so(top: Path, ref: str) -> None:
    """No traceback, and where to look."""
    with unchanged(top), pytest.raises(RepositoryError, match="git log --all"):
        Repository(top, "train.py").at(ref)


def test_a_ref_without_the_target_says_so(top: Path) -> None:
    """A commit from before the target cannot be a parent."""
    git(top, "mv", "train.py", "model.py")
    git(top, "commit", "--quiet", "-m", "rename")
    with pytest.raises(RepositoryError, match=r"model\.py does not exist at "):
        Repository(top, "model.py").at("HEAD~1")


# --------------------------------------------------------------------- dirt, notes


def test_a_clean_target_is_clean(top: Path) -> None:
    """Other dirt, a touched file and a changed mode are not changes of the target."""
    repository = Repository(top, "train.py")
    assert not repository.target_is_dirty()
    os.utime(top / "train.py", (1, 1))
    (top / "train.py").chmod(0o755)
    write(top / "data.py", "changed\n")
    with unchanged(top):
        assert not repository.target_is_dirty()


def test_a_target_whose_name_looks_like_a_pattern(top: Path) -> None:
    """Brackets and stars in a file name match that file only."""
    for name in ("t*.py", "t[r].py", "tr.py"):
        write(top / name, SOURCE)
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "odd names")
    write(top / "tr.py", "changed\n")
    git(top, "add", ".")
    for name in ("t*.py", "t[r].py"):
        assert not Repository(top, name).target_is_dirty()


@pytest.mark.parametrize("flag", ["", "--assume-unchanged", "--skip-worktree"])
def test_an_edited_target_is_dirty(top: Path, flag: str) -> None:
    """Also where a flag hides the edit from git status."""
    if flag:
        git(top, "update-index", flag, "train.py")
    write(top / "train.py", "DEPTH = 3\n")
    with unchanged(top):
        assert Repository(top, "train.py").target_is_dirty()


def test_a_staged_or_removed_target_is_dirty(top: Path) -> None:
    """The index counts as much as the file."""
    repository = Repository(top, "train.py")
    write(top / "train.py", "DEPTH = 3\n")
    git(top, "add", "train.py")
    write(top / "train.py", SOURCE)
    assert repository.target_is_dirty()
    git(top, "reset", "--quiet", "--hard")
    (top / "train.py").unlink()
    assert repository.target_is_dirty()
    git(top, "reset", "--quiet", "--hard")
    git(top, "rm", "--quiet", "--cached", "train.py")
    assert repository.target_is_dirty()


def test_line_endings_of_a_checkout_are_no_change(top: Path) -> None:
    """A file that git itself checked out with CRLF is clean."""
    write(top / ".gitattributes", "/train.py text eol=crlf\n")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "attributes")
    (top / "train.py").unlink()
    git(top, "checkout", "--quiet", "--", "train.py")
    assert (top / "train.py").read_bytes() == b"DEPTH = 2\r\n"
    assert not Repository(top, "train.py").target_is_dirty()
    (top / "sub").mkdir()
    assert not Repository(top / "sub", "../train.py").target_is_dirty()


def test_other_dirt_is_one_note(top: Path) -> None:
    """Tracked changes are counted and named; the target has its own rule."""
    repository = Repository(top, "train.py")
    write(top / "notes.txt", "untracked\n")
    write(top / "train.py", "DEPTH = 3\n")
    assert repository.notes() == []
    write(top / "data.py", "changed\n")
    git(top, "mv", "run.sh", "go.sh")
    (note,) = repository.notes()
    assert note.startswith(
        "3 other tracked files have uncommitted changes (data.py, go.sh, run.sh): "
    )


# ------------------------------------------------------------------- no way forward


def test_without_a_repository(tmp_path: Path) -> None:
    """A directory without git gets the commands that make it a repository."""
    write(tmp_path / "train.py", SOURCE)
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RepositoryError, match="git init && git add"):
            Repository(root, "train.py")


def test_without_a_git_program(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git on PATH, or one that does not start, is said in one sentence."""
    repository = Repository(top, "train.py")
    monkeypatch.setenv("PATH", str(top / "empty"))
    with pytest.raises(RepositoryError, match="Install git"):
        Repository(top, "train.py")
    with pytest.raises(RepositoryError, match="Install git"):
        repository.parent("main")
    write(top / "empty/git", "#!/does/not/exist\n").chmod(0o755)
    with pytest.raises(RepositoryError, match="does not start"):
        repository.parent("main")


def test_without_gitpython(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is named with the command that installs it."""
    monkeypatch.setitem(sys.modules, "git", None)
    with pytest.raises(RepositoryError, match="pip install gitpython"):
        Repository(top, "train.py")


def test_gitpython_is_imported_late() -> None:
    """Importing the module costs no user of pytest the time to import GitPython."""
    code = "import sys, autoresearch_plugin.repository; sys.exit('git' in sys.modules)"
    root = Path(__file__).parents[2]
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode
        == 0
    )


def test_a_bare_repository(top: Path, tmp_path: Path) -> None:
    """No working tree, no tests; the same inside .git."""
    git(tmp_path, "clone", "--quiet", "--bare", str(top), "bare.git")
    for root in (tmp_path / "bare.git", top / ".git"):
        with pytest.raises(RepositoryError, match="git worktree add"):
            Repository(root, "train.py")


def test_no_commit_yet(tmp_path: Path) -> None:
    """A fresh `git init` has no parent to improve."""
    git(tmp_path, "init", "--quiet", "new")
    write(tmp_path / "new/train.py", SOURCE)
    with pytest.raises(RepositoryError, match="no commit yet"):
        Repository(tmp_path / "new", "train.py")


@pytest.mark.parametrize(
    "prepare", [(), ("add", "new.py")], ids=["untracked", "only staged"]
)
def test_a_target_that_is_not_committed(top: Path, prepare: tuple[str, ...]) -> None:
    """Untracked and merely staged targets have no parent."""
    write(top / "new.py", SOURCE)
    if prepare:
        git(top, *prepare)
    with pytest.raises(RepositoryError, match=r"git add -f new\.py"):
        Repository(top, "new.py")


@pytest.mark.parametrize("target", ["../train.py", "/train.py", ".", ""])
def test_a_target_outside_the_repository(top: Path, target: str) -> None:
    """Relative or absolute, it must be a file below the top."""
    with pytest.raises(RepositoryError, match="outside the repository at"):
        Repository(top, target)


def test_a_target_inside_a_submodule(top: Path, tmp_path: Path) -> None:
    """Its repository is the one to run in, initialised here or not."""
    git(top, "submodule", "--quiet", "add", str(make(tmp_path / "other")), "vendor/lib")
    message = r"belongs to another repository .*vendor/lib"
    with pytest.raises(RepositoryError, match=message):
        Repository(top, "vendor/lib/train.py")
    git(top, "commit", "--quiet", "-m", "submodule")
    for target in ("vendor/lib/train.py", "vendor/lib"):
        with pytest.raises(RepositoryError, match=message):
            Repository(top, target)
    git(top, "submodule", "--quiet", "deinit", "--all")
    with pytest.raises(RepositoryError, match=message):
        Repository(top, "vendor/lib/train.py")


def test_inside_a_submodule_the_submodule_is_the_repository(
    top: Path, tmp_path: Path
) -> None:
    """pytest's root in a submodule: its branch moves, the outer repository does not."""
    git(top, "submodule", "--quiet", "add", str(make(tmp_path / "other")), "lib")
    git(top, "commit", "--quiet", "-m", "submodule")
    refs = git(top, "for-each-ref")
    commit = keep(Repository(top / "lib", "train.py"))
    assert git(top / "lib", "rev-parse", "autoresearch/main") == commit
    assert git(top, "for-each-ref") == refs
    assert git(top, "status", "--porcelain") == ""


def test_a_target_that_is_a_link(top: Path) -> None:
    """Committing bytes to a link would change its destination."""
    (top / "link.py").symlink_to("train.py")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "link")
    with pytest.raises(RepositoryError, match="symbolic link"):
        Repository(top, "link.py")
    (top / "link.py").unlink()
    write(top / "link.py", SOURCE)
    git(top, "commit", "--quiet", "-am", "a file now")
    with pytest.raises(RepositoryError, match="symbolic link"):
        Repository(top, "link.py").at("HEAD~1")


def test_a_target_that_is_no_text(top: Path) -> None:
    """A source is UTF-8; anything else is said before a trial."""
    (top / "train.py").write_bytes(b"# caf\xe9\n")
    git(top, "commit", "--quiet", "-am", "latin-1")
    with pytest.raises(RepositoryError, match="is not UTF-8"):
        Repository(top, "train.py").parent("main")


def test_a_repository_of_another_user(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git's distrust is passed on with its own remedy."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(RepositoryError, match=f"safe.directory {top}"):
        Repository(top, "train.py")


def test_every_message_is_a_sentence_with_its_values() -> None:
    """All texts a user can get are templates in one place, and end with a period."""
    for name, template in MESSAGES.items():
        fields = {
            field for _, field, _, _ in string.Formatter().parse(template) if field
        }
        assert template.endswith("."), name
        assert template.format(**dict.fromkeys(fields, "x.")), name


def test_a_merged_branch_goes_on_from_head(top: Path) -> None:
    """After a merge and own commits HEAD is the parent, and keeps follow it."""
    first = keep(Repository(top, "train.py"), {"train.py": b"LR = 2\n"})
    git(top, "merge", "-q", "autoresearch/main")
    write(top / "train.py", "LR = 3\n")
    git(top, "commit", "-qam", "mine")
    repository = Repository(top, "train.py")

    parent = repository.parent("main")

    assert parent.source == "LR = 3\n"
    assert repository.note_parent("main") == ""
    second = repository.commit_keep(
        "main", parent.commit, {"train.py": b"LR = 4\n"}, "s", "b", []
    )
    assert git(top, "rev-parse", "autoresearch/main") == second
    assert git(top, "merge-base", first, second) == first


def test_a_branch_that_diverged_goes_on_and_is_noted(top: Path) -> None:
    """Commits of HEAD that the research branch lacks are not seen, and it says so."""
    first = keep(Repository(top, "train.py"), {"train.py": b"LR = 2\n"})
    write(top / "train.py", "LR = 3\n")
    git(top, "commit", "-qam", "mine")
    repository = Repository(top, "train.py")

    assert repository.parent("main").commit == first
    assert "without the newer commits of HEAD" in repository.note_parent("main")
