"""Equal steps against charged steps: what the charge of the `cpu` profile changes.

    python tests/charged_budget.py [--steps 340] [--output docs/benchmarks/charged.md]

Judges three candidates twice through the plugin's own loop, each time with a ledger of
its own: once with every run given the same number of steps, once with the steps divided
by what a step costs. Takes about half an hour on one core.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "nanochat_core/train.py"
IDEAS = {
    "depth 3 -> 2": ("DEPTH", 2),
    "batch 8 -> 16": ("BATCH_SCALE", 2.0),
    "AdamW beta1 0.8 -> 0.9": ("ADAM_BETA1", 0.9),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = [row for charged in (False, True) for row in judge_all(options, charged)]
    text = report(options, rows)
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0


def judge_all(options, charged):
    from autoresearch_plugin.candidate import Edit
    from autoresearch_plugin.idea import Idea
    from autoresearch_plugin.session import open_session
    from autoresearch_plugin.settings import resolve

    values = {
        "autoresearch_profile": options.profile,
        "autoresearch_budget": f"{options.steps}steps",
        "autoresearch_devices": "cpu",
    }
    settings = resolve(values.get, lambda name: None, os.environ)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("nanochat_core", "experiments"):
            (root / name).symlink_to(ROOT / name)
        opened = open_session(root, settings, os.environ, "plain", print)
        research = opened.research
        research.profile = replace(research.profile, charged=charged)
        for title, (knob, value) in IDEAS.items():
            edits = (Edit("set", {"knob": knob, "value": value}),)
            judgement = research.decide(Idea("hand", title, "", "other", edits))
            row = research.ledger.candidate(judgement.number)
            print(title, "charged" if charged else "equal steps", judgement.reason)
            yield charged, title, row["ratio"], judgement
        opened.close("finished", "done")


def report(options, rows) -> str:
    today = datetime.date.today().isoformat()
    lines = [
        "# Equal steps against charged steps",
        "",
        f"{today}, profile `{options.profile}`, {options.steps} steps for the "
        f"baseline, device {device()}. Written by",
        "`python tests/charged_budget.py --output docs/benchmarks/charged.md`.",
        "",
        "| budget | candidate | cost of a step | verdict |",
        "|---|---|---|---|",
    ]
    for charged, title, ratio, judgement in rows:
        cost = "not measured" if ratio is None else f"{ratio:.3f}"
        words = "charged" if charged else "equal steps"
        verdict = judgement.reason
        if not verdict.startswith(judgement.state):
            verdict = f"{judgement.state}: {verdict}"
        lines.append(f"| {words} | {title} | {cost} | {verdict} |")
    return "\n".join(lines) + "\n"


def device() -> str:
    from autoresearch_plugin.devices import discover

    return discover(os.environ, "cpu")[0].name


if __name__ == "__main__":
    sys.exit(main())
