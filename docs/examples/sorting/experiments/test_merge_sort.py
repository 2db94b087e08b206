"""Merge sort: the work grows with n log n and no longer with n * n."""


def test_merge_sort(train_module, gpu_budget, baseline):
    train_module.define('''
        def sort(numbers):
            """Return the numbers of a list in ascending order, in a new list."""
            if len(numbers) < 2:
                return list(numbers)
            middle = len(numbers) // 2
            left, right = sort(numbers[:middle]), sort(numbers[middle:])
            merged, i, j = [], 0, 0
            while i < len(left) and j < len(right):
                if left[i] <= right[j]:
                    merged.append(left[i])
                    i += 1
                else:
                    merged.append(right[j])
                    j += 1
            return merged + left[i:] + right[j:]
        ''')
    result = gpu_budget.run(train_module)
    assert result.speed > baseline.speed
