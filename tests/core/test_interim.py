"""A score in mid-run: on text that is not trained on, and without a trace in the run."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from nanochat_core.data import Shuffled, hold_out


def test_the_end_of_the_training_text_is_held_out():
    """Whole windows, a twentieth of the text at most, and no token in both parts."""
    stream = np.arange(10_000, dtype=np.uint16)
    rest, held = hold_out(stream, 100, 450)
    assert (len(rest), len(held)) == (9600, 400)
    assert np.concatenate((rest, held)).tolist() == stream.tolist()
    rest, held = hold_out(stream, 100, 9000)
    assert len(held) == 500


def test_held_out_rows_are_never_served():
    """Not in any batch of a whole epoch."""
    stream = np.arange(2001, dtype=np.uint16)
    rest, held = hold_out(stream, 10, 100)
    order = Shuffled(rest, 10, 0, "ab" * 32)
    seen = order.take(order.count)
    assert not set(seen[:, :-1].ravel().tolist()) & set(held.tolist())


def test_a_run_is_the_same_with_and_without(in_process, make_spec):
    """Same seed, same bytes of the checkpoint; the event says when and how much."""
    seals, events = [], []
    for interim in (None, 0.4):
        spec = make_spec("train", budget={"unit": "steps", "amount": 5}, interim=interim)
        events = in_process(spec)
        seals.append(hashlib.sha256(Path(spec["checkpoint"]).read_bytes()).hexdigest())
    assert seals[0] == seals[1]
    (found,) = [event for event in events if event["event"] == "interim"]
    assert (found["step"], found["tokens"]) == (2, 1024)
    assert 2.0 < found["value"] < 6.0
    assert found["seconds"] >= 0


def test_nobody_who_did_not_ask_gets_one(in_process, make_spec):
    """Without `interim` in the spec there is no such event."""
    events = in_process(make_spec("train", interim=None))
    assert not [event for event in events if event["event"] == "interim"]


def test_the_clock_stands_still(in_process, make_spec, monkeypatch):
    """Training seconds do not hold the time that scoring took."""
    import time

    from nanochat_core import interim

    real, lost = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: real() + lost[0])

    def slow(*_):
        lost[0] += 1000.0
        return 3.0

    monkeypatch.setattr(interim, "score", slow)
    events = in_process(make_spec("train", interim=0.4))
    (found,) = [event for event in events if event["event"] == "interim"]
    assert found["seconds"] >= 1000
    (summary,) = [event for event in events if event["event"] == "summary"]
    assert summary["training_seconds"] < 900


@pytest.mark.parametrize("trouble", ["raise RuntimeError('only when training')", "return None"])
def test_a_model_that_cannot_be_scored_goes_on(in_process, make_spec, trouble):
    """Its training works; there is no score, and no failure either."""
    from tests.core.conftest import TRAIN

    code = TRAIN.read_text(encoding="utf-8").replace(
        "        T = idx.size(1)  # idx is (B, T)\n",
        f"        if not self.training:\n            {trouble}\n        T = idx.size(1)\n",
    )
    events = in_process(make_spec("train", code=code, interim=0.4))
    assert not [event for event in events if event["event"] == "interim"]
    assert [event for event in events if event["event"] == "summary"]


def test_scoring_leaves_generators_and_modes_alone(prepared):
    """Dropout is off meanwhile and on again; torch draws what it would have drawn."""
    import torch

    from nanochat_core import interim
    from nanochat_core.data import scoring_windows
    from nanochat_core.profiles import TINY
    from nanochat_core.train import build_model

    model = build_model(TINY.config)
    model.blocks[0].eval()
    _, held = hold_out(prepared.stream("train"), 64, TINY.interim_tokens)
    windows = scoring_windows(held, 64, TINY.interim_tokens)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    model.register_forward_hook(lambda *_: print(torch.rand(1)))
    assert interim.score(TINY, model, windows, prepared.token_bytes()[windows[:, 1:]]) > 0
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert not model.blocks[0].training
