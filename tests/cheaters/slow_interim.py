"""Trains on few tokens before its score in mid-run, and long on them during it.

row: 28
expect: timeout-train: The checkpoint came after
phase: train
budget: 2 seconds
interim: 0.1
"""

import time


def train(run):
    next(run.batches(1))
    time.sleep(0.3)
    assert run._link.ask(do="interim")["rows"]
    time.sleep(1.5)
    run._link.array("uint16", 31, 65), run._link.array("uint16", 31, 64)
    run._link.ask(do="scored", value=None)
    time.sleep(0.5)
    run.save(build_model(run.config))
