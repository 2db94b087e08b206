"""RoPE base 10K to 200K: longer wavelengths tell distant positions apart."""

import pytest

pytestmark = pytest.mark.candidate(strict=False)


def test_rope_200k(train_module, gpu_budget, baseline):
    train_module.set("ROPE_BASE", 200_000)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
