"""Names the warm-up a hundred times, each time for another deadline.

row: 28
expect: same checkpoint
phase: train
"""

honest = train


def train(run):
    tell = run._link.tell
    for _ in range(100):
        tell(do="phase", phase="warmup")
    honest(run)
