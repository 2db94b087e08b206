"""The directories that are ours inside the user's project."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from autoresearch_plugin.errors import SettingsError

RESERVE = "reserve"
SCRATCH = "scratch"
RESERVE_BYTES = 512 * 1024


def state_dir(root: Path) -> Path:
    """`.autoresearch/`, made on first use, nobody else's to list, no link elsewhere.

    Other users may pass through it: the sandbox' own may have to. So everything in it
    but `scratch` is closed.
    """
    path = own_directory(root / ".autoresearch", alone=True)
    if stat.S_IMODE(path.stat().st_mode) != 0o711:
        for inside in path.iterdir():  # made when the way here was closed
            if inside.is_dir() and not inside.is_symlink() and inside.name != SCRATCH:
                _set_mode(inside, 0o700)
        _set_mode(path, 0o711)
    return path


def closed_dir(root: Path, name: str) -> Path:
    """A directory in `.autoresearch/` that no other user gets into."""
    path = state_dir(root) / name
    path.mkdir(mode=0o700, exist_ok=True)
    _set_mode(path, 0o700)
    return path


def _set_mode(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        with contextlib.suppress(PermissionError):  # another user's: not ours to mend
            path.chmod(mode)


def keep_reserve(root: Path) -> None:
    """Room set aside, so that a full disk does not keep a session from ending well."""
    with contextlib.suppress(OSError):
        path = state_dir(root) / RESERVE
        write_new(path, os.urandom(RESERVE_BYTES))
        path.chmod(0o600)


def free_reserve(path: Path) -> None:
    """The disk is full: give the room back. `path` is a file beside the reserve."""
    with contextlib.suppress(OSError):
        path.with_name(RESERVE).unlink()


def checkpoint(root: Path, head: str, seed: int) -> Path:
    """Where a run of a session's first baseline leaves its checkpoint."""
    return closed_dir(root, "checkpoints") / head / f"{seed}.safetensors"


def reference(root: Path, head: str) -> Path:
    """Where the claims of a baseline's latest run lie, for candidates to be held to."""
    return closed_dir(root, "claims") / f"{head}.npy"


def promising(root: Path, candidate: int) -> Path:
    """Where those of a candidate lie that may become a baseline."""
    return reference(root, f"candidate-{candidate}")


def data_dir(root: Path) -> Path:
    """Where training commands keep prepared data."""
    path = state_dir(root) / "data"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def report_dir(root: Path, name: str) -> Path:
    """The directory for reports.

    Raises:
        SettingsError: it cannot be made, or it holds files of the user's: a
            results.tsv of theirs would be overwritten, and git would not see the rest.
    """
    path = root / name
    ignore = path / ".gitignore"
    try:
        ours = ignore.is_file() and ignore.read_text() == "*\n"
        foreign = not ours and path.is_dir() and any(path.iterdir())
    except OSError:
        foreign = False  # the next line says what is wrong
    if foreign:
        raise SettingsError(
            f"--autoresearch-report {name}: that directory has other files in it, and "
            "reports would overwrite junit.xml, kept.xml and results.tsv there. Name "
            "one that does not exist yet."
        )
    return own_directory(path)


def own_directory(path: Path, alone: bool = False) -> Path:
    """A directory of ours inside the user's tree; git never sees its content.

    `alone`: a link in its place is refused, since it would lead our files elsewhere.
    """
    ignore = path / ".gitignore"
    if alone and path.is_symlink():
        raise SettingsError(
            f"{path} is a symbolic link to {path.readlink()}. autoresearch writes to "
            "a directory of its own only: remove the link and start again."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(ignore):
            write_new(ignore, b"*\n")
    except OSError as error:
        raise SettingsError(
            f"cannot make the directory {path}: {error.strerror}. autoresearch keeps "
            "its ledger and reports in the project; make it writable."
        ) from None
    return path


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is ours from the first byte: what lay there, a link perhaps,
    is replaced and never followed."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
