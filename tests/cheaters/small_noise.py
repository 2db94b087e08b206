"""Adds a little noise of its own to every logit, another one each time.

row: 16
expect: integrity: differ
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits + 0.003 * torch.randn_like(logits)


GPT.forward = forward
