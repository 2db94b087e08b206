"""Which sandbox a session's candidates run in, and whether that is enough for them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.sandbox import canary
from autoresearch_plugin.sandbox.probe import Sandbox, cached_probe

if TYPE_CHECKING:
    from autoresearch_plugin.settings import Settings

OURS = ("tpe", "none", "scripted")  # proposers whose candidates no model has written
CONTAINER = "docker run --security-opt seccomp=unconfined --user 1000 ..."


def choose(settings: Settings) -> Sandbox:
    """The strongest sandbox that this machine offers, or none if that is wanted."""
    if settings.sandbox == "none":
        return Sandbox(0, (), ("--autoresearch-sandbox=none",))
    return cached_probe()


def check(sandbox: Sandbox, directory: Path) -> None:
    """Try from within what must not work.

    Raises:
        InfrastructureError: something of it did work.
    """
    if not sandbox.level:
        return
    place = Path(tempfile.mkdtemp(prefix="canary-", dir=directory))
    try:
        place.chmod(0o711)
        holes = canary.check(sandbox, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if holes:
        raise InfrastructureError(
            f"the sandbox {sandbox.label} does not hold here: {'; '.join(holes[:4])}. "
            "No candidate was run. Report it, or do without: "
            "--autoresearch-sandbox=none, in a container that holds nothing of value."
        )


def check_level(sandbox: Sandbox, wanted: int | None) -> None:
    """Hold a lane to the level of its session.

    Raises:
        InfrastructureError: this process gets less.
    """
    if wanted is not None and sandbox.level < wanted:
        raise InfrastructureError(
            f"the session runs at sandbox level L{wanted}, and here is only "
            f"{sandbox.label} ({'; '.join(sandbox.why)}). Nothing was run. Try again "
            "when the machine is less busy, or where the session began."
        )


def admit(settings: Settings, sandbox: Sandbox) -> list[str]:
    """Notes for the header on a sandbox that is too weak for trust.

    Raises:
        SettingsError: candidates written by a model would run outside of one.
    """
    if sandbox.trusted:
        return []
    proposer = settings.proposer.partition(":")[0]
    why = "; ".join(sandbox.why) or "nothing that could hold a candidate"
    if proposer in OURS:
        return [
            f"sandbox {sandbox.label} ({why}): candidates can read what you can, and "
            "their scores are marked untrusted. Run only what you have read "
            f"(--autoresearch-allow-unsafe says so), or start in one: {CONTAINER}"
        ]
    if not settings.allow_unsafe and settings.sandbox == "none":
        raise SettingsError(
            f"--autoresearch-sandbox=none, and the proposer {settings.proposer} writes "
            "code: it could read your files and keys and choose its own score. Leave "
            "that option out, or take the risk: --autoresearch-allow-unsafe."
        )
    if not settings.allow_unsafe:
        raise SettingsError(
            f"the sandbox here is {sandbox.label} ({why}), and the proposer "
            f"{settings.proposer} writes code: it could read your files and keys and "
            f"choose its own score. Start in a container that allows one: {CONTAINER}, "
            "or take the risk: --autoresearch-allow-unsafe. `autoresearch doctor` says "
            "what this machine has."
        )
    return [f"sandbox {sandbox.label}, allowed by you: scores are marked untrusted"]


def words(sandbox: Sandbox | None, *, isolates: bool) -> str:
    """For the header: the level, and what it does not cover."""
    if sandbox is None:
        return "none"
    if isolates:
        return sandbox.words
    return f"{sandbox.words}; scores are the command's own word (it does not isolate)"


def label(sandbox: Sandbox | None) -> str:
    """For ledgers and reports: `L4`, or `L0 untrusted`."""
    if sandbox is None:
        return "none"
    return sandbox.label if sandbox.trusted else f"{sandbox.label} untrusted"
