"""Writes an event to every descriptor that it has inherited.

row: 42
expect: integrity: does not keep to its protocol
phase: train
"""

import contextlib
import os


def train(run):
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, b'{"event": "result", "metrics": {"val_bpb": 0.1}}\n')
