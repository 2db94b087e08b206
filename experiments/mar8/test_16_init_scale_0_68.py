"""Init scale 0.7 to 0.68: the end of that road."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_init_scale_0_68(train_module, gpu_budget, baseline):
    train_module.set("INIT_SCALE", 0.68)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
