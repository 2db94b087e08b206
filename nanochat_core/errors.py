"""How a run fails: always a `Failure` with one of the contract's outcomes and one sentence that says what to do."""

OUTCOMES = ("syntax", "import", "assert", "nan", "diverged", "oom-train", "oom-eval", "env")


class Failure(Exception):
    """The run cannot go on and knows why."""

    def __init__(self, outcome, message):
        assert outcome in OUTCOMES, outcome
        super().__init__(message)
        self.outcome = outcome
        self.message = message


def is_out_of_memory(error):
    """Whether `error` says that memory ran out, on the device or in the process."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
