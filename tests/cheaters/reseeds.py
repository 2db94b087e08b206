"""Chooses the seed that it likes best; more seeds of the harness' own decide.

row: 21
expect: within budget
phase: train
"""

honest = train


def train(run):
    torch.manual_seed(137)
    honest(run)
