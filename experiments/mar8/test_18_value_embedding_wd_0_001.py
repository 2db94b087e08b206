"""Value-embedding weight decay 0.001: the same for the value embeddings."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_value_embedding_wd_0_001(train_module, gpu_budget, baseline):
    train_module.set("VALUE_EMBEDDING_WEIGHT_DECAY", 0.001)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
