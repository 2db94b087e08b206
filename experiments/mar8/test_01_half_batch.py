"""Half the batch, 524K to 262K tokens: twice as many steps for the same budget."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_half_batch(train_module, gpu_budget, baseline):
    train_module.set("BATCH_SCALE", 0.5)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
