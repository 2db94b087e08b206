"""What a history teaches a proposer."""

from __future__ import annotations

from typing import Any

from autoresearch_plugin import lessons
from autoresearch_plugin.patch import Change
from autoresearch_plugin.tried import Tried


def moved(number: int, new: Any, effect: float | None, **more: Any) -> Tried:
    """The learning rate, from 0.04 to another value."""
    fields = {
        "category": "learning-rate",
        "verdict": "discard",
        "effect_sd": 0.001,
        "changes": (Change("LR", 0.04, new),),
        **more,
    }
    return Tried(number, "t", f"s{number}", (), effect=effect, **fields)


PAST = [
    moved(1, 0.05, 0.002),
    moved(2, 0.06, 0.006),
    moved(3, 0.02, -0.001, unclear=True),
    moved(4, 0.03, -0.005, verdict="keep"),
    moved(5, 9.0, None, verdict="crash"),
]


def section(head: str, past: list[Tried] = PAST, sign: float = 1.0) -> list[str]:
    """The lines below a heading."""
    lines = lessons.learnt(past, sign)
    start = next((n for n, line in enumerate(lines) if line.startswith(head)), -1)
    if start < 0:
        return []
    rest = [*lines[start + 1 :], ""]
    return rest[: rest.index("")]


def test_a_category_says_what_came_of_it() -> None:
    """How many, kept, crashed; the best and the mean with 95 % intervals."""
    assert section("Learnt, by category") == [
        "learning-rate: 5 tried, 1 kept, 1 crashed; best -0.005 ± 0.002 (#4); "
        "mean +0.0005 ± 0.0046"
    ]


def test_the_best_is_the_highest_of_a_metric_that_should_rise() -> None:
    """The sign of the metric turns what counts as best."""
    assert "best +0.006 ± 0.002 (#2)" in section("Learnt, by category", sign=-1.0)[0]


def test_a_knob_says_which_way_helps() -> None:
    """Each direction with its values and effects; a failed one is called that."""
    assert section("Learnt, by knob") == [
        "LR down: 2 tried, 1 kept: 0.02 -0.001, 0.03 -0.005",
        "LR up: 3 tried, none better: 0.05 +0.002, 0.06 +0.006, 9.0 crash",
    ]


def test_only_single_changes_teach_about_a_knob() -> None:
    """Two knobs at once, or code besides, say nothing of one of them."""
    two = (Change("LR", 0.04, 0.05), Change("WD", 0.1, 0.2))
    assert section("Learnt, by knob", [moved(1, 0, 0.1, changes=two)]) == []
    assert section("Learnt, by knob", [moved(1, 0, 0.1, changes=())]) == []


def test_near_misses_are_listed() -> None:
    """Number, effect and change of what may be worth combining."""
    assert section("Near misses") == ["#3 -0.001 ± 0.002: LR 0.04→0.02"]


def test_a_step_in_a_beaten_direction_is_told_with_what_came_before() -> None:
    """It is not forbidden, and the earlier results are quoted."""
    again = moved(6, 0.07, None, verdict="running")
    assert section("Moved again", [*PAST, again]) == [
        "#5 LR 0.04→9.0, after #1 0.05 +0.002, #2 0.06 +0.006",
        "#6 LR 0.04→0.07, after #1 0.05 +0.002, #2 0.06 +0.006, #5 9.0 crash",
    ]
    promising = moved(6, 0.01, None, verdict="running")
    assert section("Moved again", [*PAST[2:4], promising]) == []


def test_lines_are_bounded() -> None:
    """However many knobs and however long their values."""
    past = [
        moved(n, "x" * 500, 0.1, changes=(Change(f"K{n}", "a", "\n" * 900),))
        for n in range(500)
    ]
    found = section("Learnt, by knob", past)
    assert len(found) == lessons.KNOBS
    assert all(len(line) <= lessons.WIDTH and "\n" not in line for line in found)
