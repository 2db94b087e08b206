"""Init scale x 0.8: the transformer's matrices start smaller."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_init_scale_0_8(train_module, gpu_budget, baseline):
    train_module.set("INIT_SCALE", 0.8)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
