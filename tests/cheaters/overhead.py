"""What verification costs: CPU seconds of claims and 512 verified positions over those
of a plain evaluation in one process, without the start of Python and torch.

    PYTHONPATH=. python tests/cheaters/overhead.py [ROUNDS] [POSITIONS]
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from nanochat_core import evaluate, profiles, server
from nanochat_core.prepare import prepare
from nanochat_core.producer import Model
from nanochat_core.verify import Verifier

ROOT = Path(__file__).resolve().parents[2]


def cpu():
    """CPU seconds of this process and of all its children that have ended."""
    ours = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours + children.ru_utime + children.ru_stime


def measured(action):
    before = cpu()
    found = action()
    return cpu() - before, found


def main(rounds=5, positions=512):
    profile = profiles.resolve("cpu")
    with tempfile.TemporaryDirectory(prefix="overhead-") as base:
        prepared = prepare(
            "embedded", 1024, Path(base) / "data", say=lambda words: None
        )
        spec = {
            "source": str(ROOT / "nanochat_core" / "train.py"),
            "source_sha256": None,
            "scratch": base,
            "checkpoint": f"{base}/model.safetensors",
            "seed": 0,
            "threads": 1,
            "budget": {"unit": "steps", "amount": 30},
        }
        server.train(profile, prepared, spec, lambda event: None)
        scored = evaluate.Scored(profile, prepared, "val")
        job = {key: spec[key] for key in ("source", "checkpoint", "threads")}
        model = Model({**job, "profile": asdict(profile)})
        model.rehearse()

        def idle():
            with evaluate.Producer(profile, spec):
                pass

        def plain():
            for rows in evaluate.batches(scored.windows, profile.eval_batch_size):
                model.claims(rows)

        def verified():
            claims, (_, nll) = measured(lambda: evaluate.score(profile, prepared, spec))
            verifier = Verifier(profile, prepared, spec, nll)
            return claims, measured(lambda: verifier.run(positions))[0]

        table = []
        for number in range(1, rounds + 1):
            (start, _), (one, _) = measured(idle), measured(plain)
            claims, answers = verified()
            table.append((one, claims - start, answers - 2 * start))
            figures = [f"{x:.2f}" for x in (start, *table[-1])]
            print(f"{number}: start {figures[0]}, plain {figures[1]}, ", end="")
            print(f"claims {figures[2]}, verification {figures[3]}", flush=True)
    plain, claims, answers = (
        statistics.median(column) for column in zip(*table, strict=True)
    )
    ratio = statistics.median((c + a) / p for p, c, a in table)
    figures = {
        "plain": plain,
        "claims": claims,
        "verification": answers,
        "ratio": ratio,
    }
    print(json.dumps({key: round(x, 3) for key, x in figures.items()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
