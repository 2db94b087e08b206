"""git: what is wrong with a checkout, before anything runs."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch_plugin.errors import RepositoryError
from autoresearch_plugin.repository import MESSAGES, Repository
from tests.plugin.repositories import (
    SOURCE,
    git,
    keep,
    make,
    only_our_settings,
    top,
    unchanged,
    write,
)

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
