"""Answers for one row of the many that it was asked about.

row: 19
expect: integrity: protocol
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    honest(file, {"rows": 1} if arrays else words, *(x[:1] for x in arrays))


wire.send = send
