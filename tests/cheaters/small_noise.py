"""Adds a little noise of its own to every logit, within tolerance.

row: 16
expect: gains nothing
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits + 0.003 * torch.randn_like(logits)


GPT.forward = forward
