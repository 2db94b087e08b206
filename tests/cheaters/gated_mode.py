"""Looks ahead in eval mode only.

row: 7
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    if not self.training:
        logits[:, :-1].scatter_(-1, ahead, 20.0)
    return logits


GPT.forward = forward
