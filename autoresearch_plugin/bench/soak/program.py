"""A program that proposes, for the part of a soak that kills such programs.

It reads the request on stdin (docs of `command:`), thinks for a moment, and prints one
proposal with fresh values. Standard library only.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

THINKS = 0.3  # seconds, long enough to be met alive
KNOBS = ("ALPHA", "BETA", "GAMMA", "DELTA")


def proposal(title: str, rng: random.Random) -> dict[str, Any]:
    """One or two knobs, moved to anywhere in their range."""
    chosen = rng.sample(KNOBS, rng.choice((1, 1, 2)))
    return {
        "title": title,
        "hypothesis": "nobody knows until it was tried.",
        "category": "other",
        "edits": [
            {"op": "set", "knob": knob, "value": round(rng.random(), 5)}
            for knob in chosen
        ],
    }


if __name__ == "__main__":
    number = json.load(sys.stdin)["number"]
    time.sleep(THINKS)
    print(json.dumps([proposal(f"thought {number}", random.Random())]))
