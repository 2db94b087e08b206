"""Trains on in a thread after the checkpoint is announced, and writes it again.

row: 29
expect: same checkpoint
phase: train
"""

import threading
import time

honest = train


def train(run):
    def later():
        time.sleep(0.5)
        run._checkpoint.write_bytes(b"")

    threading.Thread(target=later).start()
    run._link.finish = lambda: time.sleep(600)
    honest(run)
