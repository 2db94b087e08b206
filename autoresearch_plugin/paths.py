"""The directories that are ours inside the user's project."""

from __future__ import annotations

from pathlib import Path

from autoresearch_plugin.errors import SettingsError


def state_dir(root: Path) -> Path:
    """`.autoresearch/`, made on first use and hidden from git by its own .gitignore."""
    return own_directory(root / ".autoresearch")


def data_dir(root: Path) -> Path:
    """Where training commands keep prepared data."""
    path = state_dir(root) / "data"
    path.mkdir(exist_ok=True)
    return path


def own_directory(path: Path) -> Path:
    """A directory of ours inside the user's tree; git never sees its content."""
    ignore = path / ".gitignore"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise SettingsError(
            f"cannot make the directory {path}: {error.strerror}. autoresearch keeps "
            "its ledger and reports in the project; make it writable."
        ) from None
    return path
