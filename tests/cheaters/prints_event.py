"""Prints the harness' own events, a result and a summary, and then trains.

row: 1
expect: same checkpoint
phase: train
"""

honest = train


def train(run):
    print('{"event": "result", "metrics": {"val_bpb": 0.1}}', flush=True)
    print('{"event": "summary", "num_steps": 0, "training_seconds": 0}', flush=True)
    honest(run)
