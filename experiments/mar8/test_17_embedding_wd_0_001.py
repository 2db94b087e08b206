"""Embedding weight decay 0.001: keeps rows with a high learning rate in bounds."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_embedding_wd_0_001(train_module, gpu_budget, baseline):
    train_module.set("EMBEDDING_WEIGHT_DECAY", 0.001)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
