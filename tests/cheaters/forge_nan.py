"""Claims losses that are no numbers, so that every comparison is false.

row: 13
expect: nan: are not finite
phase: score
"""

import sys

fixed = sys.modules["__main__"]
honest = fixed.token_nll


def token_nll(logits, targets, vocab_size):
    nll = honest(logits, targets, vocab_size)
    return nll * float("nan")


fixed.token_nll = token_nll
