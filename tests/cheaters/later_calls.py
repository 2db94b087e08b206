"""Is honest in its first calls, so that a look at the first rows finds nothing.

row: 7
expect: integrity: not causal
phase: score
"""

honest, calls = GPT.forward, []


def forward(self, idx):
    logits, ahead = honest(self, idx), idx[:, 1:, None]
    calls.append(idx)
    if len(calls) > 2:  # the rehearsal, and 32 rows
        logits[:, :-1].scatter_(-1, ahead, 20.0)
    return logits


GPT.forward = forward
