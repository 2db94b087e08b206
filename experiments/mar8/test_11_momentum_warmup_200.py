"""Muon momentum warmup 300 to 200 steps: full momentum sooner."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_momentum_warmup_200(train_module, gpu_budget, baseline):
    train_module.set("MUON_MOMENTUM_WARMUP_STEPS", 200)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
