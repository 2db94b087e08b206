"""Takes batches while the clock stands still for its score.

row: 28
expect: integrity: does not keep to its protocol
phase: train
interim: 0.1
"""


def train(run):
    ask, _tell = run._link.ask, run._link.tell
    list(zip(run.batches(8), "ab", strict=False))
    assert ask(do="interim")["rows"] == 31
    run._link.array("uint16", 31, 65), run._link.array("uint16", 31, 64)
    ask(do="batch", rows=8, first=True)
