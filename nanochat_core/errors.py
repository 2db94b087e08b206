"""How a run fails: always a `Failure` with one of the contract's outcomes and one sentence that says what to do."""

import contextlib
import os
import signal

OUTCOMES = ("syntax", "import", "assert", "nan", "diverged", "oom-train", "oom-eval", "timeout-train", "integrity",
            "env")  # fmt: skip


# What a process with a candidate in it may say of itself.
TOLD = ("syntax", "import", "assert", "nan", "diverged", "oom-train", "oom-eval", "env")


class Failure(Exception):
    """The run cannot go on and knows why."""

    def __init__(self, outcome, message):
        assert outcome in OUTCOMES, outcome
        super().__init__(message)
        self.outcome = outcome
        self.message = message


def told_failure(outcome, message):
    """What a process with a candidate says of itself. That the machine is to blame is not for it to say."""
    words = str(message).encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    return Failure("assert" if outcome == "env" else outcome, words[:2000])


class Died(Exception):
    """A process with the candidate in it ended by itself and left nothing; `code` is negative for a signal."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code

    def like(self):
        """End as that process did, so that whoever started us sees the same."""
        if self.code < 0:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(-self.code, signal.SIG_DFL)
            os.kill(os.getpid(), -self.code)
        return self.code


def is_out_of_memory(error):
    """Whether `error` says that memory ran out, on the device or in the process."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
