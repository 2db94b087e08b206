"""Sort numbers, slowly: the one file that the candidates of this example change."""

FIRST_GAP = 1  # a pass over numbers so far apart comes first; 1 for none; range 1..100
LOOK_FIRST = False  # whether to look if there is anything to do; choices True, False


def sort(numbers):
    """Return the numbers of a list in ascending order, in a new list."""
    numbers = list(numbers)
    if LOOK_FIRST and is_sorted(numbers):
        return numbers
    if FIRST_GAP > 1:
        insert_all(numbers, FIRST_GAP)
    insert_all(numbers, 1)
    return numbers


def is_sorted(numbers):
    """Whether every number is at least as large as the one before it."""
    return all(numbers[i - 1] <= numbers[i] for i in range(1, len(numbers)))


def insert_all(numbers, gap):
    """Insertion sort of every gap-th number, from each of the first ones on."""
    for i in range(gap, len(numbers)):
        number = numbers[i]
        while i >= gap and numbers[i - gap] > number:
            numbers[i] = numbers[i - gap]
            i -= gap
        numbers[i] = number
