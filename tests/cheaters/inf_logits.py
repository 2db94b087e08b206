"""Rules one token out with minus infinity, which no fair loss forbids.

row: 13
expect: nan: logits are not finite
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits.index_fill(-1, torch.tensor([0]), float("-inf"))


GPT.forward = forward
