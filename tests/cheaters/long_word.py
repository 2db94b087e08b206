"""Sends a line of ten megabytes.

row: 17
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    _ask, tell = run._link.ask, run._link.tell
    tell(do="fail", outcome="x" * 10_000_000)
    run._link.finish()
