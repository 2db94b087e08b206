"""What a session may cost, said before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autoresearch_plugin.judge import HEAD_MIN
from autoresearch_plugin.reports.closing import duration


@dataclass(frozen=True)
class Estimate:
    """A session's size. None: not known, or not limited.

    `remeasures` says that a kept candidate is measured anew as a baseline. `call_usd`
    is the most that one call of the dearest model can cost now; prompts grow
    with what was tried. `unpriced` names proposers whose cost is not ours to know.
    """

    lanes: int
    max_runs: int
    generated: int | None
    hand: int
    baseline: int
    seconds: float | None
    hours: float | None
    gpu_hours: float | None
    max_usd: float
    remeasures: bool = True
    spent_usd: float = 0.0
    call_usd: float | None = None
    unpriced: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[int, int] | None:
        """Fewest and most: a loser takes one run, what stays promising all of them."""
        if self.generated is None:
            return None
        count = self.generated + self.hand
        return count + self.baseline, count * self.max_runs + self.baseline

    @property
    def calls(self) -> int | None:
        """How many calls the cap allows if each costs its most."""
        if not self.call_usd:  # no model, or one that costs nothing
            return None
        return int((self.max_usd - self.spent_usd) / self.call_usd + 1e-9)


def lines(estimate: Estimate) -> Iterator[str]:
    """The estimate in full."""
    yield f"runs    {_runs(estimate)}"
    yield f"time    {_time(estimate)}"
    yield f"device  {_device(estimate)}"
    yield f"LLM     {_llm(estimate)}"


def brief(estimate: Estimate) -> str:
    """The estimate on one line of the header."""
    parts = ["no number of candidates is set"]
    if estimate.runs is not None:
        low, high = estimate.runs
        parts = [f"generated candidates take {_range(low, high)} runs"]
        if estimate.seconds is not None:
            parts.append(_span(low, high, estimate))
    return f"estimate: {', '.join(parts)}; LLM: {_llm(estimate)}"


def _runs(estimate: Estimate) -> str:
    generated = "any number of" if estimate.generated is None else estimate.generated
    most = estimate.max_runs
    each = "1 run" if most == 1 else f"1 to {most} runs"
    text = (
        f"{generated} generated and {estimate.hand} hand-written candidates, {each} "
        f"each, {estimate.baseline} of the baseline first"
    )
    if estimate.runs is not None:
        text += f": {_range(*estimate.runs)} runs"
    more = f"; a keep adds {HEAD_MIN} or more of the new baseline"
    return text + more if estimate.remeasures else text


def _range(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _time(estimate: Estimate) -> str:
    if estimate.seconds is None:
        return "not known before the first run here"
    text = f"about {duration(estimate.seconds)} a run"
    if estimate.runs is not None:
        text += f": {_span(*estimate.runs, estimate)}"
    if estimate.hours is not None:
        text += f"; no new work after {estimate.hours:g} h"
    return text


def _span(low: int, high: int, estimate: Estimate) -> str:
    assert estimate.seconds is not None
    each = estimate.seconds / estimate.lanes
    plural = "" if estimate.lanes == 1 else "s"
    span = _range(duration(low * each), duration(high * each))
    return f"{span} on {estimate.lanes} lane{plural}"


def _device(estimate: Estimate) -> str:
    cap = "no cap (--autoresearch-gpu-hours)"
    if estimate.gpu_hours is not None:
        cap = f"no new work after {estimate.gpu_hours:g} device-hours"
    if estimate.runs is None or estimate.seconds is None:
        return cap
    hours = (f"{count * estimate.seconds / 3600:.2g}" for count in estimate.runs)
    return f"{_range(*hours)} device-hours; {cap}"


def _llm(estimate: Estimate) -> str:
    parts = []
    if estimate.call_usd is not None and estimate.calls is not None:
        spent = f", ${estimate.spent_usd:.2f} spent" if estimate.spent_usd else ""
        left = f"{estimate.calls} call{'' if estimate.calls == 1 else 's'}"
        parts.append(
            f"at most ${estimate.max_usd:.2f} (--autoresearch-max-usd{spent}), at most "
            f"${estimate.call_usd:.2f} a call: {left} or more"
        )
    if estimate.unpriced:
        parts.append(f"what {', '.join(estimate.unpriced)} costs is not known here")
    return "; ".join(parts) or "no model is asked"
