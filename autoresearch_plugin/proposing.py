"""The thread that keeps a small queue of generated candidates filled."""

from __future__ import annotations

import builtins
import contextlib
import re
import stat
import threading
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch_plugin import candidate as candidates
from autoresearch_plugin.candidate import Edit, Proposal
from autoresearch_plugin.errors import (
    AutoresearchError,
    InfrastructureError,
    ProposerError,
)
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.paths import own_directory, write_new
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers import Call, Exhausted, Proposer, make
from autoresearch_plugin.settings import GENERATED

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Ledger, Row
    from autoresearch_plugin.loop import Research

PROGRAM = "experiments/program.md"
WAIT_SECONDS = 0.05


class LedgerPurse:
    """The spending cap, kept in the ledger so that a resume goes on counting."""

    def __init__(self, ledger: Ledger, session: int, cap: float) -> None:
        self._ledger, self._session, self._cap = ledger, session, cap
        self._handles: list[int] = []

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False when spent + reserved would pass the cap."""
        handle = self._ledger.reserve(self._session, usd, self._cap)
        if handle is not None:
            self._handles.append(handle)
        return handle is not None

    def settle(self, call: Call, reserved: float) -> None:
        """Book a call in place of its reservation."""
        handle = self._handles.pop() if self._handles else None
        self._ledger.settle(self._session, handle, asdict(call))


class ProposerThread(threading.Thread):
    """Asks the proposer ahead of the lanes. Never prints: capture knows no threads."""

    def __init__(
        self, research: Research, environ: Mapping[str, str], lanes: int
    ) -> None:
        super().__init__(daemon=True, name="autoresearch-proposer")
        self.research = research
        self.quit = threading.Event()
        self._environ = environ
        self._depth = lanes + 1
        self.proposer = self._make(research.settings.proposer)

    def _make(self, setting: str) -> Proposer:
        research = self.research
        settings = research.settings
        return make(
            setting,
            purse=LedgerPurse(research.ledger, research.session, settings.max_usd),
            environ=self._environ,
            model=settings.model,
            price="/".join(f"{x:g}" for x in settings.price)
            if settings.price
            else None,
            seed=research.ledger.seed(research.fingerprint, 0),
            stop=self.quit,
        )

    def run(self) -> None:
        """Fill the queue until the session needs no more, or cannot get more."""
        research = self.research
        try:
            while not self.quit.is_set() and self._open():
                states = self._states()
                if self._enough(states):
                    if not {"queued", "running"} & set(states):
                        break
                    self.quit.wait(WAIT_SECONDS)
                elif states.count("queued") >= self._depth:
                    self.quit.wait(WAIT_SECONDS)
                else:
                    self._ask()
        except Exhausted as reason:
            self._event("proposer", str(reason))
        # A thread has nobody to raise to, so all is reported at the end; that includes
        # the SystemExit of a library, which would end a thread without a word.
        except BaseException as error:
            words = _words(error)
            research.ledger.stop(research.session, f"proposer failed: {words}")
            self._event("error", f"the proposer failed: {words}")
        finally:
            research.ledger.set_proposing(research.session, "no")
            research.ledger.close()

    def _ask(self) -> None:
        try:
            answer = self.proposer.propose(self.request())
        except Exhausted:
            raise
        except ProposerError as error:
            self._fall_back(error)
            return
        for excerpt, reason in answer.refused:
            self._event("refused", f"{reason} ({excerpt})")
        for proposal in answer.proposals:
            self._add(proposal)

    def _fall_back(self, error: ProposerError) -> None:
        """An LLM that stops answering does not end a session: the search fills in."""
        failed = self.proposer.name
        if failed == "tpe":
            raise error
        self.proposer = self._make("tpe")
        self._event("fallback", f"{failed} stopped answering, tpe fills in: {error}")

    def request(self) -> Request:
        """What the proposer is told, from the ledger alone."""
        return build_request(self.research)

    def _add(self, proposal: Proposal) -> None:
        if self.quit.is_set():
            return
        number = add_generated(self.research, proposal, self.proposer.name)
        self.research.ledger.add_event(
            self.research.session, "proposed", f"#{number:03d} {proposal.title}"
        )

    # ------------------------------------------------------------------ counts

    def _open(self) -> bool:
        research = self.research
        stopping = research.ledger.stopping(research.session)
        return not (stopping or research.used_up())

    def _enough(self, states: list[str]) -> bool:
        """Whether the candidates asked for are there; failed machinery excluded."""
        limit = self.research.settings.experiments
        made = sum(state not in ("failed", "stopped") for state in states)
        return limit is not None and made >= limit

    def _states(self) -> list[str]:
        rows = self.research.ledger.candidates(self.research.session)
        return [row["state"] for row in rows if row["kind"] == "generated"]

    def _event(self, kind: str, text: str) -> None:
        self.research.ledger.add_event(self.research.session, kind, text)


def _words(error: BaseException) -> str:
    """What an error says; its name as well where the text alone says too little."""
    if isinstance(error, AutoresearchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def add_generated(research: Research, proposal: Proposal, proposer: str) -> int:
    """Record a proposal and queue its test; returns its number.

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
            "proposer": proposer,
            "test": test,
        },
    )
    name = candidates.file_name(number, proposal.title)
    ledger.update_candidate(number, file=f"experiments/{name}")
    path = write_generated(research.root, name, test)
    ledger.add_unit(
        research.session,
        "generated",
        str(path.relative_to(research.root)),
        candidate=number,
    )
    return number


def write_generated(root: Path, name: str, test: str) -> Path:
    """Write one rendered test so that it appears whole."""
    path = own_directory(root / GENERATED, alone=True) / name
    temporary = path.with_suffix(".tmp")
    write_new(temporary, test.encode())
    temporary.replace(path)
    return path


def restore_generated(research: Research) -> None:
    """Leave just the files of queued candidates: a resume needs nothing else.

    What a killed session left behind goes, if it still is what the ledger rendered.
    """
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
    ours = {
        Path(row["file"]).name: row
        for row in research.ledger.candidates(research.session)
        if row["kind"] == "generated" and row["file"]
    }
    written = {name.removesuffix(".py") + ".tmp" for name in ours}
    strangers = [x for x in entries if not _belongs(x, {*ours, *written})]
    for entry in [directory] * directory.is_symlink() + strangers:
        raise InfrastructureError(
            f"{entry.relative_to(research.root)} was not written by this session. "
            f"{GENERATED}/ belongs to autoresearch: move the file to experiments/."
        )
    row = ours.get(path.name)
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


def build_request(research: Research) -> Request:
    """The request for the next proposal: a function of the ledger and two files."""
    head = research.head()
    history = research.kept_before(head)
    rows = [
        row
        for row in research.ledger.fingerprint_candidates(research.fingerprint)
        if (row["session"] == research.session and row["state"] != "stopped")
        or not _is_open(research, head, history, row)
    ]
    program = research.root / PROGRAM
    estimate = research.baseline(head)
    return Request(
        target=research.settings.target,
        source=head.source,
        parent=head.short,
        metric=research.metric,
        direction=research.profile.direction,
        baseline=estimate if estimate.n else None,
        budget=str(research.budget),
        device=research.device.name,
        program=program.read_text() if program.is_file() else "",
        tried=tuple(_tried(research.ledger, row) for row in rows),
        number=sum(row["kind"] == "generated" for row in rows),
    )


def _is_open(
    research: Research, head: Head, history: Collection[str], row: Row
) -> bool:
    """Whether an idea of an earlier session may come again.

    It was never decided, or its keep is not part of this baseline: never committed, or
    on a branch that is gone or another. What `git revert` took back stays tried.
    """
    if row["state"] != "keep":
        return row["state"] in ("queued", "running", "stopped", "failed")
    if row["signature"] in history:
        return False
    repository = research.repository
    if repository is None or not head.commit or not row["commit_id"]:
        return True
    return not repository.has(head.commit, row["commit_id"])


def _tried(ledger: Ledger, row: Row) -> Tried:
    verdict = Verdict.from_data(row["evidence"]) if row["evidence"] else None
    states = {"queued": "running", "before": "keep"}
    return Tried(
        number=row["id"],
        title=row["title"],
        signature=row["signature"],
        edits=tuple(Edit.from_data(edit) for edit in row["edits"]),
        category=row["category"],
        verdict=states.get(str(row["state"]), str(row["state"])),
        effect=verdict.effect if verdict else None,
        effect_sd=verdict.effect_sd if verdict else None,
        value=verdict.candidate.mean if verdict else None,
        reason=_reason(ledger, row),
    )


def _reason(ledger: Ledger, row: Row) -> str:
    """Why it ended, without a word of a process that had the validation text in hand.

    Else a candidate could print that text, and a later one have it in its source. What
    remains is our own word for the outcome and the name of a built-in exception.
    """
    reason = str(row["reason"])
    if row["evidence"] or row["state"] not in ("crash", "discard"):
        return reason
    trials = ledger.candidate_trials(row["id"])
    last = trials[-1] if trials else {}
    if not (
        last.get("summary")
        or last.get("interim")
        or "evaluate" in last.get("seconds", ())
    ):
        return reason  # it ended before any score was taken
    outcome, _, words = reason.partition(":")
    name = re.match(r"\s*(\w+)", words)
    kind = getattr(builtins, name[1], None) if name else None
    is_error = isinstance(kind, type) and issubclass(kind, BaseException)
    error = f": {name[1]}" if name and is_error else ""
    return f"{outcome[:40]}{error} (while it was scored)"
