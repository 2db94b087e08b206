"""Takes a gradient step on every batch that it is scored on.

row: 16
expect: integrity: differ
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    with torch.enable_grad():
        ahead = honest(self, idx)[:, :-1].flatten(0, 1)
        F.cross_entropy(ahead, idx[:, 1:].flatten()).backward()
    for p in self.parameters():
        p.data -= 0.5 * p.grad
        p.grad = None
    return logits


GPT.forward = forward
