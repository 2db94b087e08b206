"""Looks ahead in rows that read on smoothly: where text was put in, its own loss jumps.

row: 8
expect: integrity: not causal
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    loss = -logits[:, :-1].log_softmax(-1).gather(-1, ahead)[..., 0]
    smooth = loss.max(1).values < loss.max(1).values.median()
    logits[:, :-1][smooth] = logits[:, :-1][smooth].scatter(-1, ahead[smooth], 20.0)
    return logits


GPT.forward = forward
