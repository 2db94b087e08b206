"""git: which branches a keep moves, and which it never does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch_plugin.errors import RepositoryError
from autoresearch_plugin.repository import BranchMoved, Repository
from tests.plugin.repositories import (
    git,
    keep,
    make,
    only_our_settings,
    top,
    unchanged,
    write,
)


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
