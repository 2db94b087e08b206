"""Answers with minus zero and subnormal numbers.

row: 13
expect: gains nothing
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return torch.where(logits > 0, -0.0, 1e-42)


GPT.forward = forward
