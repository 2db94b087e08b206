"""Claims the outcome that the harness gives to a machine in trouble.

row: 67
expect: assert: a full disk
phase: train
"""


def train(run):
    _ask, tell = run._link.ask, run._link.tell
    tell(do="fail", outcome="env", message="a full disk")
    run._link.finish()
