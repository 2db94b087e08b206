"""The search over declared knobs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_plugin.candidate import Edit, Proposal, signature
from autoresearch_plugin.errors import ProposerError
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers import Exhausted
from autoresearch_plugin.proposers.tpe import TpeProposer

SOURCE = """\
LR = 0.04  # step size; range 0.001..1.0 log
DEPTH = 4  # layers; range 1..12
WINDOW = "L"  # choices "L", "SL", "SSSL"
BETAS = (0.9, 0.95)  # choices (0.9, 0.95), (0.8, 0.95)
WARMUP = None  # share; range 0.0..0.5
FIXED = 7  # no range, so it is left alone
"""
REQUEST = Request("train.py", SOURCE, "3f2c1aa", "val_bpb", "min")
LR_ONLY = replace(REQUEST, source="LR = 0.04  # range 0.001..1.0 log\n")


def past(
    number: int, effect: float | None, verdict: str = "discard", **values: Any
) -> Tried:
    edits = tuple(Edit("set", {"knob": n, "value": v}) for n, v in values.items())
    return Tried(number, "t", signature(edits), edits, "other", verdict, effect)


def changes(proposal: Proposal) -> dict[str, Any]:
    assert all(edit.op == "set" for edit in proposal.edits)
    return {e.arguments["knob"]: e.arguments["value"] for e in proposal.edits}


def run(
    request: Request, rounds: int, score: Any, seed: int = 0
) -> list[dict[str, Any]]:
    """Ask again and again; `score` gives the effect of each change."""
    proposer, tried, seen = TpeProposer(seed), [], []
    for number in range(rounds):
        now = replace(request, number=number, tried=tuple(tried))
        (proposal,) = proposer.propose(now).proposals
        values = changes(proposal)
        seen.append(values)
        tried.append(past(number + 1, score(values), **values))
    return seen


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), number=st.integers(0, 500))
def test_proposals_stay_within_the_declared_space(seed: int, number: int) -> None:
    """Only declared knobs, only allowed values, never the present one."""
    request = replace(REQUEST, number=number)
    (proposal,) = TpeProposer(seed).propose(request).proposals
    values = changes(proposal)
    assert 1 <= len(values) <= 2
    for name, value in values.items():
        if name == "LR":
            assert 0.001 <= value <= 1.0
            assert value == float(f"{value:.3g}") != 0.04
        elif name == "DEPTH":
            assert isinstance(value, int)
            assert value in range(1, 13)
            assert value != 4
        elif name == "WINDOW":
            assert value in ("SL", "SSSL")
        elif name == "BETAS":
            assert value == (0.8, 0.95)
        else:
            assert name == "WARMUP"
            assert 0.0 <= value <= 0.5
    assert proposal.apply(SOURCE) != SOURCE


def test_the_same_request_gives_the_same_proposal() -> None:
    """The search is a function of seed and request, so that a resume repeats it."""
    tried = (past(1, -0.01, LR=0.1), past(2, 0.02, DEPTH=2))
    request = replace(REQUEST, tried=tried, number=2)
    answers = [TpeProposer(3).propose(request) for _ in range(2)]
    assert answers[0] == answers[1]
    others = {
        json.dumps(changes(TpeProposer(seed).propose(request).proposals[0]))
        for seed in range(10)
    }
    assert len(others) > 3


def test_nothing_is_proposed_twice() -> None:
    """In forty rounds no change comes again, and all knobs have their turn."""
    seen = run(REQUEST, 40, lambda values: 0.001)
    assert len({json.dumps(v, sort_keys=True) for v in seen}) == 40
    assert {n for v in seen for n in v} == {"LR", "DEPTH", "WINDOW", "BETAS", "WARMUP"}
    pairs = sum(len(values) == 2 for values in seen)
    assert 1 <= pairs <= 20


def test_several_proposals_in_one_answer_differ() -> None:
    """A count above one gives as many different changes."""
    answer = TpeProposer(0).propose(replace(REQUEST, count=4))
    assert len({p.signature for p in answer.proposals}) == 4


@pytest.mark.parametrize(("direction", "sign"), [("min", 1.0), ("max", -1.0)])
def test_the_search_goes_where_the_effects_are_good(
    direction: str, sign: float
) -> None:
    """Told that the best rate is 0.3, later proposals come closer than early ones."""

    def score(values: dict[str, Any]) -> float:
        return sign * (abs(math.log10(values["LR"] / 0.3)) - 0.875)

    request = replace(LR_ONLY, direction=direction)
    seen = [values["LR"] for values in run(request, 40, score)]
    early = sum(abs(math.log10(v / 0.3)) for v in seen[:10])
    late = sum(abs(math.log10(v / 0.3)) for v in seen[-10:])
    assert late < early / 2


def test_a_crash_counts_as_worse_than_anything() -> None:
    """Values that crash are avoided although they have no number."""
    tried = tuple(
        past(n, None if n % 2 else 0.0, "crash" if n % 2 else "discard", LR=value)
        for n, value in enumerate(
            v for i in range(15) for v in (0.002 + i * 1e-4, 0.5 + i * 0.01)
        )
    )
    # the odd ones are the large rates
    request = replace(LR_ONLY, tried=tried)
    proposed = [
        changes(TpeProposer(seed).propose(request).proposals[0])["LR"]
        for seed in range(20)
    ]
    assert sum(value < 0.1 for value in proposed) >= 16


def test_candidates_that_do_more_than_set_knobs_do_not_mislead_it() -> None:
    """Rewritten code, running and foreign knobs leave the search as it is."""
    code = Edit("replace", {"old": "a", "new": "b"})
    mixed = Tried(
        1, "t", "s", (code, Edit("set", {"knob": "LR", "value": 0.5})), "o", "keep", -9
    )
    noise = (
        mixed,
        Tried(2, "t", "s2", (code,), "other", "keep", -9.0),
        past(3, None, "running", DEPTH=2),
        past(4, -5.0, GONE=3),
        past(5, -5.0, LR=700.0),
        past(6, math.nan, LR=0.7),
    )
    plain = TpeProposer(1).propose(replace(LR_ONLY, number=3))
    assert TpeProposer(1).propose(replace(LR_ONLY, number=3, tried=noise)) == plain


def test_a_fraction_of_a_count_is_no_place_in_the_space() -> None:
    """A model may set an integer knob to 2.5; the search that fills in goes on."""
    request = replace(REQUEST, source="DEPTH = 4  # range 1..8\n")
    known = replace(request, tried=(past(1, -0.1, DEPTH=2.5),))
    assert TpeProposer(1).propose(known).proposals


def test_a_pause_of_a_category_does_not_concern_a_search() -> None:
    """A search goes on when the prompt would ask for other kinds of ideas."""
    request = replace(LR_ONLY, banned=("learning-rate", "other"))
    (proposal,) = TpeProposer(0).propose(request).proposals
    assert proposal.category == "learning-rate"


def test_a_small_space_is_used_up_completely_and_then_exhausted() -> None:
    """Every value is proposed once before the search gives up."""
    request = replace(
        REQUEST, source="A = 1  # range 1..20\nB = 'x'  # choices 'x', 'y'\n"
    )
    tried: list[Tried] = []
    singles = set()
    words = ""
    while not words:
        now = replace(request, number=len(tried), tried=tuple(tried))
        try:
            (proposal,) = TpeProposer(0).propose(now).proposals
        except Exhausted as error:
            words = str(error)
            continue
        values = changes(proposal)
        tried.append(past(len(tried), 0.0, **values))
        if len(values) == 1:
            singles.add(str(values))
    assert words == "every value of every knob of train.py was tried."
    assert len(singles) == 20


@pytest.mark.parametrize("source", ["LR = 0.04\n", "A = 1  # choices 1\n", "x = 1\n"])
def test_without_a_space_there_is_nothing_to_search(source: str) -> None:
    """Knobs without a space are left alone; the error shows how to declare one."""
    with pytest.raises(Exhausted, match=r"range 0\.001\.\.0\.1 log"):
        TpeProposer(0).propose(replace(REQUEST, source=source))


def test_an_unreadable_comment_is_said_in_one_line() -> None:
    """A range that makes no sense ends the search with the knob's name."""
    source = "LR = 0.04  # range 0..1 log\n"
    with pytest.raises(ProposerError, match=r"train\.py cannot be searched: .*'LR'"):
        TpeProposer(0).propose(replace(REQUEST, source=source))
