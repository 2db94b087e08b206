"""What a history teaches, in a few lines: by category, by knob, and what came close."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from autoresearch_plugin.candidate import CATEGORIES
from autoresearch_plugin.gears import near_misses
from autoresearch_plugin.quoting import cut, one_line
from autoresearch_plugin.tried import DECIDED, Tried

KNOBS = 40  # directions of knobs that are listed, the latest tried
VALUES = 5  # latest values of one of them
LATEST = 3  # proposals that are told when they repeat a direction
WIDTH = 160
CI = 1.96  # standard errors of a 95 % interval


def learnt(tried: Sequence[Tried], sign: float) -> list[str]:
    """All lessons as lines; `sign` is 1 for a metric that should fall, else -1."""
    lines: list[str] = []
    for head, found in (
        ("Learnt, by category (± is half of a 95 % interval):", _categories),
        ("Learnt, by knob, from changes of that knob alone:", _knobs),
        ("Near misses: not distinguishable, on the promising side:", _misses),
        ("Moved again in a direction that had failed:", _repeats),
    ):
        if own := list(found(tried, sign)):
            lines += ["", head, *own]
    return lines[1:]


def effect_words(effect: float | None, effect_sd: float | None = None) -> str:
    """An effect with half of its 95 % interval; empty if there is none."""
    if effect is None or not math.isfinite(effect):
        return ""
    known = effect_sd is not None and math.isfinite(effect_sd)
    return f"{effect:+.3g}" + (f" ± {CI * (effect_sd or 0.0):.2g}" if known else "")


def _categories(tried: Sequence[Tried], sign: float) -> Iterator[str]:
    for category in CATEGORIES:
        mine = [t for t in tried if t.category == category and t.verdict in DECIDED]
        if not mine:
            continue
        count = {word: sum(t.verdict == word for t in mine) for word in DECIDED}
        line = f"{category}: {len(mine)} tried, {count['keep']} kept"
        line += f", {count['crash']} crashed" if count["crash"] else ""
        measured = [t for t in mine if t.effect is not None]
        if measured:
            best = min(measured, key=lambda t: sign * (t.effect or 0.0))
            line += f"; best {effect_words(best.effect, best.effect_sd)}"
            line += f" (#{best.number}); mean {_mean(measured)}"
        yield line


def _mean(measured: Sequence[Tried]) -> str:
    effects = [t.effect for t in measured if t.effect is not None]
    error = None
    if len(effects) > 1:
        error = statistics.stdev(effects) / math.sqrt(len(effects))
    return effect_words(statistics.fmean(effects), error)


def _knobs(tried: Sequence[Tried], sign: float) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Tried]] = {}
    for one in tried:
        if (way := direction(one)) and one.verdict in DECIDED:
            groups.setdefault(way, []).append(one)
    latest = sorted(groups, key=lambda way: groups[way][-1].number)[-KNOBS:]
    for way in sorted(latest):
        mine = groups[way]
        line = f"{' '.join(way)}: {len(mine)} tried, {_outcome(mine, sign)}"
        yield cut(f"{line}: {', '.join(map(_value, mine[-VALUES:]))}", WIDTH)


def _value(one: Tried) -> str:
    said = effect_words(one.effect) or one.verdict
    return f"{one_line(repr(one.changes[0].new), 20)} {said}"


def _outcome(mine: Sequence[Tried], sign: float) -> str:
    kept = sum(one.verdict == "keep" for one in mine)
    if kept:
        return f"{kept} kept"
    return "none better" if is_beaten(mine, sign) else "none proven yet"


def is_beaten(mine: Sequence[Tried], sign: float) -> bool:
    """Whether none of them was kept or even on the promising side."""
    return all(
        one.verdict != "keep" and (one.effect is None or sign * one.effect >= 0)
        for one in mine
    )


def direction(one: Tried) -> tuple[str, str] | None:
    """Which knob an idea moves, and where to; None if it does more than that."""
    if len(one.changes) != 1:
        return None
    change = one.changes[0]
    both = (change.old, change.new)
    if not all(type(x) in (int, float) for x in both) or change.old == change.new:
        return change.knob, "to other values"
    return change.knob, "up" if change.new > change.old else "down"


def _misses(tried: Sequence[Tried], sign: float) -> Iterator[str]:
    for one in near_misses(tried, sign):
        effect = effect_words(one.effect, one.effect_sd)
        yield cut(f"#{one.number} {effect}: {one_line(one.label, 120)}", WIDTH)


def _repeats(tried: Sequence[Tried], sign: float) -> Iterator[str]:
    """The latest proposals, if they do again what was beaten before."""
    for one in [one for one in tried if one.generated][-LATEST:]:
        way = direction(one)
        before = [
            other
            for other in tried
            if other.number < one.number
            and other.verdict in DECIDED
            and way is not None
            and way[1] in ("up", "down")
            and direction(other) == way
        ]
        if before and is_beaten(before, sign):
            told = ", ".join(f"#{t.number} {_value(t)}" for t in before[-VALUES:])
            yield cut(f"#{one.number} {one.label}, after {told}", WIDTH)
