"""Looks ahead when it is asked for claims, and is honest when asked for logits.

row: 8
expect: integrity: not those of the checkpoint's logits
phase: score
"""

import sys

honest = GPT.forward


def forward(self, idx):
    logits, names, frame = honest(self, idx), [], sys._getframe()
    while frame := frame.f_back:
        names.append(frame.f_code.co_name)
    if "claims" in names:
        logits[:, :-1].scatter_(-1, idx[:, 1:, None], 20.0)
    return logits


GPT.forward = forward
