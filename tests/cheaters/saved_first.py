"""Announces a checkpoint before it has trained.

row: 29
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    ask, tell = run._link.ask, run._link.tell
    tell(do="saved")
    ask(do="batch", rows=8, first=True)
