"""Where a verb looks: the project, its ledger, its settings, its last session."""

from __future__ import annotations

import configparser
import os
import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin.errors import LedgerError, SettingsError

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Ledger
    from autoresearch_plugin.settings import Settings

LEDGER = Path(".autoresearch") / "ledger.db"


def project_of(folder: Path) -> Path:
    """The nearest folder upward that has a ledger; without one, `folder` itself."""
    folder = folder.resolve()
    every = (folder, *folder.parents)
    return next((one for one in every if is_there(one / LEDGER)), folder)


def is_there(path: Path) -> bool:
    return os.access(path, os.F_OK)  # where nobody may look Path.exists would raise


def open_ledger(root: Path) -> Ledger:
    from autoresearch_plugin.ledger import Ledger

    path = root / LEDGER
    if not is_there(path):  # looking never makes one
        raise LedgerError(
            f"there is no ledger at {path}. Run pytest --autoresearch there "
            "first, or name the project with --root."
        )
    return Ledger(path)


def last_research(root: Path) -> Any:
    """The last session as it was asked for, options included; nothing is started.

    The last research session, or of the others the last one if there was none.
    """
    from autoresearch_plugin.devices import discover
    from autoresearch_plugin.session import join_session
    from autoresearch_plugin.settings import remembered

    with closing(open_ledger(root)) as ledger:
        sessions = [row for row in ledger.sessions() if row["profile"]]
    if not sessions:
        raise LedgerError("no session has described its training command yet.")
    row = max(sessions, key=lambda row: (row["kind"] == "research", row["id"]))
    settings = remembered(row["settings"])
    device = discover(os.environ, settings.devices)[0]
    return join_session(root, settings, row["id"], device, "prompt", runs=False)


def settings_of(root: Path) -> Settings:
    """Settings from the project's ini values alone, as pytest would read them."""
    from autoresearch_plugin.settings import resolve

    return resolve(lambda name: None, _ini(root).get, os.environ)


def _ini(root: Path) -> dict[str, str]:
    for name in ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"):
        path = root / name
        if not path.is_file():
            continue
        try:
            found = _pytest_table(path)
        except (ValueError, configparser.Error) as error:
            words = " ".join(str(error).split())
            raise SettingsError(
                f"{path} cannot be read: {words.rstrip('.')}. pytest reads it too, so "
                "mend it first."
            ) from None
        if found:
            return {key: str(value) for key, value in found.items()}
    return {}


def _pytest_table(path: Path) -> dict[str, Any]:
    """pytest's part of a configuration file."""
    if path.suffix == ".toml":
        tables = tomllib.loads(path.read_text())
        tool = tables if path.name == "pytest.toml" else tables.get("tool", {})
        table = tool.get("pytest", {})
        return dict(table.get("ini_options", table))
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
    return dict(parser[section]) if parser.has_section(section) else {}
