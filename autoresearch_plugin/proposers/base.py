"""What all proposers share: protocol, answer, checks, and the choice by name."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import (
    PatchError,
    ProposerError,
    SettingsError,
    Unavailable,
)
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.checks import check, excerpt
from autoresearch_plugin.quoting import one_line


class Exhausted(ProposerError):
    """No more ideas, no more money, or told to stop; the session itself may go on."""


class SpendingCap(Exhausted):
    """The next call could pass the cap in dollars."""


@dataclass(frozen=True)
class Call:
    """One request to a provider and its cost; `status` is `ok` or what went wrong.

    `answer` holds the proposals that were paid for, as a JSON list, until they are in
    the queue: a process that is killed in between has not paid for nothing.
    """

    proposer: str
    model: str
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    usd: float
    seconds: float
    status: str
    answer: str | None = None


class Purse(Protocol):
    """Who holds the money. Both methods are called from the proposer's thread."""

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False when the spending cap does not allow it."""
        ...

    def settle(self, call: Call, reserved: float) -> None:
        """Book what the call cost and free what was `reserved` for it."""
        ...


@dataclass(frozen=True)
class Answer:
    """What came of one request: proposals that apply, and pairs (excerpt, reason).

    `booked` are the answers of its calls, as they were booked with them.
    """

    proposals: tuple[Proposal, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    booked: tuple[str, ...] = ()


class Patience:
    """Counts answers in a row that brought nothing, so that nobody asks for ever."""

    LIMIT = 5  # each may have cost two calls, the second to mend the first

    def __init__(self, limit: int = LIMIT) -> None:
        """Start with full patience."""
        self._limit = limit
        self._useless = 0

    def watch(self, answer: Answer) -> Answer:
        """`answer` itself; raises Unavailable when the last ones were all useless."""
        self._useless = 0 if answer.proposals else self._useless + 1
        if self._useless < self._limit:
            return answer
        last = answer.refused[-1][1] if answer.refused else "they were empty"
        raise Unavailable(
            f"{self._useless} answers in a row held no usable proposal. "
            f"The last one: {last}"
        )


class Proposer(Protocol):
    """Writes proposals. A class of the user's own needs no more than this.

    One that has `broad = True` is asked by several threads at once, where one answer
    at a time is too slow for the lanes; any other always by the same thread. `trouble`
    may say why an answer takes long.
    """

    name: str

    def propose(self, request: Request) -> Answer:
        """Up to `request.count` proposals that apply to `request.source`.

        Raises:
            ProposerError: it gave up for good.
            Unavailable: it gave up for now, and is to be asked again after a pause.
            Exhausted: it has no more ideas, no more money, or was told to stop.
        """
        ...


@dataclass(frozen=True)
class Options:
    """What a proposer is made from."""

    purse: Purse
    environ: Mapping[str, str]
    model: str | None = None
    price: str | None = None
    seed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


class NoProposer:
    """`none`: only hand-written candidates run."""

    name = "none"
    note = "no proposer: only hand-written candidates run"

    def propose(self, request: Request) -> Answer:
        """Nothing, ever."""
        raise Exhausted("no proposer was chosen (--autoresearch-proposer none).")


class Checked:
    """A proposer of the user's own, whose proposals pass the checks of all others."""

    def __init__(self, own: Proposer) -> None:
        """Wraps `own`, which need not know the rules."""
        self.name = own.name
        self.note = note(own)
        self.broad = bool(getattr(own, "broad", False))
        self._own = own
        self._patience = Patience(2 * Patience.LIMIT)

    @property
    def trouble(self) -> str:
        """Why an answer takes long, if it says so."""
        return str(getattr(self._own, "trouble", ""))

    def propose(self, request: Request) -> Answer:
        """What it proposes, without what may not be tried.

        Raises:
            Unavailable: its answers were of no use several times in a row.
        """
        answer = self._own.propose(request)
        good: dict[str, Proposal] = {}
        bad = list(answer.refused)
        for proposal in answer.proposals:
            try:
                checked = check(proposal.to_data(), request)
            except PatchError as error:
                bad.append((excerpt(proposal.title), str(error)))
                continue
            good.setdefault(checked.signature, checked)
        return self._patience.watch(Answer(tuple(good.values()), tuple(bad)))


CHOICES = "auto, anthropic, tpe, scripted:FILE, command:CMD, none or MODULE:CLASS"


def make(
    setting: str,
    *,
    purse: Purse,
    environ: Mapping[str, str],
    model: str | None = None,
    price: str | None = None,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Proposer:
    """The proposer that `--autoresearch-proposer` names.

    `auto` is `anthropic` when `environ` holds a key, else `tpe`. `stop` ends a wait for
    a provider early. A class of the user's own is called with `Options`, or with
    nothing when it takes no argument.

    Raises:
        SettingsError: an unknown name, a missing key, file, program or class.
    """
    options = Options(purse, environ, model, price, seed, stop or threading.Event())
    kind, _, rest = setting.strip().partition(":")
    if kind == "auto" and not rest:
        kind = "anthropic" if has_key(environ) else "tpe"
    if kind in ("scripted", "command") and not rest.strip():
        raise SettingsError(
            f"--autoresearch-proposer {setting!r} lacks what follows the colon; "
            f"use {CHOICES}."
        )
    if kind in _KINDS and bool(rest) == (kind in ("scripted", "command")):
        return _KINDS[kind](rest, options)
    if rest:
        return _own(setting, kind, rest, options)
    raise SettingsError(
        f"--autoresearch-proposer {setting!r} is unknown; use {CHOICES}."
    )


def is_built_in(setting: str) -> bool:
    """Whether it names one of ours, which take their keys from `Options.environ`."""
    return setting.strip().partition(":")[0] in {"auto", *_KINDS}


def note(proposer: Proposer) -> str:
    """One line about the proposer for the header; empty when it has none."""
    return str(getattr(proposer, "note", ""))


def has_key(environ: Mapping[str, str]) -> bool:
    """Whether the environment holds a credential for the Messages API."""
    return any(environ.get(name, "").strip() for name in KEYS)


KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


# The libraries behind these are heavy, so that each is imported when it is chosen.


def _anthropic(rest: str, options: Options) -> Proposer:
    from autoresearch_plugin.proposers.anthropic_messages import AnthropicProposer

    return AnthropicProposer(options)


def _tpe(rest: str, options: Options) -> Proposer:
    from autoresearch_plugin.proposers.tpe import TpeProposer

    return TpeProposer(options.seed)


def _scripted(rest: str, options: Options) -> Proposer:
    from autoresearch_plugin.proposers.scripted import ScriptedProposer

    return ScriptedProposer(rest)


def _command(rest: str, options: Options) -> Proposer:
    from autoresearch_plugin.proposers.command import CommandProposer

    return CommandProposer(rest, stop=options.stop, environ=options.environ)


_KINDS: Mapping[str, Callable[[str, Options], Proposer]] = {
    "anthropic": _anthropic,
    "tpe": _tpe,
    "scripted": _scripted,
    "command": _command,
    "none": lambda rest, options: NoProposer(),
}


def _own(setting: str, module: str, name: str, options: Options) -> Proposer:
    try:
        factory = getattr(importlib.import_module(module), name)
        takes = inspect.signature(factory).parameters
        proposer: Proposer = factory(options) if takes else factory()
    except Exception as error:
        raise SettingsError(
            f"--autoresearch-proposer {setting!r} cannot be used: "
            f"{type(error).__name__}: {one_line(str(error), 200)}. "
            f"Use {CHOICES}."
        ) from error
    if not callable(getattr(proposer, "propose", None)):
        raise SettingsError(
            f"--autoresearch-proposer {setting!r} has no method propose(request)."
        )
    return Checked(proposer)
