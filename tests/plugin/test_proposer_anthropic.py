"""A model as proposer, over a real HTTP connection to a scripted server."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from messages_server import (
    MessagesServer,
    Reply,
    Script,
    dropped,
    message,
    proposal,
    status,
    text,
)

from autoresearch_plugin.candidate import Edit, signature
from autoresearch_plugin.errors import ProposerError
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers import Answer, Call, Exhausted, Options
from autoresearch_plugin.proposers.anthropic_messages import (
    DEFAULT_MODEL,
    AnthropicProposer,
)
from autoresearch_plugin.proposers.prices import PRICES

SECRET = "sk-ant-api03-very-secret-value"
SOURCE = "LR = 0.04\n\n\ndef train(run):\n    return LR\n"
REQUEST = Request("core/train.py", SOURCE, "3f2c1aa", "val_bpb", "min", program="Try.")


def edit(value: float = 0.1, **more: Any) -> dict[str, Any]:
    return {
        "title": f"LR {value}",
        "hypothesis": "a larger step",
        "category": "learning-rate",
        "edits": [{"op": "set", "knob": "LR", "value": value, **more}],
    }


class CapPurse:
    """A purse with a cap, that notes every call."""

    def __init__(self, cap: float = 10.0) -> None:
        self.cap = cap
        self.spent = 0.0
        self.held = 0.0
        self.calls: list[Call] = []
        self.reserved: list[float] = []

    def reserve(self, usd: float) -> bool:
        if self.spent + self.held + usd > self.cap:
            return False
        self.held += usd
        self.reserved.append(usd)
        return True

    def settle(self, call: Call, reserved: float) -> None:
        self.held -= reserved
        self.spent += call.usd
        self.calls.append(call)


class Asked:
    """A proposer with its server, its purse, and the pauses it asked for."""

    def __init__(self, server: MessagesServer, cap: float = 10.0, **more: Any) -> None:
        self.server = server
        self.purse = CapPurse(cap)
        self.pauses: list[float] = []
        self.stopped = False
        environ = {"ANTHROPIC_API_KEY": SECRET, "ANTHROPIC_BASE_URL": server.url}
        options = Options(self.purse, environ, **more)
        self.proposer = AnthropicProposer(options, wait=self.wait, timeout=20.0)

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.stopped

    def propose(self, request: Request = REQUEST) -> Answer:
        return self.proposer.propose(request)

    @property
    def tails(self) -> list[str]:
        return [str(r.body["messages"][0]["content"]) for r in self.server.requests]

    @property
    def states(self) -> list[str]:
        return [call.status for call in self.purse.calls]


def served(*script: Script, repeat: bool = False) -> MessagesServer:
    return MessagesServer(script, repeat=repeat)


# -------------------------------------------------------------------- asking


def test_a_proposal_comes_back_and_its_cost_is_booked() -> None:
    """One call of the tool gives one proposal; tokens and dollars are counted."""
    usage = {
        "input_tokens": 1000,
        "cache_creation_input_tokens": 2000,
        "cache_read_input_tokens": 4000,
        "output_tokens": 500,
    }
    with served(proposal(edit(), usage=usage)) as server:
        asked = Asked(server)
        answer = asked.propose()
    (found,) = answer.proposals
    assert found.title == "LR 0.1"
    assert found.apply(SOURCE) == SOURCE.replace("0.04", "0.1")
    assert answer.refused == ()
    (call,) = asked.purse.calls
    assert (call.proposer, call.model, call.status) == (
        "anthropic",
        DEFAULT_MODEL,
        "ok",
    )
    assert (call.input_tokens, call.cache_write_tokens) == (1000, 2000)
    assert (call.cache_read_tokens, call.output_tokens) == (4000, 500)
    price = PRICES[DEFAULT_MODEL]
    dollars = (1000 + 1.25 * 2000) * price.input + 500 * price.output
    assert call.usd == pytest.approx((dollars + 4000 * price.cache_read) / 1e6)
    assert call.seconds > 0
    assert asked.purse.held == 0


def test_the_request_forces_the_tool_and_caches_the_stable_part() -> None:
    """Model, tool, cache marks and the question are where the API wants them."""
    with served(proposal(edit())) as server:
        Asked(server, model="claude-opus-5-5").propose()
    (received,) = server.requests
    assert received.path == "/v1/messages"
    assert SECRET in " ".join(received.headers.values())
    body = received.body
    assert body["model"] == "claude-opus-5-5"
    assert body["tools"][0]["name"] == "propose"
    assert body["tool_choice"]["type"] == "tool"
    assert body["tool_choice"]["name"] == "propose"
    assert body["tool_choice"]["disable_parallel_tool_use"]
    assert len(body["system"]) == 3
    assert all(b["cache_control"] == {"type": "ephemeral"} for b in body["system"])
    assert SOURCE in body["system"][2]["text"]
    assert SECRET not in json.dumps(body)


def test_a_model_that_takes_no_forced_tool_gets_it_offered() -> None:
    """A 400 about tool_choice is answered by offering the tool, now and later on."""
    refusal = status(400, "tool_choice forces tool use, which this model does not take")
    with served(refusal, proposal(edit()), proposal(edit(0.3))) as server:
        asked = Asked(server)
        first = asked.propose()
        asked.propose(replace(REQUEST, number=1))
    assert len(first.proposals) == 1
    kinds = [request.body["tool_choice"]["type"] for request in server.requests]
    assert kinds == ["tool", "auto", "auto"]
    assert "name" not in server.requests[1].body["tool_choice"]


def test_the_stable_part_is_the_same_bytes_in_every_call() -> None:
    """Results, repairs and pauses leave tools and system untouched."""
    edits = (Edit("set", {"knob": "LR", "value": 0.2}),)
    past = (Tried(1, "t", signature(edits), edits, "other", "discard", 0.1),)
    with served(text("hm"), proposal(edit()), proposal(edit(0.3))) as server:
        asked = Asked(server)
        asked.propose()
        asked.propose(replace(REQUEST, tried=past, banned=("batch",), number=1))
    stable = {json.dumps([r.body["tools"], r.body["system"]]) for r in server.requests}
    assert len(server.requests) == 3
    assert len(stable) == 1
    assert len(set(asked.tails)) == 3


def test_several_proposals_are_several_calls_of_the_tool() -> None:
    """A count above one takes as many calls, and refuses only the bad ones."""
    with served(proposal(edit(0.1), edit(0.04), edit(0.1), edit(0.2))) as server:
        asked = Asked(server)
        answer = asked.propose(replace(REQUEST, count=4))
    assert [p.title for p in answer.proposals] == ["LR 0.1", "LR 0.2"]
    reasons = [reason for _, reason in answer.refused]
    assert "cannot matter" in reasons[0]
    assert "the same change twice" in reasons[1]
    assert not server.requests[0].body["tool_choice"]["disable_parallel_tool_use"]


def test_a_token_of_a_proxy_works_like_a_key() -> None:
    """ANTHROPIC_AUTH_TOKEN is a credential too."""
    with served(proposal(edit())) as server:
        environ = {"ANTHROPIC_AUTH_TOKEN": "tok", "ANTHROPIC_BASE_URL": server.url}
        proposer = AnthropicProposer(Options(CapPurse(), environ))
        assert proposer.propose(REQUEST).proposals
    assert server.requests[0].headers["authorization"] == "Bearer tok"


# ---------------------------------------------------------- unusable answers

DIFF = "--- a/conftest.py\n+++ b/conftest.py\n@@ -1 +1 @@\n-LR = 0.04\n+LR = 0.05\n"
DUPLICATE = edit(0.2)

BAD: dict[str, tuple[Callable[[], Reply], str]] = {
    "prose": (lambda: text("Shall I continue?"), "only text"),
    "truncated": (
        lambda: proposal({"title": "half"}, stop_reason="max_tokens"),
        "cut off (max_tokens)",
    ),
    "context full": (
        lambda: text("half", "model_context_window_exceeded"),
        "cut off (model_context_window_exceeded)",
    ),
    "no match": (lambda: proposal(edit() | {"edits": [REPLACE]}), "occurs 0 times"),
    "wrong file": (
        lambda: proposal(edit() | {"edits": [{"op": "apply", "diff": DIFF}]}),
        "only core/train.py can be changed",
    ),
    "wrong shape": (lambda: proposal({"title": "x"}), "needs `edits`"),
    "empty diff": (
        lambda: proposal(edit() | {"edits": [{"op": "apply", "diff": ""}]}),
        "the diff holds no hunk",
    ),
    "no change": (lambda: proposal(edit(0.04)), "cannot matter"),
    "two tools": (lambda: proposal(edit(), edit(0.3)), "2 calls of `propose`"),
    "other tool": (lambda: proposal(edit(), tool="bash"), "there is no tool 'bash'"),
    "nothing": (lambda: message([]), "only text"),
    "duplicate": (lambda: proposal(DUPLICATE), "already tried as #12: discard"),
}
REPLACE = {"op": "replace", "old": "LR = 1", "new": "LR = 2"}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_an_unusable_answer_gets_one_repair_with_the_exact_error(kind: str) -> None:
    """The error goes back to the model once; the mended answer counts."""
    reply, words = BAD[kind]
    edits = (Edit("set", {"knob": "LR", "value": 0.2}),)
    past = (Tried(12, "t", signature(edits), edits, "other", "discard", 0.1),)
    with served(reply(), proposal(edit())) as server:
        asked = Asked(server)
        answer = asked.propose(replace(REQUEST, tried=past))
    assert len(answer.proposals) == 1
    ((_, reason),) = answer.refused
    assert words in reason
    assert "could not be used" not in asked.tails[0]
    assert "Your last answer could not be used" in asked.tails[1]
    assert reason in asked.tails[1]


def test_after_a_second_unusable_answer_it_is_refused() -> None:
    """There is no third call; both answers are reported with their reasons."""
    with served(text("Hello."), proposal(edit(0.04)), proposal(edit())) as server:
        asked = Asked(server)
        answer = asked.propose()
        assert len(server.requests) == 2
    assert answer.proposals == ()
    assert answer.refused[0][0] == "Hello."
    assert "cannot matter" in answer.refused[1][1]
    assert len(asked.purse.calls) == 2


def test_a_refusal_of_the_model_is_not_argued_with() -> None:
    """A model that declines is reported, not asked again for the same."""
    details = {"type": "refusal", "category": "frontier_llm", "explanation": "no"}
    reply = message([], "refusal", stop_details=details)
    with served(reply) as server:
        answer = Asked(server).propose()
        assert len(server.requests) == 1
    assert "declined to answer (frontier_llm)" in answer.refused[0][1]


def test_a_model_that_is_never_of_use_is_given_up() -> None:
    """After five useless answers in a row the proposer gives up."""
    with served(text("Shall I go on?"), repeat=True) as server:
        asked = Asked(server)
        for _ in range(4):
            assert asked.propose().refused
        with pytest.raises(ProposerError, match="5 answers in a row"):
            asked.propose()
        assert len(server.requests) == 10


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_passing_error_is_tried_again(code: int) -> None:
    """Overload and its kin lead to a pause and another try."""
    with served(status(code), status(code), proposal(edit())) as server:
        asked = Asked(server)
        assert asked.propose().proposals
    first, second = asked.pauses
    assert 0.5 <= first <= 1 <= second <= 2
    assert asked.states == [f"HTTP {code}", f"HTTP {code}", "ok"]


def test_pauses_are_jittered_by_the_seed() -> None:
    """Two sessions with different seeds do not come back at the same moment."""
    pauses = []
    for seed in (0, 0, 1):
        with served(status(529), proposal(edit())) as server:
            asked = Asked(server, seed=seed)
            asked.propose()
        pauses.append(asked.pauses[0])
    assert pauses[0] == pauses[1] != pauses[2]


def test_retry_after_is_honoured() -> None:
    """When the provider says how long to wait, that is how long."""
    with served(status(429, retry_after="17"), proposal(edit())) as server:
        asked = Asked(server)
        assert asked.propose().proposals
    assert asked.pauses == [17.0]


def test_a_provider_that_asks_for_hours_is_given_up() -> None:
    """A pause beyond ten minutes is a no, said at once."""
    with served(status(429, retry_after="7200"), repeat=True) as server:
        asked = Asked(server)
        with pytest.raises(ProposerError, match="HTTP 429"):
            asked.propose()
    assert asked.pauses == []


def test_after_eight_tries_it_gives_up() -> None:
    """A provider that stays away ends the proposer within some minutes."""
    with served(status(529, "Overloaded"), repeat=True) as server:
        asked = Asked(server)
        with pytest.raises(ProposerError) as caught:
            asked.propose()
        assert len(server.requests) == 8
    assert "after 8 tries: HTTP 529: Overloaded." in str(caught.value)
    assert "--autoresearch-proposer tpe" in str(caught.value)
    assert 60 <= sum(asked.pauses) <= 123
    assert asked.purse.spent == 0


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        (400, "--autoresearch-model"),
        (401, "Check ANTHROPIC_API_KEY"),
        (402, "billing"),
        (403, "--autoresearch-model"),
        (404, "ANTHROPIC_BASE_URL"),
        (413, "too long"),
        (422, "--autoresearch-proposer tpe"),
    ],
)
def test_a_lasting_error_ends_it_at_once_with_the_way_out(
    code: int, way_out: str
) -> None:
    """Nothing is gained by trying again: cause and way out, and no second call."""
    with served(status(code, "the cause"), repeat=True) as server:
        asked = Asked(server)
        with pytest.raises(ProposerError) as caught:
            asked.propose()
        assert len(server.requests) == 1
    assert f"HTTP {code}: the cause." in str(caught.value)
    assert way_out in str(caught.value)
    assert asked.purse.spent == asked.purse.held == 0


def test_a_spend_limit_of_the_account_does_not_pass_by_waiting() -> None:
    """The account's own limit comes as status 429 and is final all the same."""
    error = {
        "type": "rate_limit_error",
        "message": "limit reached",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    body = json.dumps({"type": "error", "error": error}).encode()
    reply = Reply(body, 429, {"content-type": "application/json"})
    with served(reply, repeat=True) as server:
        asked = Asked(server)
        with pytest.raises(ProposerError, match="limit reached"):
            asked.propose()
        assert len(server.requests) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500])
def test_the_key_is_in_no_error_text(code: int) -> None:
    """Even a server that echoes the key does not get it into our words."""
    with served(status(code, f"bad key {SECRET}"), repeat=True) as server:
        asked = Asked(server)
        with pytest.raises(ProposerError) as caught:
            asked.propose()
    assert SECRET not in str(caught.value)
    assert "bad key [key]" in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_connection_that_drops_is_tried_again_and_booked_in_full() -> None:
    """The answer may have been charged although it never arrived."""
    with served(dropped(), proposal(edit())) as server:
        asked = Asked(server)
        assert asked.propose().proposals
    lost, good = asked.purse.calls
    assert lost.status.startswith("connection")
    assert lost.usd == asked.purse.reserved[0] > 0
    assert good.status == "ok"
    assert len(asked.pauses) == 1


def test_a_server_that_is_not_there_costs_nothing() -> None:
    """A refused connection is tried again, and nothing is booked for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        purse = CapPurse()
        environ = {"ANTHROPIC_API_KEY": SECRET, "ANTHROPIC_BASE_URL": url}
        pauses: list[float] = []
        proposer = AnthropicProposer(
            Options(purse, environ), wait=lambda s: bool(pauses.append(s))
        )
        with pytest.raises(ProposerError, match="Check the network"):
            proposer.propose(REQUEST)
    assert len(pauses) == 7
    assert len(purse.calls) == 8
    assert purse.spent == purse.held == 0


def test_a_server_that_hangs_is_left_after_the_timeout() -> None:
    """No answer within the timeout counts as a lost one."""
    release = threading.Event()

    def hang(body: dict[str, Any]) -> Reply:
        release.wait(30)
        return text("late")

    with served(hang, repeat=True) as server:
        purse = CapPurse()
        environ = {"ANTHROPIC_API_KEY": SECRET, "ANTHROPIC_BASE_URL": server.url}
        proposer = AnthropicProposer(
            Options(purse, environ), wait=lambda s: True, timeout=0.3
        )
        try:
            with pytest.raises(Exhausted, match="stopped while waiting"):
                proposer.propose(REQUEST)
        finally:
            release.set()
    (call,) = purse.calls
    assert "Timeout" in call.status
    assert call.usd == purse.reserved[0]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>log in</html>", headers={"content-type": "text/html"}),
        Reply(b"{no json", headers={"content-type": "application/json"}),
        Reply(b"[1, 2]", headers={"content-type": "application/json"}),
        Reply(b'{"hello": 1}', headers={"content-type": "application/json"}),
        Reply(b"", headers={"content-type": "application/json"}),
    ],
)
def test_what_is_no_answer_of_the_api_is_tried_again(reply: Reply) -> None:
    """A captive portal or a broken proxy is a passing trouble, not a traceback."""
    with served(reply, proposal(edit())) as server:
        asked = Asked(server)
        assert asked.propose().proposals
    assert asked.states == ["unreadable answer", "ok"]
    assert asked.purse.calls[0].usd == asked.purse.reserved[0]


def test_stopping_the_session_ends_a_wait() -> None:
    """Told to stop during a pause, it does not ask again."""
    with served(status(529), repeat=True) as server:
        asked = Asked(server)
        asked.stopped = True
        with pytest.raises(Exhausted, match="stopped while waiting"):
            asked.propose()
        assert len(server.requests) == 1


# --------------------------------------------------------------------- money


def test_a_call_that_could_exceed_the_cap_is_not_sent() -> None:
    """The worst case is compared with what is left, before anything is sent."""
    with served(proposal(edit())) as server:
        asked = Asked(server, cap=0.1)
        with pytest.raises(Exhausted) as caught:
            asked.propose()
        assert server.requests == []
    assert "spending cap" in str(caught.value)
    assert "--autoresearch-max-usd" in str(caught.value)


def test_the_cap_holds_for_repairs_and_further_tries_too() -> None:
    """Lost calls eat the reserve, and the next try is not sent."""
    with served(dropped(), repeat=True) as server:
        asked = Asked(server, cap=0.6)
        with pytest.raises(Exhausted):
            asked.propose()
        assert 1 <= len(server.requests) < 6
    assert asked.purse.spent <= 0.6


def test_without_a_count_the_worst_case_is_booked() -> None:
    """A server that does not count its tokens is charged for all of them."""
    with served(proposal(edit(), usage={})) as server:
        asked = Asked(server)
        assert asked.propose().proposals
    (call,) = asked.purse.calls
    assert call.usd == asked.purse.reserved[0]


def test_inference_kept_in_the_us_costs_a_tenth_more() -> None:
    """The surcharge of such workspaces is booked."""
    usage = {"input_tokens": 1000, "output_tokens": 1000, "inference_geo": "us"}
    with served(proposal(edit(), usage=usage)) as server:
        asked = Asked(server)
        asked.propose()
    price = PRICES[DEFAULT_MODEL]
    assert asked.purse.spent == pytest.approx(1.1e-3 * (price.input + price.output))


def billed(shares: tuple[float, float, float], kind: str) -> Script:
    """An answer that is billed for a share of what the request allows at most."""

    def answer(body: dict[str, Any]) -> Reply:
        size = len(json.dumps(body, ensure_ascii=False).encode())
        whole = size * shares[0]
        usage = {
            "input_tokens": int(whole * (1 - shares[1])),
            "cache_creation_input_tokens": int(whole * shares[1]),
            "output_tokens": int(body["max_tokens"] * shares[2]),
        }
        if kind == "prose":
            return message([{"type": "text", "text": "no"}], usage=usage)
        return dropped() if kind == "drop" else proposal(edit(), usage=usage)

    return answer


share = st.floats(0, 1)
one_answer = st.tuples(
    st.tuples(share, share, share), st.sampled_from(["good", "prose", "drop"])
)


@settings(max_examples=15, deadline=None)
@given(script=st.lists(one_answer, min_size=1, max_size=6), cap=st.floats(0, 2))
def test_the_cap_is_never_exceeded(
    script: list[tuple[tuple[float, float, float], str]], cap: float
) -> None:
    """Whatever the provider bills and however it fails: the cap holds, always."""
    with served(*(billed(*one) for one in script), repeat=True) as server:
        asked = Asked(server, cap=cap)
        for number in range(8):
            try:
                asked.propose(replace(REQUEST, number=number))
            except ProposerError:
                break
        assert asked.purse.spent <= cap + 1e-9
        assert asked.purse.held == pytest.approx(0)
        assert len(server.requests) == len(asked.purse.calls)
        for call, reserved in zip(asked.purse.calls, asked.purse.reserved, strict=True):
            assert call.usd <= reserved + 1e-12
