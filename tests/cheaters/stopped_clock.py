"""Stops its clock, and goes on with the batches that it has kept.

row: 29
expect: timeout-train: The checkpoint came after
phase: train
budget: 1 seconds
"""


def train(run):
    model = build_model(run.config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = next(run.batches(8))
    for _ in range(2000):
        loss = F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())
        loss.backward()
        optimizer.step()
    run.save(model)
