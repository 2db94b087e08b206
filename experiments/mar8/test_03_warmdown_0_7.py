"""Warmdown 0.5 to 0.7: learning rates fall over more of the run."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_warmdown_0_7(train_module, gpu_budget, baseline):
    train_module.set("WARMDOWN_RATIO", 0.7)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
