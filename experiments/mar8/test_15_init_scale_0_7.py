"""Init scale 0.8 to 0.7: smaller still."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_init_scale_0_7(train_module, gpu_budget, baseline):
    train_module.set("INIT_SCALE", 0.7)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
