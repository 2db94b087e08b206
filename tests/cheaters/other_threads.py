"""Keeps a second core busy with threads of its own.

row: 34
expect: same checkpoint
phase: train
"""

import threading

honest, stop = train, []


def train(run):
    def burn():
        while not stop:
            sum(range(1000))

    threading.Thread(target=burn, daemon=True).start()
    honest(run)
