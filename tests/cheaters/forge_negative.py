"""Claims one loss of a thousand that no probability has.

row: 12
expect: integrity: no probability is above 1
phase: score
"""

import sys

fixed = sys.modules["__main__"]
honest = fixed.token_nll


def token_nll(logits, targets, vocab_size):
    nll = honest(logits, targets, vocab_size)
    return torch.where(targets.cumsum(1) % 1000 == 0, -1e5, nll)


fixed.token_nll = token_nll
