"""git: a keep is a commit on the research branch, and nothing else ever changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_plugin.errors import RepositoryError
from autoresearch_plugin.repository import Repository, commit_message
from tests.plugin.repositories import (
    FILES,
    HOSTILE,
    SOURCE,
    TRAILERS,
    blob,
    git,
    keep,
    make,
    only_our_settings,
    refuse_everything,
    top,
    unchanged,
    write,
)

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
