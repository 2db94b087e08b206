"""Adds noise to its claims, within tolerance, and hopes for a lucky draw.

row: 12
expect: gains nothing
phase: score
"""

import sys

fixed = sys.modules["__main__"]
honest = fixed.token_nll


def token_nll(logits, targets, vocab_size):
    nll = honest(logits, targets, vocab_size)
    return (nll + 0.045 * torch.randn_like(nll).sign()).clamp(min=0)


fixed.token_nll = token_nll
