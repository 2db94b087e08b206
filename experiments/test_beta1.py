"""AdamW beta1 0.8 -> 0.9: the usual value, which this recipe moved away from."""

import pytest


@pytest.mark.candidate(strict=False)
def test_beta1_09(train_module, gpu_budget, baseline):
    train_module.set("ADAM_BETA1", 0.9)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
