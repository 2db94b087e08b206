"""A Claude model as proposer, over the Messages API and the `anthropic` client.

The answer is one call of the tool `propose`. The tool is forced; a model that refuses
that (those that always think answer a forced tool with status 400) gets it offered. An
answer that cannot be used gets one request to mend it.

Money: before each call its worst case is reserved; afterwards what the provider counted
is booked. A call whose answer was lost may have been charged, so it is booked in full.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autoresearch_plugin import prompt
from autoresearch_plugin.errors import ProposerError, Unavailable
from autoresearch_plugin.prompt import Repair, Request
from autoresearch_plugin.proposers.base import (
    KEYS,
    Answer,
    Call,
    Exhausted,
    Options,
    Patience,
    SpendingCap,
)
from autoresearch_plugin.proposers.checks import excerpt, sort
from autoresearch_plugin.proposers.messages_client import (
    Failure,
    connect,
    create,
    credentials,
)
from autoresearch_plugin.proposers.prices import Usage, price_of

DEFAULT_MODEL = "claude-sonnet-5-5"
MAX_TOKENS = 20_000  # thinking included
TIMEOUT = 600.0  # seconds for one answer
TRIES = 8
FIRST_WAIT = 1.0  # seconds, doubled from try to try: two minutes in all
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 600.0  # a provider that asks for more has gone away
BOOKED, BOOKED_SIZE = 64, 1 << 20  # proposals and characters of an answer
OVERHEAD_TOKENS = 2_000  # what a provider adds to a prompt that has tools

_GO_ON = "Or go on without a model: --autoresearch-proposer tpe."

TOOL: dict[str, Any] = {
    "name": "propose",
    "description": "Hand in one proposal: a change to the training file, as data.",
    "input_schema": prompt.PROPOSAL_SCHEMA,
}


class AnthropicProposer:
    """Asks a Claude model; `wait(seconds)` returns True when it was told to stop."""

    name = "anthropic"
    broad = True  # each request has a client of its own

    def __init__(
        self,
        options: Options,
        *,
        wait: Callable[[float], bool] | None = None,
        max_tokens: int = MAX_TOKENS,
        timeout: float = TIMEOUT,
    ) -> None:
        """Raises SettingsError: there is no key, or no price for the model."""
        self.model = options.model or DEFAULT_MODEL
        self.price = price_of(self.model, options.price)
        self.note = f"anthropic, {self.model}"
        self.trouble = ""  # while it waits to try again
        self._purse = options.purse
        self._secrets = [
            value for name in KEYS if (value := options.environ.get(name, "").strip())
        ]
        self._credentials = credentials(options)
        self._patience = Patience()
        self._forces = True
        self._wait = wait or options.stop.wait
        self._jitter = random.Random(options.seed)
        self._max_tokens = max_tokens
        self._timeout = timeout

    def propose(self, request: Request) -> Answer:
        """Ask once, and once more with the error when nothing could be used.

        Raises:
            ProposerError: the provider refused, and would again.
            Unavailable: it did not answer after all tries, or its answers were of no
                use several times in a row.
            Exhausted: the next call could exceed the spending cap.
        """
        with connect(self._credentials, self._timeout) as client:
            answer, broken = self._ask(client, request)
            if broken is not None:
                again = replace(request, repair=broken)
                mended, _ = self._ask(client, again)
                answer = replace(
                    mended,
                    refused=answer.refused + mended.refused,
                    booked=answer.booked + mended.booked,
                )
        return self._patience.watch(answer)

    def _ask(self, client: Any, request: Request) -> tuple[Answer, Repair | None]:
        """One answer, and what to say about it if all of it was unusable."""
        message = self._send(client, self._body(request))
        booked = tuple(filter(None, [_to_be_booked(message)]))
        try:
            raw = _proposals_of(message, request.count)
        except _Unusable as error:
            said = _said(message)
            repair = None if error.final else Repair(said, str(error))
            return Answer((), ((excerpt(said), str(error)),), booked), repair
        good, bad = sort(raw, request)
        refused = tuple((excerpt(data), reason) for data, reason in bad)
        if good or not bad:
            return Answer(good, refused, booked), None
        said, reason = json.dumps(bad[0][0], default=str, indent=1), bad[0][1]
        return Answer((), refused, booked), Repair(said, reason)

    def _body(self, request: Request) -> dict[str, Any]:
        cached = {"type": "ephemeral"}
        system = [
            {"type": "text", "text": text, "cache_control": cached}
            for text in prompt.system_blocks(request)
        ]
        single = request.count == 1
        return {
            "model": self.model,
            "max_tokens": self._max_tokens,
            "system": system,
            "tools": [TOOL],
            "tool_choice": {**self._choice(), "disable_parallel_tool_use": single},
            "messages": [{"role": "user", "content": prompt.tail(request)}],
        }

    def _choice(self) -> dict[str, str]:
        if self._forces:
            return {"type": "tool", "name": TOOL["name"]}
        return {"type": "auto"}

    # ------------------------------------------------------------- sending

    def _send(self, client: Any, body: dict[str, Any]) -> Any:
        """The provider's message, after as many tries as it takes."""
        try:
            return self._patiently(client, body)
        except _ToolNotForced:
            self._forces = False
            choice = {**body["tool_choice"], "type": "auto"}
            choice.pop("name")
            return self._patiently(client, {**body, "tool_choice": choice})

    def _patiently(self, client: Any, body: dict[str, Any]) -> Any:
        failure = None
        for attempt in range(TRIES):
            if failure is not None:
                self._pause(failure, attempt)
            try:
                message = self._try(client, body)
                self.trouble = ""
                return message
            except Failure as error:
                failure = error
            if self._forces and failure.is_about("tool_choice"):
                raise _ToolNotForced
            asked = failure.retry_after or 0.0
            if not failure.transient or asked > LONGEST_RETRY_AFTER:
                break
        assert failure is not None
        self.trouble = ""
        words = self._words(failure, attempt + 1)
        if failure.transient:
            raise Unavailable(words, asked)
        raise ProposerError(words)

    def _try(self, client: Any, body: dict[str, Any]) -> Any:
        """One call: reserve, send, book."""
        worst = self._worst(body)
        if not self._purse.reserve(worst):
            raise SpendingCap(
                f"the next call of {self.model} could cost ${worst:.2f}, more than is "
                "left under the spending cap; raise --autoresearch-max-usd to go on."
            )
        start = time.monotonic()
        # booked whatever goes wrong: the call may have been charged
        call = self._call(Usage(), worst, "lost")
        try:
            message = create(client, body)
            call = self._charged(message, worst)
            call = replace(call, answer=_to_be_booked(message))
            return message
        except Failure as failure:
            usd = worst if failure.maybe_charged else 0.0
            call = self._call(Usage(), usd, failure.status)
            raise
        finally:
            seconds = time.monotonic() - start
            self._purse.settle(replace(call, seconds=seconds), worst)

    def worst_case(self, request: Request) -> float:
        """Dollars that one call about `request` cannot exceed; nothing is sent."""
        return self._worst(self._body(request))

    def _worst(self, body: dict[str, Any]) -> float:
        size = len(json.dumps(body, ensure_ascii=False).encode())
        return self.price.worst_case(size + OVERHEAD_TOKENS, body["max_tokens"])

    def _charged(self, message: Any, worst: float) -> Call:
        """The call as the provider counted it; without a count, its worst case."""
        counted = getattr(message, "usage", None)
        names = (
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
        )
        numbers = [getattr(counted, name, None) for name in names]
        if not isinstance(numbers[0], int) or not isinstance(numbers[3], int):
            return self._call(Usage(), worst, "ok, without usage")
        usage = Usage(*(n if isinstance(n, int) else 0 for n in numbers))
        us_only = getattr(counted, "inference_geo", None) == "us"
        status = "ok" if message.stop_reason == "tool_use" else message.stop_reason
        return self._call(usage, self.price.cost(usage, us_only), str(status))

    def _call(self, usage: Usage, usd: float, status: str) -> Call:
        return Call(
            proposer=self.name,
            model=self.model,
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            usd=usd,
            seconds=0.0,
            status=status,
        )

    def _pause(self, failure: Failure, attempt: int) -> None:
        """Wait before try `attempt`; raises Exhausted when told to stop."""
        seconds = self._pause_before(failure, attempt)
        self.trouble = f"{failure.status}, {attempt} of {TRIES} tries"
        if self._wait(seconds):
            raise Exhausted("stopped while waiting for the model's provider.")

    def _pause_before(self, failure: Failure, attempt: int) -> float:
        """Seconds: what the provider asks for, else doubling with jitter."""
        if failure.retry_after is not None:
            return failure.retry_after
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
        jitter: float = self._jitter.random()
        return longest * (0.5 + 0.5 * jitter)

    def _words(self, failure: Failure, tries: int) -> str:
        said = failure.words
        for secret in self._secrets:
            said = said.replace(secret, "[key]")
        times = f" after {tries} tries" if tries > 1 else ""
        way_out = f"{failure.way_out} {_GO_ON}".strip()
        return (
            f"the model's provider gave no answer{times}: {failure.status}: "
            f"{excerpt(said, 300).rstrip('.')}. {way_out}"
        )


# ------------------------------------------------------------------- reading


class _ToolNotForced(Exception):
    """The model does not let a tool be forced."""


class _Unusable(Exception):
    """The message holds no proposal; `final` when asking again would not help."""

    def __init__(self, words: str, final: bool = False) -> None:
        super().__init__(words)
        self.final = final


def _proposals_of(message: Any, count: int) -> list[Any]:
    """The inputs of the calls of `propose`, at most `count`."""
    if message.stop_reason == "refusal":
        category = getattr(getattr(message, "stop_details", None), "category", None)
        raise _Unusable(
            f"the model declined to answer ({category or 'refusal'}).", True
        )
    if message.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        raise _Unusable(
            f"the answer was cut off ({message.stop_reason}); think less and propose a "
            "smaller change."
        )
    used = [block for block in message.content if _kind(block) == "tool_use"]
    if not used:
        raise _Unusable("the answer holds no call of the tool `propose`, only text.")
    other = [block.name for block in used if block.name != TOOL["name"]]
    if other:
        raise _Unusable(f"there is no tool {other[0]!r}; call `propose`.")
    if len(used) > count:
        raise _Unusable(f"{len(used)} calls of `propose`; expected {count}.")
    return [block.input for block in used]


def _to_be_booked(message: Any) -> str | None:
    """The proposals in an answer as JSON; None if it holds none, or too much."""
    try:
        text = json.dumps(_proposals_of(message, BOOKED))
    except (_Unusable, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return text if len(text) <= BOOKED_SIZE else None


def _said(message: Any) -> str:
    """The answer as text, to be quoted back."""
    parts = []
    for block in message.content:
        if _kind(block) == "text":
            parts.append(block.text)
        elif _kind(block) == "tool_use":
            parts.append(f"{block.name}({json.dumps(block.input, default=str)})")
    return "\n".join(parts) or "(nothing)"


def _kind(block: Any) -> str:
    return str(getattr(block, "type", ""))
