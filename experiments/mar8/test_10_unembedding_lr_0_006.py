"""Unembedding LR 0.004 to 0.006: the output layer can move faster."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_unembedding_lr_0_006(train_module, gpu_budget, baseline):
    train_module.set("UNEMBEDDING_LR", 0.006)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
