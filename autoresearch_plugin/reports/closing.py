"""The last lines of a session, from facts alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeptLine:
    """One keep: `effect` is shrunken; negative is better for a falling metric."""

    number: int
    title: str
    effect: float
    effect_sd: float
    runs: int
    commit: str


@dataclass(frozen=True)
class Facts:
    """What a finished session is summed up from.

    Seconds are those that trials held a device; a lane that waits has none.
    """

    tag: str
    wall_seconds: float
    devices: str
    rule: str
    metric: str
    kept: Sequence[KeptLine]
    pruned: Mapping[str, int]
    search_seconds: float
    baseline_seconds: float
    lanes: int
    usd: float
    calls: int
    sigma: float
    paired_sigma: float | None
    visible: float
    branch: str
    command: str
    report: str
    reason: str
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def title(self) -> str:
        """The rule above the closing lines."""
        return (
            f"autoresearch {self.tag}: {duration(self.wall_seconds)}, {self.devices}, "
            f"rule {self.rule}, sandbox none"
        )


def lines(facts: Facts) -> Iterator[str]:
    """The closing screen, one line at a time; each ends in something to do or know."""
    for keep in facts.kept:
        effect = f"{keep.effect:+.1e} ± {keep.effect_sd:.0e}"
        yield (
            f"KEPT    #{keep.number:03d} {keep.title[:38]:<38} {effect}   "
            f"{keep.runs} runs   {keep.commit[:7]}"
        )
    if not facts.kept:
        yield "KEPT    nothing: no candidate was proven better"
    else:
        yield (
            "        effects are estimates of each keep alone; their sum is not a "
            "result, and no audit on the hidden split was run"
        )
    yield _pruned(facts)
    yield _spent(facts)
    yield from _noise(facts)
    for note in facts.notes:
        yield f"note    {note}"
    if facts.kept:
        yield f"take    git merge {shlex.quote(facts.branch)}"
    names = "junit.xml  kept.xml  results.tsv"
    yield f"read    {facts.report}/  {names}"
    yield f"next    {facts.command}   (this session: {facts.reason})"


def _pruned(facts: Facts) -> str:
    total = sum(facts.pruned.values())
    parts = ", ".join(
        f"{count} {word}" for word, count in facts.pruned.items() if count
    )
    return f"pruned  {total}{': ' + parts if parts else ''}"


def _spent(facts: Facts) -> str:
    used = facts.search_seconds + facts.baseline_seconds
    held = max(used, facts.wall_seconds * facts.lanes)
    if held <= 0:
        return "spent   nothing"
    parts = (facts.search_seconds, facts.baseline_seconds, held - used)
    search, baseline, idle = _percentages(parts)
    text = (
        f"spent   {duration(held)} of lane time: search {search} %, "
        f"baseline {baseline} %, idle and start-up {idle} %"
    )
    if facts.calls:
        each = f" (${facts.usd / len(facts.kept):.2f} a keep)" if facts.kept else ""
        text += f"; LLM ${facts.usd:.2f} in {facts.calls} calls{each}"
    return text


def _noise(facts: Facts) -> Iterator[str]:
    if math.isnan(facts.sigma):
        return
    text = f"noise   sigma {facts.sigma:.2g} {facts.metric} a run"
    if facts.paired_sigma is not None and math.isfinite(facts.paired_sigma):
        text += f", {facts.paired_sigma:.2g} a paired difference"
    if math.isfinite(facts.visible):
        text += f"; smallest effect you can see here: {facts.visible:.1g} (80 %)"
    yield text


def _percentages(parts: Sequence[float]) -> list[int]:
    """Whole percentages that add up to 100, by the method of largest remainders."""
    shares = [100 * part / math.fsum(parts) for part in parts]
    whole = [math.floor(share) for share in shares]
    by_rest = sorted(range(len(parts)), key=lambda i: whole[i] - shares[i])
    for i in by_rest[: 100 - sum(whole)]:
        whole[i] += 1
    return whole


def duration(seconds: float) -> str:
    """`42 s`, `7.5 min`, `8.0 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
