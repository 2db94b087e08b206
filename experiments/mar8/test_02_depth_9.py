"""Depth 9 with aspect ratio 57: one more layer; whole heads make the width 640."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_depth_9(train_module, gpu_budget, baseline):
    train_module.set("DEPTH", 9)
    train_module.set("ASPECT_RATIO", 57)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
