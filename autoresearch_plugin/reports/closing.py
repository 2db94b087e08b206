"""The last lines of a session, from facts alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autoresearch_plugin import busy
from autoresearch_plugin.reports import agents

if TYPE_CHECKING:
    from autoresearch_plugin.audit import Audit
    from autoresearch_plugin.reports.agents import AgentFacts


@dataclass(frozen=True)
class KeptLine:
    """One keep: `effect` is shrunken; negative is better for a falling metric."""

    number: int
    title: str
    effect: float
    effect_sd: float
    runs: int
    commit: str
    grade: str = ""


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
    max_usd: float
    calls: int
    sigma: float
    paired_sigma: float | None
    visible: float
    branch: str
    command: str
    report: str
    reason: str
    sandbox: str = "none"
    first_commit: str = ""
    revoked: bool = False
    audit: Audit | None = None
    not_audited: str = ""
    audit_seconds: float = 0.0
    stopped_early: int = 0
    saved_seconds: float = 0.0
    lane_time: busy.Occupancy = field(default_factory=busy.Occupancy)
    notes: Sequence[str] = field(default_factory=tuple)
    agents: Sequence[AgentFacts] = field(default_factory=tuple)

    @property
    def title(self) -> str:
        """The rule above the closing lines."""
        return (
            f"autoresearch {self.tag}: {duration(self.wall_seconds)}, {self.devices}, "
            f"rule {self.rule}, sandbox {self.sandbox}"
        )


def lines(facts: Facts) -> Iterator[str]:
    """The closing screen, one line at a time; each ends in something to do or know."""
    revoked = facts.revoked or (facts.audit is not None and facts.audit.contradicts)
    word = "REVOKED" if revoked else "KEPT   "
    for keep in facts.kept:
        effect = f"{keep.effect:+.1e} ± {keep.effect_sd:.0e}"
        yield (
            f"{word} #{keep.number:03d} {keep.title[:38]:<38} {effect}   "
            f"{_runs(keep)}   {keep.commit[:7]}"
        )
    if not facts.kept:
        yield "KEPT    nothing: no candidate was proven better"
    else:
        yield from audit_lines(facts.metric, facts.audit, facts.not_audited)
    yield _pruned(facts)
    yield _spent(facts)
    if facts.lane_time.seconds:
        yield f"busy    {busy.words(facts.lane_time)}"
    yield from _noise(facts)
    yield from agents.lines(facts.agents)
    for note in facts.notes:
        yield f"note    {note}"
    if facts.kept and not revoked:
        yield f"take    git merge {shlex.quote(facts.branch)}"
    elif facts.kept:
        branch, commit = shlex.quote(facts.branch), facts.first_commit[:7]
        yield f"undo    git branch -f {branch} {commit}"
    names = "junit.xml  kept.xml  results.tsv"
    yield f"read    {facts.report}/  {names}"
    yield f"next    {facts.command}   (this session: {facts.reason})"


def _runs(keep: KeptLine) -> str:
    runs = "1 run" if keep.runs == 1 else f"{keep.runs} runs"
    return f"{runs}, {keep.grade}" if keep.grade else runs


def audit_lines(metric: str, audit: Audit | None, why: str) -> Iterator[str]:
    """The only headline there is: the first baseline against the last."""
    if audit is None:
        yield (
            "AUDIT   none: effects are estimates of each keep alone, and their sum is "
            f"not a result; {why}"
        )
        return
    width = audit.half_width
    places = min(12, max(1, 1 - math.floor(math.log10(width)))) if width > 0 else 6

    def shown(value: float, sign: str = "") -> str:
        return f"{value:{sign}.{places}f}"

    yield (
        f"AUDIT   {metric} {shown(audit.difference, '+')} ± {shown(audit.half_width)} "
        f"(95 %) on hidden text: {shown(audit.first.mean)} -> "
        f"{shown(audit.last.mean)}, {audit.first.n} + {audit.last.n} runs"
        f"{', paired' if audit.paired else ''}"
    )
    if audit.contradicts:
        yield (
            f"        the keeps claim {shown(audit.claimed, '+')} together and no gain "
            "is left of it: they are revoked, and not in kept.xml"
        )
    elif not audit.confirmed:
        yield (
            "        no gain is shown: the interval holds 0; more runs: "
            "autoresearch audit --runs 6"
        )


def _pruned(facts: Facts) -> str:
    total = sum(facts.pruned.values())
    parts = ", ".join(
        f"{count} {word}" for word, count in facts.pruned.items() if count
    )
    text = f"pruned  {total}{': ' + parts if parts else ''}"
    if facts.stopped_early:
        saved = duration(facts.saved_seconds)
        text += f"; {facts.stopped_early} stopped inside their run, {saved} saved"
    return text


def _spent(facts: Facts) -> str:
    used = facts.search_seconds + facts.baseline_seconds + facts.audit_seconds
    held = max(used, facts.wall_seconds * facts.lanes)
    if held <= 0:
        return "spent   nothing"
    parts = {
        "search": facts.search_seconds,
        "baseline": facts.baseline_seconds,
        **({"audit": facts.audit_seconds} if facts.audit_seconds else {}),
        "idle and start-up": held - used,
    }
    shares = zip(parts, _percentages(tuple(parts.values())), strict=True)
    words = ", ".join(f"{name} {share} %" for name, share in shares)
    text = f"spent   {duration(held)} of lane time: {words}"
    if facts.calls:
        each = f" (${facts.usd / len(facts.kept):.2f} a keep)" if facts.kept else ""
        spent = f"${facts.usd:.2f} of at most ${facts.max_usd:.2f}"
        text += f"; LLM {spent} in {facts.calls} calls{each}"
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
