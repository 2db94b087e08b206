"""`autoresearch doctor`: what a session needs, whether it is there, how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin.errors import AutoresearchError

if TYPE_CHECKING:
    from autoresearch_plugin.settings import Settings

DISK_NEEDED_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One finding; `needed` ones make the doctor exit with 1."""

    name: str
    ok: bool
    text: str
    fix: str = ""
    needed: bool = True


def run(root: Path, settings: Settings) -> Iterator[Check]:
    """All checks, cheap ones first; nothing is sent and nothing is trained."""
    yield _versions()
    yield _target(root, settings)
    yield _git(root, settings)
    yield from _device(settings)
    yield _disk(root)
    yield _key()
    yield _sandbox(root, settings)
    yield from _training(root, settings)


def _versions() -> Check:
    names = ("pytest", "pytest-xdist", "GitPython", "anthropic", "optuna", "torch")
    found = [f"Python {sys.version.split()[0]}"]
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    ok = sys.version_info >= (3, 11)
    return Check("versions", ok, ", ".join(found), "Use Python 3.11 or newer.")


def _target(root: Path, settings: Settings) -> Check:
    from autoresearch_plugin import patch

    path = root / settings.target
    try:
        knobs = patch.knobs(path.read_text())
    except (OSError, ValueError, AutoresearchError) as error:
        return Check(
            "target", False, f"{settings.target}: {error}", "Set autoresearch_target."
        )
    searchable = sum(knob.searchable for knob in knobs)
    text = f"{settings.target}: {len(knobs)} knobs, {searchable} with a range"
    return Check("target", True, text)


def _git(root: Path, settings: Settings) -> Check:
    from autoresearch_plugin.repository import Repository

    try:
        repository = Repository(root, settings.target)
        tag = settings.tag or repository.default_tag()
        parent = repository.parent(tag)
        notes = "; ".join(repository.notes())
    except AutoresearchError as error:
        return Check("git", False, str(error), "Keeps are commits, so git must work.")
    text = f"autoresearch/{tag}, parent {parent.short}"
    return Check("git", True, f"{text}; {notes}" if notes else text)


def _device(settings: Settings) -> Iterator[Check]:
    from autoresearch_plugin.devices import discover

    try:
        found = discover(os.environ, settings.devices)
    except AutoresearchError as error:
        yield Check("devices", False, str(error), "Set autoresearch_devices to auto.")
        return
    names = ", ".join(
        f"{d.id} {d.name} ({d.free_mb / 1024:.0f} GB free)" for d in found
    )
    yield Check("devices", True, f"{names}: {len(found)} lanes with -n auto")


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / 1e9
    ok = free > DISK_NEEDED_GB
    return Check("disk", ok, f"{free:.1f} GB free", f"Free {DISK_NEEDED_GB:g} GB.")


def _key() -> Check:
    present = bool(os.environ.get("ANTHROPIC_API_KEY"))
    text = (
        "ANTHROPIC_API_KEY is set" if present else "no ANTHROPIC_API_KEY: tpe proposes"
    )
    return Check("proposer", True, text, needed=False)


def _sandbox(root: Path, settings: Settings) -> Check:
    """The level, and whether the canary in it could do what it must not."""
    from autoresearch_plugin import containment
    from autoresearch_plugin.paths import state_dir

    sandbox = containment.choose(settings)
    try:
        containment.check(sandbox, state_dir(root))
    except AutoresearchError as error:
        return Check("sandbox", False, str(error), "Do without, in a container.")
    missing = f" ({'; '.join(sandbox.why)})" if sandbox.why else ""
    text = f"{sandbox.words}{missing}; canary held"
    weak = (
        "Too weak for candidates that a model writes; yours run with a warning. "
        f"In a container it is stronger: {containment.CONTAINER}"
    )
    return Check("sandbox", sandbox.trusted, text, weak, needed=False)


def _training(root: Path, settings: Settings) -> Iterator[Check]:
    """Start the training command's `describe`: it runs the attention probe for real."""
    from autoresearch_plugin.devices import discover
    from autoresearch_plugin.executors.local import LocalExecutor
    from autoresearch_plugin.session import describe

    try:
        device = discover(os.environ, settings.devices)[0]
        source = (root / settings.target).read_text()
        executor = LocalExecutor(settings.command, root)
        profile = describe(executor, root, settings, device, source)
    except (AutoresearchError, OSError, ValueError) as error:
        yield Check(
            "training",
            False,
            str(error).splitlines()[0],
            f"Run it by hand: {settings.command.replace('{python}', sys.executable)}",
        )
        return
    yield Check(
        "training",
        True,
        f"{settings.command}: profile {profile.name}, {profile.budget} a run",
    )
    for line in profile.lines:
        yield Check("training", True, line)
