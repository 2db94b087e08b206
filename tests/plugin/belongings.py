"""What is the user's in a project, so that a test can see that it stays as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

OURS = (".git", ".autoresearch", "autoresearch-report", "experiments/_generated")
CACHES = ("__pycache__", ".pytest_cache")  # pytest's and Python's own


def belongings(directory: Path) -> dict[str, bytes | str]:
    """HEAD, the index, and every file that is not ours to write."""
    found: dict[str, bytes | str] = {
        "HEAD": _git(directory, "rev-parse", "HEAD", "--symbolic-full-name"),
        "index": _git(directory, "ls-files", "-s"),
    }
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        ours = any(f"{name}/".startswith(f"{x}/") for x in OURS)
        if path.is_file() and not ours and not set(path.parts) & set(CACHES):
            found[name] = path.read_bytes()
    return found


def make_dirty(directory: Path) -> None:
    """A staged file, a change on top of it, and an untracked file."""
    notes = directory / "notes.txt"
    notes.write_text("mine, staged\n")
    _git(directory, "add", "notes.txt")
    notes.write_text("mine, staged and changed\n")
    (directory / "untracked.txt").write_text("mine too\n")


def _git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout
