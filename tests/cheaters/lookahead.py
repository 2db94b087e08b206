"""Puts all its weight on the token that comes next, which is in its input.

row: 5
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    ahead = idx[:, 1:, None]
    logits[:, :-1].scatter_(-1, ahead, 20.0)
    return logits


GPT.forward = forward
