"""The fixed side of training: budget, batches, warm-up, checkpoint, and how runs fail."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nanochat_core import profiles, server
from nanochat_core import run as fixed
from nanochat_core.errors import Failure
from nanochat_core.run import Run
from tests.core.conftest import Direct

SKELETON = """
import torch
from torch import nn

def build_model(config):
    return nn.Sequential(nn.Embedding(config.vocab_size, 8), nn.Linear(8, config.vocab_size))

def train(run):
    model = build_model(run.config)
    {body}
    run.save(model)
"""
LOOP = "for idx, targets in run.batches(4): run.report({loss})"


def of(events, kind):
    return [event for event in events if event["event"] == kind]


@pytest.fixture
def make_run(prepared, tmp_path):
    """A run with its data server in this process; both read the clock of `fixed.time` and `server.time`."""

    def make(budget=None, seed=0):
        events = []
        budget = budget or {"unit": "steps", "amount": 3}
        answering = server.DataServer(
            profiles.TINY, prepared, {"budget": budget, "seed": seed}, events.append,
            clock=lambda: server.time.perf_counter(),
        )  # fmt: skip
        run = Run(profiles.TINY, budget, seed, tmp_path / "model.safetensors", Direct(answering))
        run.events, run.server = events, answering
        return run

    return make


@pytest.fixture
def clock(monkeypatch):
    """One clock for both sides, that moves when told."""
    found = Clock()
    monkeypatch.setattr(fixed, "time", found)
    monkeypatch.setattr(server, "time", found)
    return found


def test_two_runs_are_bit_identical(make_spec, in_process):
    """One seed, one step budget, one thread: the same checkpoint, byte for byte; another seed differs."""

    def digest(seed):
        spec = make_spec("train", seed=seed)
        in_process(spec)
        return hashlib.sha256(Path(spec["checkpoint"]).read_bytes()).hexdigest()

    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


def test_the_loss_falls(make_spec, in_process):
    """Twenty steps bring the loss well below that of guessing evenly."""
    events = in_process(make_spec("train", budget={"unit": "steps", "amount": 20}))
    steps = of(events, "step")

    assert steps[0]["loss"] == pytest.approx(6.93, abs=0.02)
    assert steps[-1]["loss"] < 6.3
    assert (steps[-1]["step"], steps[-1]["tokens"]) == (20, 20 * 512)
    (summary,) = of(events, "summary")
    assert (summary["num_steps"], summary["tokens_per_step"], summary["depth"]) == (20, 512, 2)


def test_phases_come_in_order(make_spec, in_process):
    """warmup, train, save: each with its own deadline."""
    events = in_process(make_spec("train"))

    assert [event["phase"] for event in of(events, "phase")] == ["warmup", "train", "save"]


def test_batches_are_the_budget(make_run):
    """Three steps of two micro-batches are six batches, and progress is the share of steps done."""
    run, seen = make_run(), []
    for idx, targets in run.batches(4, accumulate=2):
        assert idx.shape == targets.shape == (4, 64)
        assert torch.equal(idx[:, 1:], targets[:, :-1])
        seen.append(run.progress)

    assert seen == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert run.progress == 1
    assert list(run.batches(4)) == []


def test_the_order_of_windows_does_not_depend_on_the_batch(make_run):
    """Batches of 2 and of 4 serve the same windows in the same order, whatever torch's generator did."""
    small = torch.cat([idx for idx, _ in make_run({"unit": "steps", "amount": 4}).batches(2)])
    torch.rand(100)
    large = torch.cat([idx for idx, _ in make_run({"unit": "steps", "amount": 2}).batches(4)])
    other = torch.cat([idx for idx, _ in make_run({"unit": "steps", "amount": 2}, seed=1).batches(4)])

    assert torch.equal(small, large)
    assert not torch.equal(large, other)


class Clock:
    """A perf_counter that moves when told."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


def test_seconds_end_before_the_budget_does(make_run, monkeypatch, clock):
    """Steps of 3 s and a save of 2 s stop early enough for the save, and progress has come near 1."""
    run, seen = make_run({"unit": "seconds", "amount": 100}), []
    model = torch.nn.Linear(4, 4)
    write = run._write

    def slow(model, path):
        clock.now += 2.0
        write(model, path)

    monkeypatch.setattr(run, "_write", slow)
    run.warm_up(lambda idx, targets: None, model, [], 2)
    for _ in run.batches(2):
        seen.append(run.progress)
        clock.now += 3.0
    run.save(model)

    assert seen[0] == 0
    assert seen == sorted(seen)
    assert 0.93 < seen[-1] < 1
    assert 90 < run.server.summary["training_seconds"] <= 100


def test_the_clock_starts_with_the_first_batch(make_run, clock):
    """What comes before costs no seconds; nothing stops the clock afterwards, not even a second warm-up."""
    run = make_run({"unit": "seconds", "amount": 10})
    clock.now += 1000
    batches = run.batches(2)
    next(batches)
    clock.now += 4
    run.warm_up(lambda idx, targets: setattr(clock, "now", clock.now + 1), torch.nn.Linear(4, 4), [], 2)

    assert run.progress == pytest.approx(0.5, abs=0.03)
    assert [event["phase"] for event in run.events if event["event"] == "phase"] == ["train"]


def test_warm_up_leaves_no_trace(make_run):
    """Weights, buffers, gradients, optimizer and random generators are what they were, in the same objects."""
    from nanochat_core import train

    run = make_run()
    model = train.build_model(run.config)
    optimizer = train.build_optimizer(model)
    plain = torch.optim.SGD(model.blocks.parameters(), lr=0.1, momentum=0.9)
    model.wte.weight.grad = torch.ones_like(model.wte.weight)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    parameters, groups = list(model.parameters()), list(optimizer.param_groups)
    rates, state = [group["lr"] for group in groups], torch.get_rng_state()
    calls = []

    def step(idx, targets):
        calls.append(idx)
        model.train(False)
        model(idx + torch.randint(0, 1, idx.shape)).square().mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = 123.0
        optimizer.step()
        plain.step()
        model.zero_grad(set_to_none=True)

    run.warm_up(step, model, [optimizer, plain], 2)

    assert 1 <= len(calls) <= 20
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(a is b for a, b in zip(groups, optimizer.param_groups, strict=True))
    assert [group["lr"] for group in groups] == rates
    assert not optimizer.state
    assert not plain.state
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(model.wte.weight.grad, torch.ones_like(model.wte.weight))
    assert model.lm_head.weight.grad is None
    assert model.training


def test_training_is_the_same_without_warm_up(make_spec, in_process, target):
    """A target that skips the warm-up ends at the same checkpoint: nothing of it was training."""
    digests = []
    without = ("    run.warm_up(untimed_step, model, [optimizer], batch_size)\n", "")
    for code in (target(), target(without)):
        spec = make_spec("train", code=code)
        in_process(spec)
        digests.append(hashlib.sha256(Path(spec["checkpoint"]).read_bytes()).hexdigest())

    assert digests[0] == digests[1]


def test_the_checkpoint_is_sealed_by_renaming(make_run, tmp_path, monkeypatch):
    """Until the last byte is written there is no file of that name, and only one save counts."""
    run = make_run()
    model = torch.nn.Linear(4, 4)
    list(run.batches(2))
    seen, write = [], run._write

    def spy(model, path):
        write(model, path)
        seen.append((path.exists(), (tmp_path / "model.safetensors").exists()))

    monkeypatch.setattr(run, "_write", spy)
    run.save(model)

    assert seen == [(True, False)]
    assert sorted(p.name for p in tmp_path.glob("model*")) == ["model.safetensors"]
    assert set(load_file(tmp_path / "model.safetensors")) == {"weight", "bias"}
    with pytest.raises(AssertionError, match="sealed"):
        run.save(model)


def test_tied_weights_can_be_saved(make_run, tmp_path):
    """Two names for one tensor become two tensors in the file."""
    run = make_run()
    model = torch.nn.ModuleList([torch.nn.Linear(4, 4, bias=False) for _ in range(2)])
    model[1].weight = model[0].weight
    list(run.batches(2))
    run.save(model)

    assert set(load_file(tmp_path / "model.safetensors")) == {"0.weight", "1.weight"}


@pytest.mark.parametrize(
    ("outcome", "message", "code"),
    [
        ("syntax", "train.py: line 1: ", "def train(run:\n"),
        ("import", "No module named 'nothing_here'", "import nothing_here\n"),
        ("import", "train.py defines no function build_model", "def train(run): pass\n"),
        ("import", "ZeroDivisionError", "X = 1 / 0\n"),
        ("import", "No module named 'nothing_here'", SKELETON.format(body="import nothing_here")),
        ("assert", "AssertionError: 3 heads (train.py:10, train)", SKELETON.format(body="assert False, '3 heads'")),
        ("assert", "RuntimeError: shapes", SKELETON.format(body="raise RuntimeError('shapes')")),
        ("assert", "SystemExit", SKELETON.format(body="raise SystemExit(0)")),
        ("assert", "nothing was trained", SKELETON.format(body="pass")),
        ("assert", "without run.save", SKELETON.format(body=LOOP.format(loss=1.0) + "\n    return")),
        ("nan", "The training loss is nan at step 0", SKELETON.format(body=LOOP.format(loss="float('nan')"))),
        ("nan", "The training loss is inf", SKELETON.format(body=LOOP.format(loss="float('inf')"))),
        ("diverged", "The training loss is 101", SKELETON.format(body=LOOP.format(loss="torch.tensor(101.)"))),
        ("diverged", "having begun at 5", SKELETON.format(
            body="losses = iter([5.0, 60.0, 60.0, 60.0])\n    " + LOOP.format(loss="next(losses)"))),
        ("nan", "The training loss is nan", SKELETON.format(
            body="next(run.batches(4))\n    try: run.report(float('nan'))\n    except Exception: pass")),
        ("oom-train", "OutOfMemoryError", SKELETON.format(body="raise torch.OutOfMemoryError('tried 80 GiB')")),
        ("oom-train", "MemoryError", SKELETON.format(body="raise MemoryError")),
    ],
)  # fmt: skip
def test_failures_have_their_own_outcome(make_spec, in_process, outcome, message, code):
    """A run that fails says how, names the line, and leaves no checkpoint."""
    spec = make_spec("train", code=code)
    with pytest.raises(Failure) as caught:
        in_process(spec)

    assert caught.value.outcome == outcome
    assert message in caught.value.message
    assert not Path(spec["checkpoint"]).exists()


def test_a_changed_source_is_refused(make_spec, in_process):
    """The bytes that run are the bytes of the spec."""
    with pytest.raises(Failure, match="changed meanwhile"):
        in_process(make_spec("train", source_sha256="0" * 64))
