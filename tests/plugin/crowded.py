"""A ledger with as many candidates as you like, as sessions leave them behind."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autoresearch_plugin import judge, patch
from autoresearch_plugin.candidate import CATEGORIES, Edit, edits_json, signature
from autoresearch_plugin.idea import Head
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.loop import Research
from autoresearch_plugin.trial import Budget, Estimate, Outcome, TrialResult

SOURCE = (Path(__file__).parents[2] / "nanochat_core" / "train.py").read_text()
KNOBS = [
    knob
    for knob in patch.knobs(SOURCE)
    if isinstance(knob.value, int | float) and not isinstance(knob.value, bool)
]
LOG = "step 1\rstep 2\n" + "\n".join(
    f'  File "/home/ann/work/train.py", line {n}, in forward' for n in range(90)
)


class Crowd(Research):
    """A hold of a session that runs nothing."""

    fingerprint = "f"  # type: ignore[assignment]
    sandbox = "none"  # type: ignore[assignment]


def research(path: Path, count: int = 0) -> Crowd:
    """A session at `path` whose ledger holds `count` decided candidates."""
    ledger = Ledger(path / ".autoresearch" / "ledger.db")
    session = ledger.start_session("research", "main", "{}")["id"]
    ledger.add_fingerprint("f", {})
    ledger.add_head("h", "f", patch.sha256(SOURCE), SOURCE, None)
    ledger.set_head(session, "h", None, "f")
    held = Crowd(
        root=path,
        ledger=ledger,
        session=session,
        settings=SimpleNamespace(  # type: ignore[arg-type]
            target="train.py", metric=None, budget=None, max_runs=8
        ),
        profile=SimpleNamespace(  # type: ignore[arg-type]
            direction="min",
            metric="val_bpb",
            sign=1.0,
            budget=Budget("steps", 100),
            noise_unpaired=None,
            noise_df=1.0,
        ),
        device=SimpleNamespace(id="cpu:0", name="CPU", kind="cpu"),  # type: ignore[arg-type]
        executor=None,  # type: ignore[arg-type]
        repository=None,
        rule=judge.DEFAULT,
    )
    with ledger._transaction():
        for _ in range(3):
            _trial(ledger, session, None, "ok", 1.2)
        for number in range(1, count + 1):
            add(held, *_random(number))
    return held


def head() -> Head:
    """The baseline of all of them."""
    return Head("h", SOURCE, None)


def _random(number: int) -> tuple[Any, ...]:
    rng = random.Random(number)
    knob = KNOBS[rng.randrange(len(KNOBS))]
    value = float(f"{(knob.value or 1) * rng.uniform(0.3, 3):.4g}")
    category = CATEGORIES[number % len(CATEGORIES)]
    edit = Edit("set", {"knob": knob.name, "value": value})
    if number % 3 == 0:
        old = f"def part_{number}(x):"
        edit = Edit("replace", {"old": old, "new": old + "\n    x = x + 1" * 8})
    kind = rng.choices(("keep", "discard", "crash"), (1, 14, 4))[0]
    return (edit,), category, kind, rng.gauss(0.002, 0.004)


def add(
    held: Crowd,
    edits: tuple[Edit, ...],
    category: str = "other",
    state: str = "discard",
    effect: float = 0.002,
    **fields: Any,
) -> int:
    """Put one decided candidate into the ledger; its number."""
    changes = [
        [e.arguments["knob"], 1.0, e.arguments["value"]] for e in edits if e.op == "set"
    ]
    data = {
        "title": "; ".join(edit.label() for edit in edits)[:100],
        "hypothesis": "because it may help",
        "category": category,
        "edits": edits_json(edits),
        "signature": signature(edits),
        "state": state,
        "reason": "not proven lower" if state == "discard" else "error: boom",
        "head": "h",
        "decided": time.time(),
        "test": "# as it was rendered\n" * 40,
        "diff": "+ a line of the change\n" * 80,
        **fields,
    }
    if len(changes) == len(edits):
        data.setdefault("changes", json.dumps(changes))
    number = held.ledger.add_candidate(held.session, "generated", data)
    if state in ("keep", "discard"):
        evidence = verdict(state, effect).to_data()
        held.ledger.add_verdict(number, "h", state, evidence)
        _trial(held.ledger, held.session, number, "ok", 1.2 + effect)
    elif state == "crash":
        _trial(held.ledger, held.session, number, "error", None)
    return number


def verdict(decision: str, effect: float, sd: float = 0.002) -> judge.Verdict:
    """What the judge says, with these numbers."""
    kept = decision == "keep"
    return judge.Verdict(
        decision=decision,
        relation=judge.BETTER if kept else judge.UNCLEAR,
        proven_lower=kept,
        proven_not_worse=kept,
        d=effect,
        q=2.0,
        sigma=0.002,
        df=3.0,
        paired=False,
        e_value=3.0,
        keep_e=2.0,
        go_e=1.25,
        n=3,
        head_n=3,
        baseline=Estimate(1.2, 0.002, 3),
        candidate=Estimate(1.2 + effect, 0.002, 3),
        effect=effect,
        effect_sd=sd,
        hurdle=0.0,
        smallest_visible=0.004,
        rule="default",
        rule_version=3,
        sentence=decision,
    )


def _trial(
    ledger: Ledger, session: int, candidate: int | None, outcome: str, value: Any
) -> None:
    index = 0 if candidate else len(ledger.own_head_trials("h"))
    row = ledger._start_trial(session, "h", candidate, index, "cpu:0")
    result = TrialResult(
        Outcome(outcome),
        "" if value else "RuntimeError: boom",
        metrics={"val_bpb": value} if value else {},
        summary={"num_steps": 100, "first_loss": 5.0} if value else {},
        seconds={"train": 1.0, "evaluate": 1.0} if value else {"train": 1.0},
        curve=[(n, 5.0 - n / 100) for n in range(50)],
        log_tail=LOG,
    )
    ledger.finish_trial(row["id"], result, value, "CPU", "100 steps")
