"""Sends an object that nests four thousand deep.

row: 17
expect: integrity: does not keep to its protocol
phase: train
"""


def train(run):
    _ask, _tell = run._link.ask, run._link.tell
    run._link._requests.write(b"[" * 4000 + b"]" * 4000 + b"\n")
    run._link.finish()
