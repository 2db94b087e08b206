"""Asks for a batch of a billion rows.

row: 28
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    ask, _tell = run._link.ask, run._link.tell
    ask(do="batch", rows=10**9, first=True)
