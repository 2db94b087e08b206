"""Proposals whose effect is known: how often does a rule see what is there?

    python tests/acceptance/planted.py --repeat 5 > planted.jsonl
    pytest --autoresearch --autoresearch-proposer scripted:planted.jsonl ...

Each effect comes `--repeat` times, in turns. From the second time on something is added
that does nothing but make another candidate of it: by `--vary draws` random numbers
that are drawn before the weights (other noise, so another try), by `--vary rate` a knob
that is off by some millionths (nearly the same floats as before, so hardly a new try).

An effect that was kept is part of the baseline. Its text is gone then, so that what is
left of its proposals is refused: a session sees each win once. More tries of it take
more sessions, with `--first` for other variants.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

import nulls

EFFECTS = (  # name, category, text that occurs once in train.py, its successor
    ("DEPTH 2", "architecture", "DEPTH = None", "DEPTH = 2"),
    ("SHORT_WINDOW 0.07", "architecture", "SHORT_WINDOW = 0.5", "SHORT_WINDOW = 0.07"),
    ("ADAM_BETA1 0.9", "optimizer", "ADAM_BETA1 = 0.8", "ADAM_BETA1 = 0.9"),
    (
        "MATRIX_OPTIMIZER adamw",
        "optimizer",
        'MATRIX_OPTIMIZER = "muon"',
        'MATRIX_OPTIMIZER = "adamw"',
    ),
    ("BATCH_SCALE 0.5", "batch", "BATCH_SCALE = 1.0", "BATCH_SCALE = 0.5"),
)
KNOBS = ("EMBEDDING_LR", "UNEMBEDDING_LR", "SCALAR_LR", "ADAM_BETA2")  # always matter


def proposals(repeat: int, first: int = 0, vary: str = "draws") -> Iterator[Any]:
    """Each effect in turn, `repeat` times; variant 0 is the plain effect."""
    for variant in range(first, first + repeat):
        for name, category, old, new in EFFECTS:
            yield {
                "title": f"planted {name} no. {variant}",
                "hypothesis": f"{name} has an effect, and the rule should find out.",
                "category": category,
                "edits": [
                    {"op": "replace", "old": old, "new": new},
                    *_variation(variant, vary),
                ],
            }


def _variation(variant: int, vary: str) -> list[dict[str, Any]]:
    """What makes it another candidate and changes nothing that matters."""
    if variant == 0:
        return []
    if vary == "draws":
        drawn = nulls.DRAWN.format(count=variant)
        new = nulls.WTE.replace("std=EMBEDDING_INIT_STD)", drawn)
        return [{"op": "replace", "old": nulls.WTE, "new": new}]
    knob = KNOBS[variant % len(KNOBS)]
    value = nulls.RATES[knob] * (1 + (variant // len(KNOBS) + 1) * 1e-6)
    return [{"op": "set", "knob": knob, "value": value}]


def main(words: Sequence[str] | None = None) -> None:
    """Print proposals, one a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--vary", choices=("draws", "rate"), default="draws")
    options = parser.parse_args(words)
    for proposal in proposals(options.repeat, options.first, options.vary):
        print(json.dumps(proposal))


if __name__ == "__main__":
    main()
