"""Window pattern SSSSL: four short windows to each full one make steps cheaper."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_window_ssssl(train_module, gpu_budget, baseline):
    train_module.set("WINDOW_PATTERN", "SSSSL")
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
