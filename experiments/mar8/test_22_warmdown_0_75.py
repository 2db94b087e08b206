"""Warmdown 0.7 to 0.75: a little more of the run."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_warmdown_0_75(train_module, gpu_budget, baseline):
    train_module.set("WARMDOWN_RATIO", 0.75)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
