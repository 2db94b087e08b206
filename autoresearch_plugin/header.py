"""The lines below pytest's own header: each value, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autoresearch_plugin import __version__, containment, judge
from autoresearch_plugin.estimate import brief
from autoresearch_plugin.estimating import estimate_of
from autoresearch_plugin.screen import plan

if TYPE_CHECKING:
    from autoresearch_plugin.loop import Research
    from autoresearch_plugin.state import State


def header(state: State) -> Iterator[str]:
    """The lines below pytest's own header."""
    research, opened = state.research, state.opened
    settings, head = research.settings, research.head()
    source = settings.sources
    branch = f"autoresearch/{settings.tag}"
    resumed = ", resumed" if opened.resumed else ""
    yield f"autoresearch {__version__}: {branch} at {head.short}{resumed}"
    budget_source = source["budget"] if settings.budget else "profile"
    yield (
        f"  target {settings.target} ({source['target']}), "
        f"profile {research.profile.name} ({source['profile']}), "
        f"budget {research.budget} ({budget_source})"
    )
    kinds = ", ".join(sorted({device.name for device in opened.devices}))
    names = ", ".join(device.id for device in opened.devices)
    yield f"  device {kinds}: {names} ({source['devices']})"
    inside = containment.words(
        research.executor.sandbox, isolates=research.profile.isolates
    )
    yield f"  sandbox {inside} ({source['sandbox']})"
    for line in research.profile.lines:
        yield f"  {line}"
    yield (
        f"  proposer {settings.proposer} ({source['proposer']}), rule "
        f"{rule_words(research)}, stop: {stop_text(state)}"
    )
    if state.team is not None and state.team.floors:
        for text in state.team.notes():
            yield f"  {text}"
    yield f"  {plan(research)}"
    yield f"  {brief(estimate_of(state))}"
    for text in opened.notes:
        yield f"  note: {text}"


def rule_name(research: Research) -> str:
    """The rule as its verdicts call it; one of the user's by where it comes from."""
    settings = research.settings
    named = settings.sources.get("rule", "default") != "default"
    return settings.rule if named else judge.name_of(research.rule)[0]


def rule_words(research: Research) -> str:
    """The rule and its source, for the header."""
    own = research.rule is not judge.RULES.get(rule_name(research))
    source = research.settings.sources["rule"]
    source = "conftest.py" if own and source == "default" else source
    return f"{rule_name(research)} ({source})"


def stop_text(state: State) -> str:
    """When the session ends by itself."""
    settings = state.research.settings
    parts = []
    if settings.experiments is not None:
        parts.append(
            f"after {settings.experiments} experiments "
            f"({settings.sources['experiments']})"
        )
    if settings.hours is not None:
        parts.append(f"after {settings.hours:g} h ({settings.sources['hours']})")
    if settings.gpu_hours is not None:
        parts.append(f"after {settings.gpu_hours:g} device hours")
    return " or ".join(parts) if parts else "at Ctrl-C; the same command resumes"
