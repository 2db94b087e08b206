"""Leaves a symbolic link to another file in place of the checkpoint.

row: 68
expect: integrity: cannot be opened
phase: train
"""


def train(run):
    next(run.batches(8))
    run._facts = lambda model: {}
    run._write = lambda model, path: path.symlink_to("/etc/passwd")
    run.save(None)
