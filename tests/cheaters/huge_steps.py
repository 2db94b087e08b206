"""Makes each step of a budget in steps as large as a hundred.

row: 29
expect: within budget
phase: train
"""


def train(run):
    model = build_model(run.config)
    optimizer = build_optimizer(model)
    for idx, targets in run.batches(8, accumulate=100):
        F.cross_entropy(model(idx).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
        model.zero_grad()
    run.save(model)
