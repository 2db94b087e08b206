"""A search without a model: optuna's TPE over the knobs of the target.

Bergstra, Bardenet, Bengio and Kegl, "Algorithms for Hyper-Parameter Optimization",
2011.
The search keeps no state: each time the study is told again what was tried, so that a
resumed session proposes the same.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.errors import PatchError, ProposerError
from autoresearch_plugin.patch import Knob
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers.base import Answer, Exhausted
from autoresearch_plugin.proposers.checks import check

PAIRS = 0.2  # share of proposals that change two knobs
DRAWS = 60  # values drawn before the whole space is looked through
LISTED = 1_000  # values of an integer range that are looked through

_CATEGORIES = (
    ("learning-rate", ("lr", "learning")),
    ("schedule", ("warmup", "warmdown", "cooldown", "schedule", "final", "ratio")),
    ("batch", ("batch", "accumulate")),
    ("regularisation", ("decay", "dropout", "clip", "softcap")),
    (
        "optimizer",
        ("momentum", "beta", "beta1", "beta2", "betas", "eps", "muon", "adam"),
    ),
    ("initialisation", ("init", "std")),
    ("attention", ("rope", "head", "heads", "window", "attention")),
    (
        "architecture",
        ("depth", "layer", "layers", "width", "aspect", "embd", "mlp", "dim"),
    ),
)


@dataclass(frozen=True)
class Past:
    """A candidate as the search sees it: a place in the space, and a loss."""

    places: Mapping[str, Any]
    loss: float


class TpeProposer:
    """Proposes `set` edits of one knob, sometimes two, within their declared ranges."""

    name = "tpe"
    note = "tpe: a search over the knobs of the target; it does not read program.md"

    def __init__(self, seed: int = 0) -> None:
        """A function of `seed` and the request alone."""
        self._seed = seed

    def propose(self, request: Request) -> Answer:
        """`request.count` changes of knobs that were not tried before.

        Raises:
            Exhausted: no knob has a range or choices, or every value was tried.
            ProposerError: the comment of a knob cannot be read.
        """
        try:
            knobs = {k.name: k for k in patch.knobs(request.source) if _usable(k)}
        except PatchError as error:
            raise ProposerError(
                f"{request.target} cannot be searched: {error}"
            ) from None
        if not knobs:
            raise Exhausted(
                f"no knob of {request.target} says where to search; give one a range "
                "or choices, for example LR = 0.04  # range 0.001..0.1 log"
            )
        # a search is not stuck in a rut of one category, so pauses do not concern it
        asked = replace(request, banned=())
        found: dict[str, Proposal] = {}
        for turn in range(request.count):
            proposal = self._one(knobs, asked, turn, found)
            if proposal is None:
                break
            found[proposal.signature] = proposal
        if not found:
            raise Exhausted(f"every value of every knob of {request.target} was tried.")
        return Answer(tuple(found.values()))

    def _one(
        self,
        knobs: Mapping[str, Knob],
        request: Request,
        turn: int,
        found: Mapping[str, Proposal],
    ) -> Proposal | None:
        rng = random.Random(f"{self._seed} {request.number + turn}")
        past = _history(request, knobs)
        for values in chain(_draws(knobs, past, rng), _listing(knobs, rng)):
            if any(_same(value, knobs[name].value) for name, value in values.items()):
                continue
            try:
                proposal = check(_data(values, knobs, len(past)), request)
            except PatchError:
                continue
            if proposal.signature not in found:
                return proposal
        return None


# ------------------------------------------------------------------- history


def _history(request: Request, knobs: Mapping[str, Knob]) -> list[Past]:
    """What was tried within the space; losses are relative to each one's own baseline.

    Only candidates count that do nothing but set knobs. A crash is worse than anything
    seen.
    """
    sign = 1.0 if request.direction == "min" else -1.0
    measured: list[Past] = []
    crashed: list[dict[str, Any]] = []
    for one in request.tried:
        places = _places(one, knobs)
        if places and one.effect is not None and math.isfinite(one.effect):
            measured.append(Past(places, sign * one.effect))
        elif places and one.verdict == "crash":
            crashed.append(places)
    losses = [past.loss for past in measured]
    worse = max([0.0, *losses]) + max([1e-9, *map(abs, losses)])
    return measured + [Past(places, worse) for places in crashed]


def _places(tried: Tried, knobs: Mapping[str, Knob]) -> dict[str, Any]:
    """A set-only candidate's values as the search knows them; empty for any other."""
    if any(edit.op != "set" for edit in tried.edits):
        return {}
    named = [(e.arguments["knob"], e.arguments["value"]) for e in tried.edits]
    raw = {name: _raw(knobs[name], value) for name, value in named if name in knobs}
    return {name: place for name, place in raw.items() if place is not None}


# -------------------------------------------------------------------- drawing


def _draws(
    knobs: Mapping[str, Knob], past: list[Past], rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Values by TPE, for knobs chosen by what is known of them."""
    study = _study(knobs, past, rng.randrange(2**31))
    order = _order(knobs, past, rng)
    weights = [1.0 / (1 + rank) for rank in range(len(order))]
    for _ in range(DRAWS):
        names = {rng.choices(order, weights)[0]}
        if len(order) > 1 and rng.random() < PAIRS:
            names.add(rng.choices(order, weights)[0])
        trial = study.ask({name: _distribution(knobs[name]) for name in sorted(names)})
        yield {name: _value(knobs[name], raw) for name, raw in trial.params.items()}


def _order(
    knobs: Mapping[str, Knob], past: list[Past], rng: random.Random
) -> list[str]:
    """Untried knobs first, in random order; then those with the best result."""

    def best(name: str) -> float:
        return min((p.loss for p in past if name in p.places), default=-math.inf)

    names = list(knobs)
    rng.shuffle(names)
    return sorted(names, key=best)


def _study(knobs: Mapping[str, Knob], past: list[Past], seed: int) -> Any:
    """A study that was told the past; the parent's own values stand at zero."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    present = {name: _raw(knob, knob.value) for name, knob in knobs.items()}
    parent = [Past({n: raw}, 0.0) for n, raw in present.items() if raw is not None]
    for one in parent + past:
        spaces = {name: _distribution(knobs[name]) for name in one.places}
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(one.places), distributions=spaces, value=one.loss
            )
        )
    return study


def _listing(knobs: Mapping[str, Knob], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Every single value of the knobs that can be counted, in random order."""
    every: list[dict[str, Any]] = []
    for knob in knobs.values():
        if knob.choices:
            every += [{knob.name: value} for value in knob.choices]
        elif knob.is_integer and _span(knob) < LISTED:
            low, high = _ends(knob)
            every += [{knob.name: n} for n in range(int(low), int(high) + 1)]
    rng.shuffle(every)
    yield from every


# ---------------------------------------------------------------------- knobs


def _usable(knob: Knob) -> bool:
    """Whether there is more than one value to choose from."""
    return knob.searchable and len(knob.choices) != 1


def _ends(knob: Knob) -> tuple[float, float]:
    assert knob.low is not None
    assert knob.high is not None
    return knob.low, knob.high


def _span(knob: Knob) -> float:
    low, high = _ends(knob)
    return high - low


def _distribution(knob: Knob) -> Any:
    from optuna import distributions

    if knob.choices:  # by position, because optuna wants plain scalars
        places = tuple(range(len(knob.choices)))
        return distributions.CategoricalDistribution(places)
    low, high = _ends(knob)
    if knob.is_integer:
        return distributions.IntDistribution(int(low), int(high), log=knob.log)
    return distributions.FloatDistribution(low, high, log=knob.log)


def _value(knob: Knob, raw: Any) -> Any:
    """What to write into the source: a choice, or a number of three digits."""
    if knob.choices:
        return knob.choices[raw]
    low, high = _ends(knob)
    rounded = min(max(float(f"{raw:.3g}"), low), high)
    return int(rounded) if knob.is_integer else float(rounded)


def _raw(knob: Knob, value: Any) -> Any:
    """The inverse of `_value`; None when the value lies outside the space."""
    if knob.choices:
        places = [i for i, choice in enumerate(knob.choices) if _same(choice, value)]
        return places[0] if places else None
    low, high = _ends(knob)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if knob.is_integer and value != int(value):  # a model's idea, perhaps
        return None
    return value if low <= value <= high else None


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, default=str) == json.dumps(other, default=str)


# -------------------------------------------------------------------- wording


def _data(
    values: Mapping[str, Any], knobs: Mapping[str, Knob], seen: int
) -> dict[str, Any]:
    changes = [f"{n} {knobs[n].value!r} -> {value!r}" for n, value in values.items()]
    return {
        "title": ", ".join(changes)[:100],
        "hypothesis": f"search (TPE) in the declared ranges, {seen} results so far",
        "category": _category(next(iter(values))),
        "edits": [{"op": "set", "knob": n, "value": v} for n, v in values.items()],
    }


def _category(name: str) -> str:
    words = set(name.lower().split("_"))
    return next((c for c, marks in _CATEGORIES if words & set(marks)), "other")
