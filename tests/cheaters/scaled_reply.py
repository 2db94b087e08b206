"""Changes the numbers on their way out: logits sharper, losses smaller.

row: 2
expect: integrity: not those of the checkpoint
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    honest(file, words, *(x / 2 for x in arrays))


wire.send = send
