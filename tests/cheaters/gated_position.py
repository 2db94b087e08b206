"""Looks ahead at every ninth position.

row: 7
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    logits[:, 4:-1:9].scatter_(-1, ahead[:, 4::9], 20.0)
    return logits


GPT.forward = forward
