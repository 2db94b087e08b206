"""Final LR fraction 0 to 0.05: the last steps still learn something."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_final_lr_0_05(train_module, gpu_budget, baseline):
    train_module.set("FINAL_LR_FRAC", 0.05)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
