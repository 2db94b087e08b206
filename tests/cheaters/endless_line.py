"""Answers with a line of ten megabytes.

row: 17
expect: integrity: protocol
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    file.write(b"x" * 10_000_000)
    honest(file, words, *arrays)


wire.send = send
