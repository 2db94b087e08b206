"""Answers with logits of 1e37, whose exponentials overflow.

row: 13
expect: gains nothing
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits * 1e36


GPT.forward = forward
