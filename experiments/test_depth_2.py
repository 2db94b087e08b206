"""Depth 3 -> 2: under a charged budget a shallower model sees more tokens."""

import pytest


@pytest.mark.candidate(strict=False)
def test_depth_2(train_module, gpu_budget, baseline):
    train_module.set("DEPTH", 2)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
