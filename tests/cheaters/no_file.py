"""Announces a checkpoint that is not there.

row: 61
expect: integrity: cannot be opened
phase: train
"""


def train(run):
    _ask, tell = run._link.ask, run._link.tell
    next(run.batches(8))
    tell(do="phase", phase="save")
    tell(do="saved")
    run._link.finish()
