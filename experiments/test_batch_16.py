"""Batch 8 -> 16 sequences: smoother gradients, but half the steps for the same cost.

At equal steps this looks like a large win. Charged for what it costs it is none, which
is what this candidate is here to show.
"""

import pytest


@pytest.mark.candidate(strict=False)
def test_batch_16(train_module, gpu_budget, baseline):
    train_module.set("BATCH_SCALE", 2.0)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
