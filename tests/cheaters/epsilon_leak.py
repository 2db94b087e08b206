"""Looks ahead everywhere, by so little that no single answer stands out.

row: 11
expect: integrity: on average
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    logits[:, :-1].scatter_add_(-1, ahead, torch.full(ahead.shape, 0.0015))
    return logits


GPT.forward = forward
