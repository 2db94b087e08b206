"""The data server's protocol: what is answered, and what no fixed code would say."""

import io
import json

import numpy as np
import pytest

from nanochat_core import profiles
from nanochat_core.errors import Failure
from nanochat_core.server import FREE, LATE, MOST_TOKENS, DataServer, PaceOver

BATCH = {"do": "batch", "rows": 8, "first": True}
SAVE = {"do": "phase", "phase": "save"}
NOT_A_NUMBER = [None, True, "3", [], {}, float("nan"), float("inf"), 10**200]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def make(prepared):
    """A server with a clock that stands still until it is moved, and the events that it emitted."""

    def build(unit="steps", amount=3, control=None, **spec):
        clock, events = Clock(), []
        spec = {"budget": {"unit": unit, "amount": amount}, "seed": 0, **spec}
        found = DataServer(profiles.TINY, prepared, spec, events.append, control, clock)
        found.clock, found.events = clock, events
        return found

    return build


def refused(server, request):
    with pytest.raises(Failure) as caught:
        server.answer(request)
    assert (caught.value.outcome, "does not keep to its protocol" in caught.value.message) == ("integrity", True)
    assert caught.value.message.isascii()


def served(server, rows=8, first=True):
    words, arrays = server.answer({"do": "batch", "rows": rows, "first": first})
    return len(arrays[0]) if words == {"rows": rows} else 0


@pytest.mark.parametrize("unit", ["epochs", None])
def test_a_budget_is_in_steps_or_seconds(make, unit):
    """Anything else is the harness' mistake."""
    with pytest.raises(Failure, match="neither a number of steps nor of seconds"):
        make(unit)


@pytest.mark.parametrize("amount", [0, -1, float("nan")])
def test_a_budget_is_above_0(make, amount):
    """NaN is not."""
    with pytest.raises(Failure, match="above 0"):
        make(amount=amount)


@pytest.mark.parametrize(
    "request_",
    [
        {}, {"do": None}, {"do": []}, {"do": {}}, {"do": "exec"}, {"do": "answer"}, {"do": "\ud800"},
        {"do": "batch"}, {**BATCH, "rows": 0}, {**BATCH, "rows": -8}, {**BATCH, "rows": True}, {**BATCH, "rows": 8.0},
        {**BATCH, "rows": "8"}, {**BATCH, "rows": None}, {**BATCH, "rows": MOST_TOKENS // 64 + 1},
        {**BATCH, "rows": 10**4000}, {**BATCH, "first": 1}, {**BATCH, "first": None}, {"do": "batch", "rows": 8},
        {"do": "phase"}, {"do": "phase", "phase": "train"}, {"do": "phase", "phase": "save"},
        {"do": "phase", "phase": []}, {"do": "scored", "value": 1.0}, {"do": "saved"},
        {"do": "fail"}, {"do": "fail", "outcome": "ok", "message": ""}, {"do": "fail", "outcome": "nan"},
        {"do": "fail", "outcome": "integrity", "message": ""}, {"do": "fail", "outcome": [], "message": ""},
        {"do": "fail", "outcome": "timeout-train", "message": ""}, {"do": "fail", "outcome": "nan", "message": 3},
    ],
    ids=lambda request: ascii(request)[:50],
)  # fmt: skip
def test_what_no_fixed_code_would_say_is_integrity(make, request_):
    """Before the first batch: malformed, too large, out of turn."""
    refused(make(), request_)


@pytest.mark.parametrize("request_", [{"do": "phase", "phase": "warmup"}, {"do": "saved"}, {"do": "scored"}])
def test_the_same_out_of_turn_later(make, request_):
    """After the first batch there is no warm-up, no checkpoint before `save`, and no return from where nobody was."""
    server = make()
    served(server)
    refused(server, request_)


@pytest.mark.parametrize("request_", [BATCH, SAVE, {"do": "interim"}, {"do": "phase", "phase": "warmup"}])
def test_nothing_is_served_while_saving(make, request_):
    """The training is over when its last phase begins."""
    server = make(interim=0.1)
    served(server)
    server.answer(SAVE)
    refused(server, request_)


@pytest.mark.parametrize("request_", [BATCH, SAVE, {"do": "interim"}, {"do": "saved"}])
def test_nothing_is_served_while_the_clock_stands_still(make, request_):
    """During the score in mid-run there is only the return from it."""
    server = make("seconds", 10, interim=0.1)
    served(server)
    server.clock.now += 2
    assert server.answer({"do": "interim"})[0]["rows"] > 0
    refused(server, request_)


def test_a_budget_in_steps_is_so_many_steps(make):
    """However many parts a step has; and after the end there are no further parts of the last one."""
    server = make(amount=2)
    assert [served(server, first=first) for first in (True, False, True, False, True, False, True)] == [
        8,
        8,
        8,
        8,
        0,
        0,
        0,
    ]
    server.answer(SAVE)
    server.answer({"do": "saved"})
    assert (server.summary["num_steps"], server.summary["total_tokens_M"]) == (2, round(32 * 64 / 1e6, 6))


def test_tokens_per_step_bound_all_tokens(make):
    """Three steps of 512 tokens are 24 rows in all, served as the candidate likes."""
    server = make(tokens_per_step=512)
    assert [served(server, 8, first=False) for _ in range(5)] == [8, 8, 8, 0, 0]
    server = make(tokens_per_step=512)
    assert [served(server, 20), served(server, 5), served(server, 1)] == [20, 0, 0]


def test_a_budget_in_seconds_knows_no_tokens(make):
    """Who is faster sees more."""
    server = make("seconds", 3, tokens_per_step=512)
    assert all(served(server) for _ in range(100))


def test_seconds_run_from_the_first_batch(make):
    """On the server's clock: late batches are refused, and so is a late checkpoint, but for a little."""
    server = make("seconds", 10)
    server.clock.now += 500
    assert server.left is None
    served(server)
    server.clock.now += 10
    assert served(server)
    server.clock.now += 0.01
    assert not served(server)
    server.answer(SAVE)
    assert server.left == pytest.approx(10 * LATE - 0.01)
    server.answer({"do": "saved"})
    assert server.summary["training_seconds"] == pytest.approx(10.01)


def test_a_late_checkpoint_is_none(make):
    """It says by how much it was late."""
    server = make("seconds", 10)
    served(server)
    server.clock.now += 10 * (1 + LATE) + 0.001
    assert server.left == 0
    server.answer(SAVE)
    with pytest.raises(Failure, match=r"The checkpoint came after 10.05 s") as caught:
        server.answer({"do": "saved"})
    assert caught.value.outcome == "timeout-train"


def test_an_interim_score_is_given_once_and_not_too_early(make):
    """Rows that are cut off the training text, and the bytes of their targets."""
    server = make(amount=10, interim=0.5)
    assert server.answer({"do": "interim"}) == ({"rows": 0}, ())
    seen = []
    for _ in range(6):
        served(server)
        words, arrays = server.answer({"do": "interim"})
        seen.append(words["rows"] > 0)
        if arrays:
            assert [x.shape for x in arrays] == [(words["rows"], 65), (words["rows"], 64)]
            assert server.answer({"do": "scored", "value": 2.5}) == ({"free": 0.0}, ())
    assert seen == [False, False, True, False, False, False]
    (event,) = [event for event in server.events if event["event"] == "interim"]
    assert (event["step"], event["value"]) == (3, 2.5)


@pytest.mark.parametrize(("slow", "free"), [(0.001, 0.001), (50.0, FREE * 100)])
def test_an_interim_score_stops_the_clock_for_so_long_only(make, slow, free):
    """What takes longer than scoring takes was paid time, however slowly the candidate went before."""
    server = make("seconds", 100, interim=0.1)
    served(server, 1)
    server.clock.now += 20
    assert server.answer({"do": "interim"})[0]["rows"] > 0
    server.clock.now += slow
    assert server.left == pytest.approx(80.5)
    assert server.answer({"do": "scored", "value": None})[0]["free"] == pytest.approx(free)
    assert server.elapsed == pytest.approx(20 + slow - free)


@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_odd_numbers_are_none(make, value):
    """Whatever a candidate says of itself, what is emitted can be calculated with, and written as JSON."""
    server = make(amount=1, interim=0.1)
    served(server)
    server.answer({"do": "interim", "loss": value})
    server.answer({"do": "scored", "value": value if value is not None else "none"})
    served(server)
    server.answer(SAVE)
    odd = dict.fromkeys(("loss", "depth", "peak_vram_mb", "flops_per_token"), value)
    server.answer({"do": "saved", **odd})
    found = server.summary
    assert (found["first_loss"], found["peak_vram_mb"], found["mfu_percent"], found["depth"]) == (None, 0.0, 0.0, 2)
    assert [e["value"] for e in server.events if e["event"] == "interim"] == [None]
    json.dumps([server.events, found], allow_nan=False)


@pytest.mark.parametrize("depth", [-1, 0, 10**9, 10**4000])
def test_a_depth_is_a_depth(make, depth):
    """Or the profile's."""
    server = make(amount=1)
    served(server)
    server.answer(SAVE)
    server.answer({"do": "saved", "depth": depth, "peak_vram_mb": -3})
    assert (server.summary["depth"], server.summary["peak_vram_mb"]) == (2, 0.0)


def test_a_candidate_cannot_blame_the_machine(make):
    """Only fixed code says `env`; and half of a surrogate pair is no text."""
    with pytest.raises(Failure) as caught:
        make().answer({"do": "fail", "outcome": "env", "message": "a full disk \ud800" + "x" * 9000})
    assert caught.value.outcome == "assert"
    assert caught.value.message.startswith("a full disk ?x")
    assert len(caught.value.message) == 2000


def test_naming_the_warm_up_again_says_nothing(make):
    """One phase event, however often."""
    server = make()
    for _ in range(9):
        server.answer({"do": "phase", "phase": "warmup"})
    assert [event["phase"] for event in server.events] == ["warmup"]


def test_pace_serves_a_step_for_each_go(make):
    """It has no checkpoint and no interim score, and ends when the harness hangs up."""
    server = make(amount=1, control=io.StringIO("go\ngo\n"), interim=0.1)
    assert [served(server), served(server, first=False), served(server)] == [8, 8, 8]
    assert [event["step"] for event in server.events if event["event"] == "step"] == [1]
    assert server.answer({"do": "interim"})[0] == {"rows": 0}
    with pytest.raises(PaceOver):
        served(server)
    server.answer(SAVE)
    refused(server, {"do": "saved"})


def test_what_is_served_is_the_training_text(make, prepared):
    """Rows of T + 1 tokens as they stand in it."""
    words, (rows,) = make().answer(BATCH)
    assert (words, rows.dtype, rows.shape) == ({"rows": 8}, np.uint16, (8, 65))
    text = prepared.stream("train").tobytes()
    assert all(row.tobytes() in text for row in rows)
