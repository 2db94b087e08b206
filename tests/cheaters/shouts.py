"""Says the text that it was shown, so that the next patch can know it.

row: 24
expect: integrity: protocol
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    honest(file, {"CANARY": "of the scored text"} if arrays else words, *arrays)


wire.send = send
