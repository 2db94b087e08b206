"""Reports numbers that nobody can calculate with: NaN, True, 10**3000, minus one.

row: 67
expect: same checkpoint
phase: train
"""

honest = train


def train(run):
    odd = {"depth": 10**3000, "peak_vram_mb": -1, "flops_per_token": float("nan")}
    run._facts = lambda model: {**odd, "num_steps": True, "training_seconds": -5}
    honest(run)
