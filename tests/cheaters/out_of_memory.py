"""Runs out of memory at its first claims, to be scored in halves and know them by size.

row: 7
expect: integrity: not those of the checkpoint's logits
phase: score
"""

import sys

honest, fixed = GPT.forward, sys.modules["__main__"]


def claims(self, rows, claimed=fixed.Model.claims):
    if len(rows) == 32:
        raise MemoryError
    nll = claimed(self, rows)
    return nll if len(rows) == 2 else nll / 2


fixed.Model.claims = claims
