"""Bubble sort: simpler, and slower, which is what this candidate is here to show."""

import pytest


@pytest.mark.candidate(strict=False)
def test_bubble_sort(train_module, gpu_budget, baseline):
    @train_module.define
    def insert_all(numbers, gap):
        """Swap neighbours that are in the wrong order until none are."""
        for end in range(len(numbers), 1, -1):
            for i in range(gap, end):
                if numbers[i - gap] > numbers[i]:
                    numbers[i - gap], numbers[i] = numbers[i], numbers[i - gap]

    result = gpu_budget.run(train_module)
    assert result.speed > baseline.speed
