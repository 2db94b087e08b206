"""Opening, joining and closing a session: from settings to a `Research` in hand."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin import containment, fingerprint, patch
from autoresearch_plugin.devices import Device, discover
from autoresearch_plugin.errors import (
    InfrastructureError,
    LedgerError,
    PatchError,
    RepositoryError,
    SettingsError,
)
from autoresearch_plugin.executors.local import LocalExecutor, scratch_dir
from autoresearch_plugin.housekeeping import sweep
from autoresearch_plugin.ledger import Ledger, mend
from autoresearch_plugin.loop import Research, load_rule
from autoresearch_plugin.measuring import last_words
from autoresearch_plugin.paths import (
    data_dir,
    keep_reserve,
    state_dir,
)
from autoresearch_plugin.repository import Repository
from autoresearch_plugin.settings import Settings, defaults
from autoresearch_plugin.trial import Budget, Profile, TrialSpec

if TYPE_CHECKING:
    from autoresearch_plugin.judge import AnyRule
    from autoresearch_plugin.ledger import Row

LEDGER = "ledger.db"
OUTSIDE = (  # of what a resume must share
    "sources",
    "report",
    "audit",
    "stop_early",
    "sandbox",
    "allow_unsafe",
    "dry_run",
)


@dataclass
class Opened:
    """What the controller holds while a session runs."""

    research: Research
    devices: list[Device]
    row: Row
    notes: list[str]
    lock: Any = None

    @property
    def resumed(self) -> bool:
        """Whether an interrupted session goes on."""
        return bool(self.row.get("resumed"))

    def close(self, state: str, reason: str) -> None:
        """Close the session's row and let another controller in."""
        self.research.ledger.finish_session(self.research.session, state, reason)
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def open_session(
    root: Path,
    settings: Settings,
    environ: Mapping[str, str],
    kind: str,
    tell: Callable[[str], None] = lambda text: None,
    rule: AnyRule | None = None,
) -> Opened:
    """Open a `research`, `plain` or `diff` session.

    A research session moves its baseline by commits and is resumed when interrupted; a
    plain one measures the working tree's target; a diff one measures it against a ref.

    Raises:
        SettingsError: the settings or the repository do not allow it (exit 4).
        InfrastructureError: the training command does not answer.
    """
    if not (root / settings.target).is_file():
        raise SettingsError(
            f"no target {settings.target} below {root}. Name the file that candidates "
            "patch: autoresearch_target in pyproject.toml or --autoresearch-target."
        )
    rule = rule or load_rule(settings.rule)
    repository, notes = _repository(root, settings, kind)
    source, commit = _parent(root, settings, kind, repository, notes)
    _check_python(source, settings.target)
    devices = discover(environ, settings.devices)
    lock = controller_lock(root) if kind == "research" else None
    ledger = None
    try:
        if lock is not None:
            notes.append(mend(state_dir(root) / LEDGER) or "")
            keep_reserve(root)
        ledger = open_ledger(root)
        sandbox = containment.choose(settings)
        notes += containment.admit(settings, sandbox)
        containment.check(sandbox, state_dir(root))
        executor = LocalExecutor(settings.command, root)
        executor.sandbox = sandbox
        tell("asking the training command to describe itself (prepares data once)")
        profile = describe(executor, root, settings, devices[0], source)
        executor.isolates = profile.isolates
        row = ledger.start_session(
            kind, _tag(settings, repository), _key(settings), _resumable(defaults())
        )
        research = Research(
            root=root,
            settings=replace(settings, tag=row["tag"]),
            ledger=ledger,
            session=row["id"],
            profile=profile,
            device=devices[0],
            executor=executor,
            repository=repository,
            rule=rule,
            moves_head=kind == "research",
        )
        notes += _enter(research, source, commit)
    except BaseException:
        for held in (ledger, lock):
            if held is not None:
                held.close()
        raise
    return Opened(research, devices, row, [n for n in notes if n], lock)


def join_session(
    root: Path,
    settings: Settings,
    session: int,
    device: Device,
    lane: str,
    runs: bool = True,
    rule: AnyRule | None = None,
) -> Research:
    """A worker's hold of the session that its controller opened.

    One that `runs` nothing needs no sandbox: a ledger can be read anywhere.
    """
    ledger = open_ledger(root)
    row = ledger.session(session)
    profile = _profile_from_json(row["profile"])
    repository = Repository(root, settings.target)
    executor = LocalExecutor(settings.command, root)
    executor.isolates = profile.isolates
    if runs:
        executor.sandbox = containment.choose(settings)
        level = json.loads(row["profile"]).get("sandbox")
        containment.check_level(executor.sandbox, level)
    return Research(
        root=root,
        settings=replace(settings, tag=row["tag"]),
        ledger=ledger,
        session=session,
        profile=profile,
        device=device,
        executor=executor,
        repository=repository,
        rule=rule or load_rule(settings.rule),
        lane=lane,
        moves_head=True,
    )


def open_ledger(root: Path) -> Ledger:
    """The project's ledger, made on first use."""
    return Ledger(state_dir(root) / LEDGER)


def describe(
    executor: LocalExecutor,
    root: Path,
    settings: Settings,
    device: Device,
    source: str,
) -> Profile:
    """Ask the training command what it is; it prepares its data on the way.

    Raises:
        InfrastructureError: it did not answer, or not as docs/contract.md says.
    """
    with scratch_dir(state_dir(root)) as scratch:
        target = scratch / Path(settings.target).name
        target.write_bytes(source.encode())
        spec = TrialSpec(
            trial_id="describe",
            phase="describe",
            source=str(target),
            source_sha256=patch.sha256(source),
            profile=settings.profile,
            seed=0,
            budget=settings.budget or Budget("steps", 1),
            limits={"start": 120.0, "prepare": 86400.0},
            threads=device.threads,
            device="cuda" if device.kind == "cuda" else "cpu",
            data_dir=str(data_dir(root)),
            scratch=str(scratch),
            checkpoint=str(scratch / "checkpoint.safetensors"),
        )
        result = executor.run(spec, device)
    if not result.ok:
        raise InfrastructureError(
            f"the training command failed to describe itself: {result.outcome}"
            f"{': ' + result.message.rstrip('.') if result.message else ''}. It is "
            f"{settings.command!r} (autoresearch_command).{last_words(result)}"
        )
    profile = Profile.from_data(settings.profile, result.description)
    if settings.direction:
        profile = replace(profile, direction=settings.direction)
    if settings.metric:
        profile = replace(profile, metric=settings.metric)
    return profile


def _enter(research: Research, source: str, commit: str | None) -> list[str]:
    """Record what is measured and against what; what changed since last time."""
    ledger, profile = research.ledger, research.profile
    level = research.executor.sandbox.level if research.executor.sandbox else 0
    ledger.set_profile(research.session, {**asdict(profile), "sandbox": level})
    parts = fingerprint.parts(
        profile, research.budget, research.settings.command, research.device.name
    )
    before = ledger.add_fingerprint(research.fingerprint, parts)
    ledger.lost_work(research.session)
    head = research.enter_head(source, commit)
    if not research.recorded:
        research.ledger.disown_lone_run(head.id)
    if research.moves_head:
        sweep(research.root, ledger)
    if before is None:
        return []
    changed = "; ".join(fingerprint.differences(before["parts"], parts)[:4])
    return [f"new fingerprint {research.fingerprint}, measured anew ({changed})"]


def _profile_from_json(text: str) -> Profile:
    data = json.loads(text)
    known = {f.name for f in fields(Profile)}
    data = {key: value for key, value in data.items() if key in known}
    data["budget"] = Budget(**data["budget"])
    data["lines"] = tuple(data["lines"])
    return Profile(**data)


def _repository(
    root: Path, settings: Settings, kind: str
) -> tuple[Repository | None, list[str]]:
    try:
        repository = Repository(root, settings.target)
    except RepositoryError as error:
        if kind == "plain":
            return None, []
        raise SettingsError(str(error)) from error
    if kind != "research":
        return repository, []
    if repository.target_is_dirty():
        raise SettingsError(
            f"{settings.target} has uncommitted changes, so there is no parent to "
            "improve. Commit or stash them, or measure them: "
            "pytest --autoresearch-diff HEAD."
        )
    return repository, repository.notes()


def _parent(
    root: Path,
    settings: Settings,
    kind: str,
    repository: Repository | None,
    notes: list[str],
) -> tuple[str, str | None]:
    """Source of the baseline and its commit (None for an uncommitted one)."""
    working = read_target(root / settings.target)
    if repository is None:
        return working, None
    try:
        if kind == "diff":
            parent = repository.at(settings.diff or "HEAD")
        elif kind == "research":
            tag = settings.tag or repository.default_tag()
            repository.check_branch(tag)  # now, and not after the first keep
            parent = repository.parent(tag)
            notes.append(repository.note_parent(tag))
        else:
            parent = repository.at("HEAD")
            return working, parent.commit
    except RepositoryError as error:
        raise SettingsError(str(error)) from error
    return parent.source, parent.commit


def read_target(path: Path) -> str:
    """The target as it is on disk, line ends included.

    Raises:
        SettingsError: it is no UTF-8 text, or cannot be read.
    """
    try:
        return path.read_bytes().decode()
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            f"{path} cannot be read as UTF-8 text: {error}. Mend it and commit it "
            "first."
        ) from None


def _check_python(source: str, target: str) -> None:
    try:
        patch.parse(source)
    except PatchError as error:
        why = str(error).removeprefix("the patched target is not Python: ")
        raise SettingsError(
            f"{target} is not Python: {why} Mend it and commit it first."
        ) from error


def _tag(settings: Settings, repository: Repository | None) -> str | None:
    if settings.tag or repository is None:
        return settings.tag
    return repository.default_tag()


def _key(settings: Settings) -> str:
    """What makes two commands "the same" for a resume."""
    return json.dumps(_resumable(asdict(settings)), sort_keys=True)


def _resumable(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in OUTSIDE}


def _written_pid(handle: Any) -> str:
    """Who holds the lock; a moment after it was taken the file is still empty."""
    for _ in range(20):
        handle.seek(0)
        if pid := str(handle.read()).strip():
            return pid
        time.sleep(0.05)
    return "unknown"


def controller_lock(root: Path) -> Any:
    """Held while a research session runs: one controller on one ledger."""
    path = state_dir(root) / "controller.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        handle = os.fdopen(os.open(path, flags, 0o600), "a+")
    except OSError as error:
        raise LedgerError(
            f"cannot open {path}: {error.strerror}. Remove what lies there and start "
            "again."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = _written_pid(handle)
        handle.close()
        raise LedgerError(
            f"another `pytest --autoresearch` (pid {pid}) works on "
            f"{state_dir(root) / LEDGER}. Wait for it, or stop it with Ctrl-C."
        ) from None
    with contextlib.suppress(OSError):  # a full disk; then nobody learns our pid
        os.ftruncate(handle.fileno(), 0)
        os.write(handle.fileno(), str(os.getpid()).encode())
    return handle
