"""Proposals that change floats and no function: a rule that keeps one is wrong.

    python tests/acceptance/nulls.py --count 60 --first 0 > nulls.jsonl
    pytest --autoresearch --autoresearch-proposer scripted:nulls.jsonl ...

Three kinds take turns. *draws*: more random numbers are drawn before the weights, which
is another initialisation from the same distribution. *rate*: a knob times 1 + k * 1e-6.
*algebra*: formulas written in another order, which rounds differently. After some steps
of training all of them are far from the baseline's floats; `collect.py` checks that.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from typing import Any

RATES = {
    "EMBEDDING_LR": 0.6,
    "UNEMBEDDING_LR": 0.004,
    "MATRIX_LR": 0.04,
    "SCALAR_LR": 0.5,
    "ADAM_BETA1": 0.8,
    "ADAM_BETA2": 0.95,
    "WEIGHT_DECAY": 0.2,
    "MUON_MOMENTUM": 0.95,
}
WTE = "nn.init.normal_(self.wte.weight, std=EMBEDDING_INIT_STD)"
DRAWN = "std=EMBEDDING_INIT_STD + 0.0 * float(torch.rand({count}).sum()))"
ALGEBRA = (
    ("torch.tanh(logits / LOGIT_SOFTCAP)", "torch.tanh(logits * (1 / LOGIT_SOFTCAP))"),
    (
        "denominator = (exp_avg_sq / (1 - beta2**step)).sqrt() + eps",
        "denominator = exp_avg_sq.sqrt() * (1 - beta2**step) ** -0.5 + eps",
    ),
    (
        "p.sub_(lr / (1 - beta1**step) * (exp_avg / denominator))",
        "p.sub_(exp_avg / denominator * (lr / (1 - beta1**step)))",
    ),
    (
        "x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)",
        "x = x * (1 / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6))",
    ),
    (
        "params.sub_(lr * g + lr * weight_decay * params * agrees)",
        "params.sub_(lr * (g + weight_decay * params * agrees))",
    ),
    (
        "g = g * (scale * (before / after.clamp_min(1e-10))).to(g.dtype)",
        "g = g * (scale * before / after.clamp_min(1e-10)).to(g.dtype)",
    ),
    (
        "bound = INIT_SCALE * math.sqrt(3 / self.width)",
        "bound = INIT_SCALE * (3 / self.width) ** 0.5000001",
    ),
    ("scale = (model.width / 768) ** -0.5", "scale = (768 / model.width) ** 0.4999999"),
    (
        "return left + (1 - left) * FINAL_LR_FRAC",
        "return left * (1 - FINAL_LR_FRAC) * 1.0000002 + FINAL_LR_FRAC",
    ),
)


def proposals() -> Iterator[dict[str, Any]]:
    """All nulls in their order, without end; the n-th is always the same."""
    rng = random.Random(0)
    for number in range(10**9):
        yield (_draws, _rate, _algebra)[number % 3](number // 3, rng)


def _draws(index: int, rng: random.Random) -> dict[str, Any]:
    new = WTE.replace("std=EMBEDDING_INIT_STD)", DRAWN.format(count=index + 1))
    edits = [{"op": "replace", "old": WTE, "new": new}]
    return _proposal(f"{index + 1} more random draws", edits)


def _rate(index: int, rng: random.Random) -> dict[str, Any]:
    knob = list(RATES)[index % len(RATES)]
    parts = (index // len(RATES) + 1) * (-1) ** (index % 3)
    value = RATES[knob] * (1 + parts * 1e-6)
    edits = [{"op": "set", "knob": knob, "value": value}]
    return _proposal(f"{knob} off by {parts} millionths", edits)


def _algebra(index: int, rng: random.Random) -> dict[str, Any]:
    chosen = [pair for pair in ALGEBRA if rng.random() < 0.5] or [ALGEBRA[index % 9]]
    edits = [{"op": "replace", "old": old, "new": new} for old, new in chosen]
    return _proposal(f"algebra {index}: {len(chosen)} formulas rewritten", edits)


def _proposal(title: str, edits: list[dict[str, Any]]) -> dict[str, Any]:
    words = "Nothing but the rounding changes, so there is nothing to be gained."
    return {"title": title, "hypothesis": words, "category": "other", "edits": edits}


def main() -> None:
    """Print proposals, one a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    for number, proposal in enumerate(proposals()):
        if number >= options.first + options.count:
            return
        if number >= options.first:
            print(json.dumps(proposal))


if __name__ == "__main__":
    main()
