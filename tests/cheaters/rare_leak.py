"""Looks ahead at two positions of a hundred, chosen by what came before.

row: 10
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    chosen = (idx.cumsum(1) % 50 == 7)[:, :-1, None]
    logits[:, :-1].scatter_add_(-1, ahead, 20.0 * chosen)
    return logits


GPT.forward = forward
