"""Generated tests: rendered from a proposal, queued, checked before they are run."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin import candidate as candidates
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import InfrastructureError, PatchError
from autoresearch_plugin.paths import own_directory, write_new
from autoresearch_plugin.settings import GENERATED

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research


def add_generated(
    research: Research,
    proposal: Proposal,
    proposer: str,
    agent: str | None = None,
    turn: str | None = None,
) -> int:
    """Record a proposal and queue its test; returns its number.

    `turn` says why it was this agent's.

    The row comes first (it gives the number), then the file, then the unit: a file that
    a lane can claim is always whole.
    """
    ledger = research.ledger
    profile = research.profile
    test = candidates.render_test(proposal, research.metric, profile.direction)
    number = ledger.add_candidate(
        research.session,
        "generated",
        {
            "title": proposal.title,
            "hypothesis": proposal.hypothesis,
            "category": proposal.category,
            "edits": candidates.edits_json(proposal.edits),
            "signature": proposal.signature,
            **_identity(proposal, research.head().source),
            "retests": proposal.retest,
            "repairs": proposal.repairs,
            "parts": json.dumps(proposal.parts) if proposal.parts else None,
            "proposer": proposer,
            "agent": agent,
            "turn": turn,
            "test": test,
        },
    )
    _queue(research, number, proposal.title, test)
    return number


def _queue(research: Research, number: int, title: str, test: str) -> None:
    ledger = research.ledger
    name = candidates.file_name(number, title)
    ledger.update_candidate(number, file=f"experiments/{name}")
    path = write_generated(research.root, name, test)
    ledger.add_unit(
        research.session,
        "generated",
        str(path.relative_to(research.root)),
        candidate=number,
    )


def _identity(proposal: Proposal, source: str) -> dict[str, str]:
    """What it does to the present baseline, which may have moved since it was asked."""
    try:
        return candidates.identity(source, proposal.apply(source))
    except (PatchError, ValueError, TypeError, RecursionError, MemoryError):
        return {}


def write_generated(root: Path, name: str, test: str) -> Path:
    """Write one rendered test so that it appears whole."""
    path = own_directory(root / GENERATED, alone=True) / name
    temporary = path.with_suffix(".tmp")
    write_new(temporary, test.encode())
    temporary.replace(path)
    return path


def restore_generated(research: Research) -> None:
    """Leave just the files of queued candidates: a resume needs nothing else.

    What a killed session left behind goes, if it still is what the ledger rendered. A
    candidate that it had recorded and not queued yet is queued.
    """
    for row in research.ledger.without_unit(research.session):
        _queue(research, row["id"], row["title"], row["test"])
    directory = research.root / GENERATED
    stale: set[str] = set()
    for row in research.ledger.candidates():
        if row["kind"] != "generated" or not row["file"]:
            continue
        name = Path(row["file"]).name
        waits = row["state"] in ("queued", "running")
        if waits and row["session"] == research.session:
            write_generated(research.root, name, row["test"])
        elif _is_rendered(directory / name, row):
            stale.add(name)
    clear_generated(research.root, stale)


def _is_rendered(path: Path, row: Row) -> bool:
    with contextlib.suppress(OSError):
        return _is_single(path) and path.read_bytes() == row["test"].encode()
    return False


def _is_single(path: Path) -> bool:
    """Whether it is a file with one name: no link of either kind, no pipe."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def clear_generated(root: Path, names: set[str]) -> None:
    """Empty the directory of what we wrote; anything else stays where it is.

    That is so for a file in the directory's place, too: who wanted to write there has
    said what is wrong.
    """
    directory = root / GENERATED
    if directory.is_symlink() or not directory.is_dir():
        return
    for name in names:
        stem = name.removesuffix(".py")
        (directory / name).unlink(missing_ok=True)
        (directory / f"{stem}.tmp").unlink(missing_ok=True)
        for compiled in directory.glob(f"__pycache__/{stem}.*.pyc"):
            compiled.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or not empty
        (directory / "__pycache__").rmdir()


def check_generated(research: Research, path: Path) -> Row:
    """The candidate whose rendering `path` is, byte for byte.

    Raises:
        InfrastructureError: foreign files lie in the directory, or the bytes differ.
    """
    directory = path.parent
    entries = sorted(directory.iterdir())  # first: the proposer may be writing more
    ours = research.ledger.generated_files(research.session)
    written = {name.removesuffix(".py") + ".tmp" for name in ours}
    strangers = [x for x in entries if not _belongs(x, {*ours, *written})]
    for entry in [directory] * directory.is_symlink() + strangers:
        raise InfrastructureError(
            f"{entry.relative_to(research.root)} was not written by this session. "
            f"{GENERATED}/ belongs to autoresearch: move the file to experiments/."
        )
    row = research.ledger.candidate(ours[path.name]) if path.name in ours else None
    if row is None or not _is_rendered(path, row):
        raise InfrastructureError(
            f"{path.relative_to(research.root)} is not what the ledger rendered; it "
            "was changed after it was written. Delete it and start again."
        )
    return row


def _belongs(entry: Path, names: Collection[str]) -> bool:
    """Whether we have put it there. Bytecode is nobody's, and never read."""
    if entry.name == "__pycache__":
        return entry.is_dir() and not entry.is_symlink()
    if entry.name not in (".gitignore", *names):
        return False
    try:
        return _is_single(entry)
    except FileNotFoundError:  # the proposer renames what it has written
        return True
