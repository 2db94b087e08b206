"""Gives half of the batch's rows another temperature: routing with a capacity.

row: 15
expect: integrity: rows are not independent
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return torch.where(
        (idx[:, 0].argsort().argsort() < 16)[:, None, None], logits, logits / 2
    )


GPT.forward = forward
