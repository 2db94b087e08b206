"""Says more after the last answer.

row: 17
expect: integrity: more than it was asked
phase: score
"""

import sys

wire = sys.modules["__main__"].wire
honest = wire.send


def send(file, words, *arrays):
    honest(file, words, *arrays)
    if len(arrays) and len(calls := globals().setdefault("calls", [])) == 1:
        file.write(b"CANARY")
        file.flush()
    elif len(arrays):
        calls.append(words)


wire.send = send
