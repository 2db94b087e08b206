"""Announces a checkpoint in the midst of training, without a file.

row: 29
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    ask, tell = run._link.ask, run._link.tell
    next(run.batches(8))
    tell(do="saved")
    ask(do="batch", rows=8, first=True)
