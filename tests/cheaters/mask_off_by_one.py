"""Attends to the whole row: an accident rather than a plan.

row: 6
expect: integrity: not causal
phase: score
"""


def attention(q, k, v, window):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
