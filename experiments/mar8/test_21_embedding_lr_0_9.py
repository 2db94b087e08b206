"""Embedding LR 0.8 to 0.9: with weight decay there is room for more."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_embedding_lr_0_9(train_module, gpu_budget, baseline):
    train_module.set("EMBEDDING_LR", 0.9)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
