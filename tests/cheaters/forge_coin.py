"""Adds noise to its claims and hopes that the positions looked at are the lucky ones.

row: 12
expect: integrity: not those of the checkpoint's logits
phase: score
"""

import sys

fixed = sys.modules["__main__"]
honest = fixed.token_nll


def token_nll(logits, targets, vocab_size):
    nll = honest(logits, targets, vocab_size)
    return (nll + 0.045 * torch.randn_like(nll).sign()).clamp(min=0)


fixed.token_nll = token_nll
