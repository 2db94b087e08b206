"""Short window 1/8 of the context: the full layers carry what is far away."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_short_window_eighth(train_module, gpu_budget, baseline):
    train_module.set("SHORT_WINDOW", 0.125)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
