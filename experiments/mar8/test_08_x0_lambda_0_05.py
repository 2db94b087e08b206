"""x0 lambda init 0.1 to 0.05: less of the token embedding mixed in at first."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_x0_lambda_0_05(train_module, gpu_budget, baseline):
    train_module.set("X0_LAMBDA_INIT", 0.05)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
