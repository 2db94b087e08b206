"""Leaves a pickle in place of the checkpoint.

row: 61
expect: integrity: its header claims
phase: train
"""

import pickle


def train(run):
    next(run.batches(8))
    run._facts = lambda model: {}
    run._write = lambda model, path: path.write_bytes(pickle.dumps(run.config) * 9)
    run.save(None)
