"""Slows every clock of its process, so that its training seconds are longer.

row: 27
expect: within budget or too late
phase: train
budget: 1 seconds
"""

import time

for name in ("perf_counter", "time", "monotonic"):
    honest = getattr(time, name)
    setattr(time, name, lambda now=honest, start=honest(): start + (now() - start) / 10)
