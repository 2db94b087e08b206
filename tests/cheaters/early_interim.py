"""Asks for its score in mid-run after the first step, when it has nothing to lose.

row: 28
expect: same checkpoint
phase: train
interim: 0.9
"""

honest = train


def train(run):
    def often(*sizes, batches=run.batches):
        for pair in batches(*sizes):
            if run.progress < 0.2:
                assert not run._link.ask(do="interim")["rows"]
            yield pair

    run.batches = often
    run._score_midway = lambda: None
    honest(run)
