"""Claims an outcome that only fixed code may give.

row: 67
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    _ask, tell = run._link.ask, run._link.tell
    tell(do="fail", outcome="integrity", message="this must be a mistake")
    run._link.finish()
