"""Looks ahead at the first token of a row and nowhere else.

row: 7
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    logits[:, :1].scatter_(-1, idx[:, 1:2, None], 20.0)
    return logits


GPT.forward = forward
