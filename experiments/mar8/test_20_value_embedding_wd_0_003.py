"""Value-embedding weight decay 0.002 to 0.003: and more."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_value_embedding_wd_0_003(train_module, gpu_budget, baseline):
    train_module.set("VALUE_EMBEDDING_WEIGHT_DECAY", 0.003)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
