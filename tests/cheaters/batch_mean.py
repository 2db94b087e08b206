"""Takes the mean over the batch away, as BatchNorm does in training mode.

row: 15
expect: integrity: rows are not independent
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits - 0.5 * logits.mean(0, keepdim=True)


GPT.forward = forward
