"""Unembedding LR 0.006 to 0.005: the step before last went a little too far."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_unembedding_lr_0_005(train_module, gpu_budget, baseline):
    train_module.set("UNEMBEDDING_LR", 0.005)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
