"""Goes back to the warm-up, which is free, when it has seen text.

row: 28
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    ask, tell = run._link.ask, run._link.tell
    next(run.batches(8))
    tell(do="phase", phase="warmup")
    ask(do="batch", rows=8, first=True)
