"""Near misses are tried together; what is proven is the bundle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoresearch_plugin import bundles, judge
from autoresearch_plugin.bundles import LEAST_GAIN, bundle, near_misses, second_gain
from autoresearch_plugin.candidate import Edit, Proposal
from autoresearch_plugin.cli import main
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.patch import Change
from autoresearch_plugin.tried import Tried

SOURCE = "A = 1\nB = 1\nC = 1\nD = 1\n"


def one(number: int, knob: str, gain: float = 1.0, **fields: Any) -> Tried:
    """A discard that was better by `gain` standard errors, of a metric that falls."""
    edits = (Edit("set", {"knob": knob, "value": number + 1}),)
    told: dict[str, Any] = {
        "category": "other",
        "verdict": "discard",
        "effect": -gain,
        "effect_sd": 1.0,
        "changes": (Change(knob, 1, number + 1),),
        **fields,
    }
    return Tried(number, f"idea {number}", f"s{number}", edits, **told)


def numbers(tried: list[Tried], sign: float = 1.0) -> list[int]:
    """Which of them may be parts, in their order."""
    return [near.number for near in near_misses(tried, sign)]


# -------------------------------------------------------------------------- the parts


def test_the_most_promising_come_first() -> None:
    """By their gain in standard errors; what was worse or hardly better is none."""
    tried = [one(1, "A", 0.5), one(2, "B", 1.5), one(3, "C", -1), one(4, "D", 0.2)]
    assert numbers(tried) == [2, 1]
    assert numbers(tried, sign=-1.0) == [3]
    assert LEAST_GAIN == 0.25


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "keep"},
        {"verdict": "crash", "effect": None},
        {"verdict": "discard", "effect": None},
        {"generated": False},
        {"retests": 1},
    ],
)
def test_only_proposals_that_missed_are_parts(fields: dict[str, Any]) -> None:
    """What was kept, failed, was written by hand or is a second try of one is not."""
    assert numbers([one(1, "A", **fields)]) == []


@pytest.mark.parametrize(
    ("verdict", "effect", "left"),
    [
        ("running", None, []),
        ("keep", -3.0, []),
        ("crash", None, []),
        ("discard", -1.0, [3]),
        ("discard", None, [2, 1]),
        ("discard", 9.0, []),
    ],
)
def test_a_part_is_used_once(
    verdict: str, effect: float | None, left: list[int]
) -> None:
    """Unless its bundle never ran, since it did not apply any more. A bundle that was a
    near miss itself is one part."""
    tried = [one(1, "A"), one(2, "B", 2.0)]
    together = one(3, "C", parts=(1, 2), verdict=verdict, effect=effect)
    assert numbers([*tried, together]) == left


def test_parts_of_a_bundle_that_missed_get_a_second_chance() -> None:
    """Each is charged with its share of what the bundle lacked; there is no third."""
    tried = [one(1, "A", 0.5), one(2, "B", 2.0), one(3, "C", 1.0)]
    failed = one(4, "D", parts=(1, 2), effect=0.1)
    assert second_gain(2.0, -0.1, [0.5, 2.0]) == pytest.approx(2.0 - 2.6 / 4)
    assert second_gain(0.5, -0.1, [0.5, 2.0]) < LEAST_GAIN
    assert numbers([*tried, failed]) == [2, 3]
    again = one(5, "D", parts=(2, 3), effect=0.1)
    assert numbers([*tried, failed, again]) == [3]


# ------------------------------------------------------------------------- the bundle


def test_a_bundle_has_all_edits_and_names_its_parts() -> None:
    """And it can be read what they are."""
    made = bundle([one(1, "A"), one(2, "B", 2.0)], SOURCE, 1.0, 2)
    assert made
    assert (made.title, made.parts) == ("bundle of #002, #001", (2, 1))
    assert made.apply(SOURCE) == "A = 2\nB = 3\nC = 1\nD = 1\n"
    assert "B 1→3; A 1→2" in made.hypothesis


def test_too_few_are_no_bundle() -> None:
    """They wait for more."""
    assert bundle([one(1, "A"), one(2, "B")], SOURCE, 1.0, 3) is None


def test_what_does_not_go_together_waits() -> None:
    """The better one of two that move a knob; none that does not apply, or does what is
    there already."""
    tried = [
        *(one(1, "A"), one(2, "A", 2.0), one(3, "B"), one(4, "MISSING", 3.0)),
        one(0, "C", 4.0),  # sets it to what it is
    ]
    made = bundle(tried, SOURCE, 1.0, 2)
    assert made
    assert made.parts == (2, 3)
    assert bundle(tried, SOURCE, 1.0, 3) is None


def test_nobody_outside_can_make_a_bundle() -> None:
    """A model's `parts` mean nothing; what it combines is a proposal like others."""
    made = bundle([one(1, "A"), one(2, "B")], SOURCE, 1.0, 2)
    assert made
    assert Proposal.from_data({**made.to_data(), "parts": [1, 2]}).parts == ()
    with pytest.raises(PatchError):
        Proposal.from_data({"parts": [1, 2]})


# --------------------------------------------------------------------------- the rule


def asked(gain: float, bundled: bool, runs: int = 1, baseline: int = 3) -> str:
    """What the default rule does with runs that are better by so many sigma."""
    heads = {"h": tuple(judge.Run(1.0, i, "h") for i in range(baseline))}
    value = 1.0 - gain * 1e-3
    mine = tuple(judge.Run(value, 9 + i, "h") for i in range(runs))
    noise = judge.Noise(1e-3, 30.0)
    return judge.decide(judge.Question(mine, heads, noise, bundled=bundled)).decision


def test_a_near_miss_is_not_repeated_where_it_will_be_bundled() -> None:
    """After its first run only; alone it has as many runs as it needs. Of a baseline
    that has no three runs yet less is asked."""
    assert asked(2.5, bundled=True) == judge.DISCARD
    assert asked(2.5, bundled=False) == judge.REPLICATE
    assert asked(3.0, bundled=True) == judge.REPLICATE
    assert asked(2.6, bundled=True) == judge.DISCARD
    assert asked(2.6, bundled=True, baseline=2) == judge.REPLICATE
    assert asked(1.2, bundled=True, runs=2) == judge.REPLICATE


# -------------------------------------------------------------------------- a session


NOISE = {"unpaired": 1e-3, "paired": 1e-3, "df": 1000}


@pytest.fixture
def missed(project: Any) -> Any:
    """Three gains of half a sigma, which one run cannot prove, and harm to go on with;
    runs have no noise, but the command says they do."""
    said = json.dumps({"noise": NOISE}, separators=(",", ":"))
    project.configure(f"--noise 0 --describe '{said}'")
    project.commit()
    near: dict[str, dict[str, float]] = {
        f"near_{i}": {"WIDTH": 4 + 0.02 * i} for i in (1, 2)
    }
    near["near_3"] = {"LR": 0.098}
    project.script_words = project.script(
        **near, **{f"harm_{i}": {"LR": 0.5 + i} for i in range(4)}
    )
    return project


def test_near_misses_are_tried_together(
    missed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the driver, without a question to the proposer; `show` says of what."""
    ran = missed.research(missed.script_words, "--autoresearch-bundle=2")
    assert ran.ret == 0, ran.stdout.str()
    rows = missed.ledger().candidates()
    made = [row for row in rows if row["proposer"] == bundles.PROPOSER]
    near = {row["id"] for row in rows if row["title"].startswith("near")}
    parts = json.loads(made[0]["parts"])
    assert len(parts) == 2
    assert set(parts) <= near
    assert 3 in parts  # the other two move one knob
    assert [row["state"] for row in rows if row["id"] in near] == ["discard"] * 3
    main(["--root", str(missed.path), "show", str(made[0]["id"])])
    assert f"parts      #{parts[0]:03d}, #{parts[1]:03d}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--autoresearch-bundle=0"],
        ["--autoresearch-rule=greedy"],
        ["--autoresearch-experiments=19"],
    ],
)
def test_bundles_can_be_left_out(missed: Any, words: list[str]) -> None:
    """Greedy, which is autoresearch's own rule, knows none; a short session has no
    second chance for a near miss, and repeats it at once."""
    ran = missed.research(missed.script_words, "--autoresearch-bundle=2", *words)
    assert ran.ret == 0, ran.stdout.str()
    rows = missed.ledger().candidates()
    assert bundles.PROPOSER not in {row["proposer"] for row in rows}
