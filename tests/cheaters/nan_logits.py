"""Answers with logits that are no numbers.

row: 13
expect: nan: are not finite
phase: score
"""

honest = GPT.forward


def forward(self, idx):
    logits = honest(self, idx)
    return logits * float("nan")


GPT.forward = forward
