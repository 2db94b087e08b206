"""When a search is stuck: what the next request leaves out, and what it asks for.

All of it follows from what was tried, so that a resumed session is in the same gear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.tried import DECIDED, FAILED, Tried

STREAK = 8  # failures in a row that pause a category
PAUSE = 8  # later proposals and refused answers after which it may come again
PLATEAU = 12  # decided candidates without a keep, then the gear changes
SHIFT = 6  # decided candidates that a gear lasts
STUCK = 3  # refused answers in a row, then another category is asked for
NEAR_MISSES = 8  # of them that are worth naming
EXPLORE = "explore"

GEARS = {
    EXPLORE: "",
    "recombine": (
        "Put two or three of the near misses above into one candidate: gains too small "
        "to be seen alone may be seen together."
    ),
    "larger steps": (
        "Small changes are lost in the noise now. Move a knob by a factor of two or "
        "more, or change how the model or its training works."
    ),
    "simplify": (
        "Take something out: fewer lines with an equal result are kept (category "
        "simplification)."
    ),
    "ablate": (
        "Take back or switch off one part of a change that was kept: what no longer "
        "helps on this baseline is in the way."
    ),
}


def near_misses(tried: Sequence[Tried], sign: float) -> list[Tried]:
    """Discards that were not told from their baseline, on the promising side, and not
    tried together already; the best first. `sign` is 1 for a metric that should fall,
    else -1."""
    together = {number for one in tried for number in one.parts}
    found = [
        one
        for one in tried
        if one.verdict == "discard" and one.unclear and one.gain(sign) > 0
        if one.number not in together
    ]
    return sorted(found, key=lambda one: (-one.gain(sign), one.number))[:NEAR_MISSES]


def paused(tried: Sequence[Tried], refused: int = 0) -> tuple[str, ...]:
    """Categories that failed so often in a row that something else is due.

    `refused` counts the answers since the last proposal that were refused: they count
    as proposals, so that who knows one category only gets on. "other" is none.
    """
    streak: Counter[str] = Counter()
    left: dict[str, int] = {}
    for one in tried:
        if not one.generated:
            continue
        left = {name: rest - 1 for name, rest in left.items() if rest > 1}
        if one.verdict == "keep":
            streak[one.category] = 0
        elif one.verdict in FAILED and one.category not in left:
            streak[one.category] += 1
        if streak[one.category] >= STREAK and one.category != "other":
            streak[one.category], left[one.category] = 0, PAUSE
    return tuple(name for name in CATEGORIES if left.get(name, 0) > refused)


def gear(tried: Sequence[Tried], sign: float, banned: Sequence[str] = ()) -> str:
    """How to search now: `explore`, or on a plateau each of `GEARS` for a while.

    Not what is paused, nor what has nothing to work on.
    """
    decided = [one for one in tried if one.verdict in DECIDED]
    kept = [place for place, one in enumerate(decided) if one.verdict == "keep"]
    idle = len(decided) - (kept[-1] + 1 if kept else 0)
    if idle < PLATEAU:
        return EXPLORE
    gears = [name for name in GEARS if name != EXPLORE]
    if len(near_misses(tried, sign)) < 2:
        gears.remove("recombine")
    if "simplification" in banned:
        gears.remove("simplify")
    if not kept:
        gears.remove("ablate")
    gears.append(EXPLORE)
    return gears[(idle - PLATEAU) // SHIFT % len(gears)]


def wanted(tried: Sequence[Tried], banned: Sequence[str], refused: int) -> str:
    """The category to ask for after refused answers in a row; empty before that.

    The least tried one first, with each further answer the next.
    """
    if refused < STUCK:
        return ""
    count = Counter(one.category for one in tried)
    open_ones = [c for c in CATEGORIES if c != "other" and c not in banned]
    open_ones.sort(key=lambda name: count[name])
    return open_ones[(refused - STUCK) % len(open_ones)] if open_ones else ""


def words(gear: str, banned: Sequence[str]) -> str:
    """What people are told when it changes."""
    text = f"the proposer's gear: {gear}"
    if gear != EXPLORE:
        text += ", since nothing was kept for a while"
    if banned:
        text += f"; paused after {STREAK} failures in a row: {', '.join(banned)}"
    return text
