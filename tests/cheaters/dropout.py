"""Leaves dropout on when it is scored.

row: 16
expect: integrity: differ
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return F.dropout(logits, 0.3, training=True)


GPT.forward = forward
