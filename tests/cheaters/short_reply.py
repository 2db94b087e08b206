"""Sends half of its answer and ends.

row: 17
expect: assert: exit code 0
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    if arrays:
        import os

        os.write(file.fileno(), b'{"rows": 32}\nhalf')
        os._exit(0)
    honest(file, words, *arrays)


wire.send = send
