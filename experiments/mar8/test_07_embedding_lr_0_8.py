"""Embedding LR 0.6 to 0.8: rows that few batches touch learn more from each touch."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_embedding_lr_0_8(train_module, gpu_budget, baseline):
    train_module.set("EMBEDDING_LR", 0.8)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
