"""MuonAdamW of train.py, against references."""

import pytest
import torch

from nanochat_core import train


def test_adamw_is_torchs():
    """Ten steps of our AdamW and of torch's end at the same weights."""
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(7, 5))
    theirs = torch.nn.Parameter(ours.detach().clone())
    group = dict(kind="adamw", params=[ours], lr=0.02, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1)
    optimizer = train.MuonAdamW([group])
    reference = torch.optim.AdamW([theirs], lr=0.02, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1)
    for _ in range(10):
        gradient = torch.randn(7, 5)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()

    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 256, 64), (2, 64, 256)])
def test_orthogonalize_leaves_singular_values_near_one(shape):
    """Polar Express maps every matrix to a nearly orthogonal one, whatever its shape."""
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(train.orthogonalize(torch.randn(shape), 5))
    near = (singular > 0.8) & (singular < 1.2)

    assert near.float().mean() > 0.95  # a square matrix may have a value of almost nothing
    assert singular.max() < 1.2


def test_orthogonalize_keeps_directions():
    """The result is close to U V^T of the argument's singular value decomposition."""
    torch.manual_seed(0)
    g = torch.randn(48, 32)
    u, _, vt = torch.linalg.svd(g, full_matrices=False)
    x = train.orthogonalize(g[None], 5)[0]

    assert torch.nn.functional.cosine_similarity(x.flatten(), (u @ vt).flatten(), dim=0) > 0.99


def test_muon_keeps_the_norm_of_the_update():
    """NorMuon evens out rows, and leaves the size of the whole update alone."""
    torch.manual_seed(0)
    params, grads = torch.zeros(2, 64, 32), torch.randn(2, 64, 32)
    velocity, variance = torch.zeros_like(params), torch.zeros(2, 64, 1)
    train.muon_update(params, grads, velocity, variance, 0.9, 1.0, 0.95, 0.0, 5)
    expected = train.orthogonalize(grads, 5)

    torch.testing.assert_close(params.norm(dim=(1, 2)), expected.norm(dim=(1, 2)), rtol=1e-3, atol=1e-3)


def test_weight_decay_is_cautious():
    """Muon decays only weights that its own step pulls towards zero as well."""
    torch.manual_seed(0)
    params, grads = torch.randn(1, 16, 16), torch.randn(1, 16, 16)
    steps = []
    for weight_decay in (0.0, 0.5):
        moved = params.clone()
        state = torch.zeros_like(params), torch.zeros(1, 16, 1)
        train.muon_update(moved, grads.clone(), *state, 0.9, 0.1, 0.95, weight_decay, 5)
        steps.append(moved - params)
    plain, decayed = steps
    pulled = plain * params <= 0

    torch.testing.assert_close(decayed[~pulled], plain[~pulled])
    torch.testing.assert_close((decayed - plain)[pulled], -0.05 * params[pulled])


def test_learning_rates_follow_the_width():
    """AdamW's rates scale with (width / 768)^-0.5, Muon's and the scalars' do not."""
    model = train.GPT(64, 32, depth=2, width=192, head_dim=32)
    rates = {
        (group["kind"], group["params"][0] is model.x0_lambdas): group["lr"]
        for group in train.build_optimizer(model).param_groups[1:]
        if len(group["params"]) >= 1
    }

    assert rates[("adamw", True)] == train.SCALAR_LR
    assert rates[("muon", False)] == train.MATRIX_LR
    first = train.build_optimizer(model).param_groups[0]
    assert first["lr"] == pytest.approx(train.UNEMBEDDING_LR * 2)


def test_schedules_begin_and_end_as_autoresearchs():
    """Flat for the first half, then a line to FINAL_LR_FRAC; momentum 0.85 to 0.95 in 300 steps."""
    assert [train.lr_multiplier(p) for p in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]
    assert train.muon_momentum(0) == 0.85
    assert train.muon_momentum(300) == train.muon_momentum(10_000) == pytest.approx(0.95)
    assert train.matrix_weight_decay(0.25) == pytest.approx(0.15)
