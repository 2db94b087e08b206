"""A first pass with gap 20: far-off numbers take one long step instead of many."""

import pytest


@pytest.mark.candidate(strict=False)
def test_shell_gap(train_module, gpu_budget, baseline):
    train_module.set("FIRST_GAP", 20)
    result = gpu_budget.run(train_module)
    assert result.speed > baseline.speed
