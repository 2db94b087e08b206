"""What lies in `.autoresearch/` that nobody needs, and which sessions there are."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch_plugin.executors.local import remove_tree, scratch_owner
from autoresearch_plugin.ledger import is_alive
from autoresearch_plugin.paths import state_dir
from autoresearch_plugin.quoting import flat
from autoresearch_plugin.reports.closing import duration
from autoresearch_plugin.settings import OPTIONS, Settings, remembered

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Ledger, Row

CLAIMS_AGE = 24 * 3600.0  # seconds; those of a baseline in use are younger
PARTS = re.compile(r"\.(part|tmp|rebuilt)$")


@dataclass(frozen=True)
class Leftover:
    """A file or directory that can go, and why."""

    path: Path
    why: str
    asked: bool = False  # whether only `autoresearch gc` removes it

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        every = (
            [self.path, *self.path.rglob("*")] if self.path.is_dir() else [self.path]
        )
        sizes = 0
        for path in every:
            with suppress(OSError):
                sizes += path.lstat().st_blocks * 512
        return sizes


def leftovers(root: Path, ledger: Ledger) -> Iterator[Leftover]:
    """What can go while no session runs."""
    yield from _halves(state_dir(root))
    sessions = [x for x in ledger.sessions() if x["kind"] == "research"]
    open_ones = [x for x in sessions if x["state"] != "finished"] + sessions[-1:]
    first = {row["first_head"] for row in open_ones}
    last = {row["head"] for row in open_ones}
    state = state_dir(root)
    for path in _entries(state / "checkpoints"):
        if path.name not in first:
            yield Leftover(path, "checkpoints of an earlier session's first baseline")
    for path in _entries(state / "claims"):
        old = time.time() - path.lstat().st_mtime > CLAIMS_AGE
        if old and path.suffix == ".npy" and path.stem not in last:
            yield Leftover(path, "claims of an earlier baseline")


def _halves(state: Path) -> Iterator[Leftover]:
    """What can go whatever the ledger says."""
    for path in _entries(state / "scratch"):
        owner = scratch_owner(path.name)
        if owner and not is_alive(owner):
            yield Leftover(path, "scratch of a session that was killed")
    for path in (*_entries(state), *_entries(state / "claims")):
        if PARTS.search(path.name):
            yield Leftover(path, "half a file")
        elif ".damaged-" in path.name:
            yield Leftover(path, "copy of a damaged ledger", asked=True)


def sweep(root: Path, ledger: Ledger) -> None:
    """At the start of a session: remove what killed ones have left."""
    for leftover in list(leftovers(root, ledger)):
        if not leftover.asked:
            remove_tree(leftover.path)


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def gc_lines(
    root: Path, open_ledger: Callable[[], Ledger], dry_run: bool
) -> Iterator[str]:
    """Free room and say how much; with `dry_run` only say it.

    The ledger is opened when some room has been made: on a full disk it cannot be.
    """
    gone = [0]
    yield from _free(root, _halves(state_dir(root)), gone, dry_run)
    with closing(open_ledger()) as ledger:
        found = [x for x in leftovers(root, ledger) if x not in _seen(root, dry_run)]
        yield from _free(root, found, gone, dry_run)
        if size := ledger.old_output():
            gone[0] += size
            what = "what good runs of earlier sessions printed"
            yield f"{_would(dry_run)} {_mb(size)}  {what}"
        if not dry_run:
            ledger.forget_output()
    kept = sum(x.stat().st_size for x in state_dir(root).rglob("*") if x.is_file())
    yield f"{_would(dry_run)} {_mb(gone[0])} in all; {_mb(kept)} are in use"


def _seen(root: Path, dry_run: bool) -> list[Leftover]:
    """What is told already, and still there because nothing is removed."""
    return list(_halves(state_dir(root))) if dry_run else []


def _free(
    root: Path, found: Iterable[Leftover], gone: list[int], dry_run: bool
) -> Iterator[str]:
    for leftover in list(found):
        gone[0] += (size := leftover.size)
        name = leftover.path.relative_to(root)
        yield f"{_would(dry_run)} {_mb(size)}  {name}: {leftover.why}"
        if not dry_run:
            remove_tree(leftover.path)


def _would(dry_run: bool) -> str:
    return "would free" if dry_run else "freed"


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


# -------------------------------------------------------------------------- sessions


def session_lines(ledger: Ledger, now: Settings) -> Iterator[str]:
    """Every session of the ledger: what came of it, and the command that goes on."""
    for row in ledger.sessions():
        if row["kind"] != "research":
            continue
        candidates = ledger.candidates(row["id"])
        kept = sum(bool(one["commit_id"]) for one in candidates)
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["started"]))
        state = _state(row)
        seconds = duration(ledger.session_seconds(row["id"]))
        yield (
            f"{row['id']:>3}  autoresearch/{flat(row['tag'] or '?'):<16} {state:<11} "
            f"{began}, {seconds}, {len(candidates)} candidates, {kept} kept"
        )
        if state not in ("finished", "running"):
            yield f"     go on: {command_of(row, now)}"


def _state(row: Row) -> str:
    if row["state"] != "running":
        return str(row["state"])
    return "running" if is_alive(row["owner"]) else "killed"


def command_of(row: Row, now: Settings) -> str:
    """The command that resumes a session, options and all; lanes are free to choose."""
    then, today = asdict(remembered(row["settings"])), asdict(now)
    words = ["pytest --autoresearch"]
    for option in OPTIONS:
        name = option.name.replace("-", "_")
        if option.name == "diff" or then.get(name) == today.get(name):
            continue
        if option.flag:
            words.append(f"--autoresearch-{option.name}")
        elif then.get(name) is not None:
            word = f"--autoresearch-{option.name}={_value(then[name])}"
            words.append(shlex.quote(word))
    return flat(" ".join(words))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        unit = "steps" if value["unit"] == "steps" else "s"
        return f"{value['amount']:g}{unit}"
    if isinstance(value, tuple | list):
        return "/".join(f"{x:g}" for x in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
