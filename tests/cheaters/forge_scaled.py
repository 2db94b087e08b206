"""Claims half its loss.

row: 12
expect: integrity: not those of the checkpoint's logits
phase: score
"""

import sys

fixed = sys.modules["__main__"]
honest = fixed.token_nll


def token_nll(logits, targets, vocab_size):
    nll = honest(logits, targets, vocab_size)
    return nll / 2


fixed.token_nll = token_nll
