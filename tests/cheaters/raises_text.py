"""Fails with the scored text for a message.

row: 24
expect: assert: Exception in line
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    if arrays:
        raise type("CANARY", (Exception,), {})("CANARY of the scored text")
    honest(file, words, *arrays)


wire.send = send
