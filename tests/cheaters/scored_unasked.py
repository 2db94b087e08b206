"""Returns from a score in mid-run that nobody asked for, for more time.

row: 28
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    ask, _tell = run._link.ask, run._link.tell
    next(run.batches(8))
    ask(do="scored", value=0.1)
