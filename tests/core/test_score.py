"""The score: numpy on one side, the candidate's process on the other."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nanochat_core import evaluate, producer, profiles
from nanochat_core.data import bits_per_byte, scoring_windows
from nanochat_core.errors import Failure

MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.vocab_size = config.vocab_size
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, idx):
        {body}

def build_model(config):
    return Model(config)

def train(run):
    pass
"""
UNIFORM = "return torch.zeros(*idx.shape, self.vocab_size) + self.weight"
PROFILE = replace(profiles.TINY, eval_tokens=1024, eval_batch_size=8)


@pytest.fixture
def score(prepared, tmp_path, in_process):
    """Score a model whose forward is `body`, in this process."""

    def run(body):
        return evaluate.score(PROFILE, prepared, written(tmp_path, body))[0]

    return run


def written(tmp_path, body):
    """A source, a checkpoint, and the spec that speaks of them."""
    source, checkpoint = tmp_path / "train.py", tmp_path / "model.safetensors"
    source.write_text(MODEL.format(body=body), encoding="utf-8")
    save_file({"weight": torch.zeros(1)}, checkpoint)
    return {"source": source, "source_sha256": None, "checkpoint": checkpoint, "scratch": tmp_path, "threads": 1}


def test_a_uniform_model_costs_log2_of_the_vocabulary(score, prepared):
    """Equal logits for 1,024 tokens are 10 bits a token."""
    windows = scoring_windows(prepared.stream("val"), 64, 1024)
    lengths = prepared.token_bytes()[windows[:, 1:]]

    assert score(UNIFORM) == pytest.approx(10 * (lengths > 0).sum() / lengths.sum(), rel=1e-6)


def test_bits_per_byte_leaves_special_tokens_out():
    """A token without bytes counts neither as loss nor as length."""
    nll = np.array([math.log(2), 3 * math.log(2), 100.0])

    assert bits_per_byte(nll, np.array([1, 3, 0])) == pytest.approx(1.0)


def test_the_score_does_not_depend_on_the_batch_size(make_spec, in_process, prepared):
    """Scoring 5 or 32 sequences a pass gives the same number to 1e-6."""
    spec = make_spec("train")
    in_process(spec)
    five = replace(profiles.TINY, eval_batch_size=5)
    scores = [evaluate.score(profile, prepared, spec)[0] for profile in (profiles.TINY, five)]

    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_cross_entropy_is_the_fixed_codes():
    """The nll is log-softmax at the target, in float32, whatever dtype the logits have."""
    logits, targets = torch.randn(2, 3, 11), torch.randint(0, 11, (2, 3))
    expected = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]

    torch.testing.assert_close(producer.token_nll(logits, targets, 11), expected)
    assert producer.token_nll(logits.bfloat16(), targets, 11).dtype == torch.float32


def test_running_out_of_memory_gets_a_second_try(prepared, tmp_path, monkeypatch, capfd):
    """Half the batch fits: the score stands."""
    sizes = []

    def claim(profile, spec, scored, batch_size, show):
        sizes.append(batch_size)
        if batch_size > 4:
            raise Failure("oom-eval", "80 GiB")
        return np.ones_like(scored.lengths, dtype=np.float64)

    monkeypatch.setattr(evaluate, "claim", claim)

    assert evaluate.score(PROFILE, prepared, written(tmp_path, UNIFORM))[0] > 0
    assert sizes == [8, 4]
    assert "once more with 4 sequences a pass" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "message", "body"),
    [
        ("oom-eval", "80 GiB", "raise torch.OutOfMemoryError('80 GiB')"),
        ("nan", "token losses are not finite", UNIFORM + " * float('nan')"),
        ("assert", "logits of shape (2, 64, 1024)", "return torch.zeros(len(idx), self.vocab_size)"),
    ],
)
def test_scoring_failures_have_their_own_outcome(score, outcome, message, body):
    """A model that cannot be scored gets a reason and no number."""
    with pytest.raises(Failure) as caught:
        score(body)

    assert caught.value.outcome == outcome
    assert message in caught.value.message


def test_a_checkpoint_that_does_not_fit_is_an_assertion(score):
    """A state dict with other names than the model's is the candidate's mistake."""
    with pytest.raises(Failure, match="Missing key"):
        score(UNIFORM + "\n\n    bias = None\n    def load_state_dict(self, state, **kw):\n"
              "        return super().load_state_dict({}, **kw)")  # fmt: skip


def test_no_checkpoint_no_score(prepared, tmp_path):
    """Evaluating before training is an error of the harness, not of the candidate."""
    with pytest.raises(Failure) as caught:
        evaluate.score(PROFILE, prepared, {"checkpoint": tmp_path / "none"})

    assert caught.value.outcome == "env"


def test_the_producer_cannot_reach_the_events(make_spec, command, tmp_path):
    """The candidate's scoring process has stdin, stdout, stderr, two pipes to us, and no descriptor of the harness."""
    seen = tmp_path / "seen"
    listing = f"""    import os, stat
    links = [f"/proc/self/fd/{{fd}}" for fd in range(3, 64)]
    pipes = [x for x in links if os.path.exists(x) and stat.S_ISFIFO(os.stat(x).st_mode)]
    open({str(seen)!r}, "w").write(str(len(pipes)))
    return Model(config)"""
    code = MODEL.format(body=UNIFORM).replace("    return Model(config)", listing)
    spec = make_spec("evaluate", code=code)
    save_file({"weight": torch.zeros(1)}, Path(spec["checkpoint"]))
    returncode, events, log = command(spec)

    assert returncode == 0, log
    assert list(events[-1]["metrics"]) == ["val_bpb"]
    assert seen.read_text() == "2"


# ----------------------------------------------------------------------------------------------------------------------
# The real process

SENDS = "max(f for f in range(3, 20) if os.path.exists(f'/proc/self/fd/{f}'))"


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        ("import os; os._exit(0)", "assert", "ended with exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "oom-eval", "was killed, as a system short of memory does"),
        ("import os; os.write(SENDS, b'x' * 20_000)", "integrity", "does not keep to its protocol"),
        ("if len(idx) > 2: raise ValueError('a word')", "assert", "ValueError in line 12 of train.py while"),
        ("if len(idx) > 2: raise type('Secret', (Exception,), {})()", "assert", "Exception in line 12"),
    ],
)
def test_a_process_that_does_not_answer_is_no_score(prepared, tmp_path, body, outcome, message):
    """Whatever it does instead; and once it has seen the text, none of its words come out."""
    code = f"{body}\n        {UNIFORM}".replace("SENDS", SENDS)
    with pytest.raises(Failure) as caught:
        evaluate.score(PROFILE, prepared, written(tmp_path, code))

    assert caught.value.outcome == outcome
    assert message in caught.value.message
    assert "a word" not in caught.value.message
    assert "Secret" not in caught.value.message


def test_words_after_the_last_answer_are_refused(prepared, tmp_path):
    """Who has been asked everything has nothing more to say."""
    late = f"import atexit, os\nkept = os.dup({SENDS})\natexit.register(lambda: os.write(kept, b'x'))"
    spec = written(tmp_path, UNIFORM)
    spec["source"].write_text(late + MODEL.format(body=UNIFORM))
    with pytest.raises(Failure, match="more than it was asked"):
        evaluate.score(PROFILE, prepared, spec)
