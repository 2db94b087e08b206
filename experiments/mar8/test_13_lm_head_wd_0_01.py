"""Weight decay 0.01 on lm_head: a little regularisation of the output layer."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_lm_head_wd_0_01(train_module, gpu_budget, baseline):
    train_module.set("LM_HEAD_WEIGHT_DECAY", 0.01)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
