"""The 22 published keeps of mar8, as candidates on our train.py: they apply, in order, and train."""

import gc
import importlib.util
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from autoresearch_plugin.fixtures import TrainModule
from autoresearch_plugin.patch import knobs, set_knob, sha256
from nanochat_core import profiles, target
from nanochat_core.run import Run
from nanochat_core.server import DataServer
from tests.core.conftest import Direct

from .conftest import ROOT, TRAIN

FILES = sorted((ROOT / "experiments" / "mar8").glob("test_*.py"))
RECIPE = {  # the knobs that the session ended with; all others are where it began
    "BATCH_SCALE": 0.5, "DEPTH": 9, "ASPECT_RATIO": 57, "WARMDOWN_RATIO": 0.75, "WINDOW_PATTERN": "SSSSL",
    "SHORT_WINDOW": 0.125, "ROPE_BASE": 200_000, "EMBEDDING_LR": 0.9, "X0_LAMBDA_INIT": 0.05, "FINAL_LR_FRAC": 0.05,
    "UNEMBEDDING_LR": 0.005, "MUON_MOMENTUM_WARMUP_STEPS": 200, "LM_HEAD_WEIGHT_DECAY": 0.01, "INIT_SCALE": 0.68,
    "EMBEDDING_WEIGHT_DECAY": 0.001, "VALUE_EMBEDDING_WEIGHT_DECAY": 0.003,
}  # fmt: skip


class Budget:
    """Stands in for gpu_budget: notes the source it was given and says that it won."""

    def run(self, train_module):
        self.source, self.edits = train_module.source, train_module.edits
        return SimpleNamespace(val_bpb=1.0)


def patched(path, source):
    """Run the test in `path` on `source`: (patched source, edits)."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (test,) = [f for name, f in vars(module).items() if name.startswith("test_")]
    budget = Budget()
    test(TrainModule(lambda: source, ROOT, TRAIN.name), budget, SimpleNamespace(val_bpb=2.0))
    return budget.source, budget.edits


@pytest.fixture(scope="module")
def sources():
    """The start, and the source after each keep."""
    texts = [TRAIN.read_text(encoding="utf-8")]
    for path in FILES:
        texts.append(patched(path, texts[-1])[0])
    return texts


@pytest.fixture
def train(prepared, tmp_path):
    """Ten steps of a model so narrow that its depth costs nothing; returns the losses."""
    profile = replace(profiles.TINY, config=replace(profiles.TINY.config, aspect_ratio=4, head_dim=8))

    def run(source):
        path = tmp_path / "train.py"
        path.write_text(source, encoding="utf-8")
        events = []
        budget = {"unit": "steps", "amount": 10}
        answering = DataServer(profile, prepared, {"budget": budget, "seed": 0}, events.append)
        run = Run(profile, budget, 0, tmp_path / "model.safetensors", Direct(answering))
        run.report = lambda loss: (events.append(float(loss)), Run.report(run, loss))
        target.load(path, sha256(source)).train(run)
        run.check_saved()
        return [loss for loss in events if isinstance(loss, float)]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)
    gc.unfreeze()
    gc.enable()
    sys.modules.pop("nanochat_target", None)


def test_there_are_22_in_order():
    """One file each, numbered, with a title and a reason, and none of them strict."""
    assert [int(re.match(r"test_(\d+)_", path.stem)[1]) for path in FILES] == list(range(1, 23))
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert re.match(r'"""[^:"]+: [^"]+\."""\n', text), path.name
        assert "pytestmark = pytest.mark.candidate(strict=False)" in text


def test_the_last_source_is_the_published_recipe(sources):
    """All 22 in order leave the knobs where mar8 left them, and nothing else changed."""
    start, end = ({knob.name: knob.value for knob in knobs(text)} for text in (sources[0], sources[-1]))

    assert end == start | RECIPE
    assert {name: start[name] for name in RECIPE} == {
        "BATCH_SCALE": 1.0, "DEPTH": None, "ASPECT_RATIO": None, "WARMDOWN_RATIO": 0.5, "WINDOW_PATTERN": "SSSL",
        "SHORT_WINDOW": 0.5, "ROPE_BASE": 10_000, "EMBEDDING_LR": 0.6, "X0_LAMBDA_INIT": 0.1, "FINAL_LR_FRAC": 0.0,
        "UNEMBEDDING_LR": 0.004, "MUON_MOMENTUM_WARMUP_STEPS": 300, "LM_HEAD_WEIGHT_DECAY": 0.0, "INIT_SCALE": 1.0,
        "EMBEDDING_WEIGHT_DECAY": 0.0, "VALUE_EMBEDDING_WEIGHT_DECAY": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_changes_the_start_alone(path):
    """A replay may keep any subset, so none needs what another has changed."""
    start = TRAIN.read_text(encoding="utf-8")
    source, edits = patched(path, start)

    assert source != start
    assert {edit.op for edit in edits} == {"set"}


@pytest.mark.slow
def test_each_keep_trains_ten_steps(sources, train):
    """Every source on the way makes ten finite steps that differ from those before it, and learns.

    The width is a small one throughout, because mar8's own takes minutes here; test_the_published_size looks at that.
    """
    runs = [train(set_knob(source, "ASPECT_RATIO", None)) for source in sources]

    assert all(len(losses) == 10 and torch.isfinite(torch.tensor(losses)).all() for losses in runs)
    assert all(losses[-1] < losses[0] for losses in runs)
    same = [path.stem for path, before, after in zip(FILES, runs, runs[1:], strict=False) if before == after]
    assert same == []


def test_the_published_size(sources):
    """On autoresearch's own profile the last model has 9 layers, 640 channels and mar8's windows."""
    module = {"__name__": "mar8"}
    exec(compile(sources[-1], "train.py", "exec"), module)
    with torch.device("meta"):
        model = module["build_model"](profiles.GPU.config)

    assert (model.depth, model.width) == (9, 640)
    assert [block.attn.window for block in model.blocks] == [256] * 4 + [2048] + [256] * 3 + [2048]
    assert module["batch_shape"](profiles.GPU.config) == (128, 1)
