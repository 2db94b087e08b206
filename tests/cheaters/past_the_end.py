"""Asks for further parts of its last step, which never ends.

row: 29
expect: within budget
phase: train
"""


def train(run):
    model, _served = build_model(run.config), 0
    list(run.batches(8))
    while "rows" in run._link.ask(do="batch", rows=8, first=False):
        run._link.array("uint16", 8, 65)
    run.save(model)
