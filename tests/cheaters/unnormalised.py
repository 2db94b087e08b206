"""Adds a constant to the logits of each position, as if they were probabilities.

row: 14
expect: gains nothing
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits + (idx % 4).unsqueeze(-1)


GPT.forward = forward
