"""The model of train.py and the attention below it."""

import ast
import re
from dataclasses import replace

import pytest
import torch

from nanochat_core import attention, profiles, train
from nanochat_core.target import load

CONFIG = replace(profiles.TINY.config, vocab_size=97)


@pytest.mark.parametrize("window", [0, 1, 5, 15, 16, 100])
def test_attention_sees_exactly_its_window(window):
    """A query attends to itself and the `window` tokens before it: the softmax by hand agrees, gradients too."""
    torch.manual_seed(0)
    B, T, H, D = 2, 16, 3, 8
    q, k, v = (torch.randn(B, T, H, D, requires_grad=True) for _ in range(3))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / D**0.5
    for i in range(T):
        for j in range(T):
            if not i - window <= j <= i:
                scores[:, :, i, j] = -torch.inf
    expected = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v)
    y = attention.attention(q, k, v, window)

    torch.testing.assert_close(y, expected)
    for ours, plain in zip(
        torch.autograd.grad(y.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


def test_attention_takes_fewer_key_heads():
    """Grouped queries: two query heads share one key head."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 8, 4, 8), torch.randn(1, 8, 2, 8), torch.randn(1, 8, 2, 8)
    shared = attention.attention(q, k, v, 4)
    spread = attention.attention(q, k.repeat_interleave(2, 2), v.repeat_interleave(2, 2), 4)

    torch.testing.assert_close(shared, spread)


def test_probe_settles_for_sdpa_without_a_gpu():
    """On a CPU the plain backend is the only one."""
    assert attention.probe("cpu", torch.float32, 64, 32) == "sdpa"


def test_model_is_causal():
    """Changing a token changes no logits before it, and some after it."""
    torch.manual_seed(0)
    model = train.build_model(CONFIG)
    with torch.no_grad():
        for p in model.parameters():  # the projections begin at zero, which would hide everything
            p.add_(0.05 * torch.randn_like(p))
    idx = torch.randint(0, 97, (2, 64))
    other = idx.clone()
    other[:, 40] = (other[:, 40] + 1) % 97
    a, b = model(idx), model(other)

    assert a.shape == (2, 64, 97)
    torch.testing.assert_close(a[:, :40], b[:, :40])
    assert not torch.allclose(a[:, 40:], b[:, 40:])


def test_rope_depends_on_distance_alone():
    """The product of two rotated vectors is the same wherever the pair stands."""
    cos, sin = train.rope_tables(32, 16)
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)
    q, k = (train.apply_rope(x.expand(1, 32, 1, 16), cos, sin) for x in (q, k))
    products = torch.einsum("bthd,bthd->t", q[:, 3:], k[:, :-3])

    torch.testing.assert_close(products, products[:1].expand_as(products))


def test_windows_follow_the_pattern_and_the_last_layer_sees_all():
    """SSSL with a short window of half the context; the last layer is always full."""
    assert train.window_sizes(6, 2048) == [1024, 1024, 1024, 2048, 1024, 2048]


def test_value_embeddings_alternate_and_the_last_layer_has_one():
    """Depth 3 has them on layers 0 and 2."""
    assert [train.has_value_embedding(i, 3) for i in range(3)] == [True, False, True]


def test_the_gpu_profile_is_autoresearchs_model():
    """Width 512, 4 heads, and 239.08 MFLOP a token, as its own counting gives."""
    with torch.device("meta"):
        model = train.build_model(profiles.GPU.config)

    assert model.width == 512
    assert model.blocks[0].attn.head_dim == 128
    assert model.estimate_flops() == pytest.approx(239.08e6, rel=1e-4)
    assert train.batch_shape(profiles.GPU.config) == (128, 2)


def test_the_cpu_profile_has_its_measured_size():
    """409,734 parameters at depth 3, width 64; depth 2 keeps the width."""
    config = profiles.CPU.config

    assert sum(p.numel() for p in train.build_model(config).parameters()) == 409_734
    assert train.build_model(replace(config, depth=2)).width == 64


REPLAY = (  # karpathy/autoresearch, branch exp/H100/mar8: every change it kept, in order
    {"BATCH_SCALE": 0.5},
    {"DEPTH": 9, "ASPECT_RATIO": 57},
    {"WARMDOWN_RATIO": 0.7},
    {"WINDOW_PATTERN": "SSSSL"},
    {"SHORT_WINDOW": 0.125},
    {"ROPE_BASE": 200_000},
    {"EMBEDDING_LR": 0.8},
    {"X0_LAMBDA_INIT": 0.05},
    {"FINAL_LR_FRAC": 0.05},
    {"UNEMBEDDING_LR": 0.006},
    {"MUON_MOMENTUM_WARMUP_STEPS": 200},
    {"UNEMBEDDING_LR": 0.005},
    {"LM_HEAD_WEIGHT_DECAY": 0.01},
    {"INIT_SCALE": 0.8},
    {"INIT_SCALE": 0.7},
    {"INIT_SCALE": 0.68},
    {"EMBEDDING_WEIGHT_DECAY": 0.001},
    {"VALUE_EMBEDDING_WEIGHT_DECAY": 0.001},
    {"VALUE_EMBEDDING_WEIGHT_DECAY": 0.002},
    {"VALUE_EMBEDDING_WEIGHT_DECAY": 0.003},
    {"EMBEDDING_LR": 0.9},
    {"WARMDOWN_RATIO": 0.75},
)


def test_autoresearchs_keeps_can_be_replayed(target_text, tmp_path):
    """All 22 kept changes are knobs; together they build the model that its branch ended with."""
    for change in REPLAY:
        for knob, value in change.items():
            target_text, count = re.subn(rf"(?m)^{knob} = [^#\n]+  #", f"{knob} = {value!r}  #", target_text)
            assert count == 1, knob
    path = tmp_path / "train.py"
    path.write_text(target_text, encoding="utf-8")
    module = load(path)
    with torch.device("meta"):
        model = module.build_model(profiles.GPU.config)

    assert (model.depth, model.width) == (9, 640)
    assert [block.attn.window for block in model.blocks] == [256] * 4 + [2048] + [256] * 3 + [2048]
    assert module.batch_shape(profiles.GPU.config) == (128, 1)
    decays = [group["weight_decay"] for group in module.build_optimizer(model).param_groups[:3]]
    assert decays == [0.01, 0.001, 0.003]


def test_every_knob_is_a_literal_with_words(target_text):
    """Each knob says what it is, and its value lies in its own range or choices."""
    knobs = re.findall(r"(?m)^([A-Z][A-Z0-9_]+) = ([^#\n(]+?)  # (.+)$", target_text)

    assert len(knobs) > 30
    for name, literal, words in knobs:
        value = ast.literal_eval(literal)
        if found := re.search(r"range ([-\d.]+)\.\.([-\d.]+)( log)?$", words):
            low, high = float(found[1]), float(found[2])
            assert low <= value <= high, name
            assert low > 0 or not found[3], name
        elif found := re.search(r"choices (.+)$", words):
            assert value is None or str(value) in found[1].split(", "), name


def test_nothing_happens_at_import(target_text):
    """The module holds imports, definitions and literal constants, nothing that runs."""
    for node in ast.parse(target_text).body:
        if isinstance(node, ast.Assign):
            ast.literal_eval(node.value)
        else:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            assert docstring or isinstance(node, allowed), ast.unparse(node)
    assert len(target_text.splitlines()) <= 650


@pytest.fixture
def target_text(target):
    return target()
