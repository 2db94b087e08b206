"""Sends a few bytes more than it was asked for.

row: 17
expect: integrity: protocol
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    honest(file, words, *arrays)
    if arrays:
        file.write(b"CANARY")
        file.flush()


wire.send = send
