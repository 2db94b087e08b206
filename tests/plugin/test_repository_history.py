"""git: what is kept already, and the target at any commit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoresearch_plugin.errors import RepositoryError
from autoresearch_plugin.loop import Research
from autoresearch_plugin.repository import Repository, commit_message
from tests.plugin.repositories import (
    FILES,
    HOSTILE,
    SOURCE,
    git,
    keep,
    only_our_settings,
    top,
    unchanged,
    write,
)


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
