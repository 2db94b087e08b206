"""The three fixtures of a candidate: `train_module`, `gpu_budget`, `baseline`.

The classes here know no pytest: the fixtures in `plugin.py` hand them callables. Edits
are recorded and applied only when the budget runs, so that a test which is part of the
baseline already is recognised by its edits and not tripped up by its own success.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Edit, is_plain
from autoresearch_plugin.errors import BudgetSpentError, PatchError, TrialFailed
from autoresearch_plugin.idea import Idea, Judgement
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.syntax import definition, indent_of, split_lines
from autoresearch_plugin.trial import Estimate

_F = TypeVar("_F", bound=Callable[..., Any] | type)


class TrainModule:
    """The target's source, to be edited with monkeypatch's manners.

    Nothing is imported and no file is touched: the verbs edit text, and the edited text
    is what runs and what is committed.
    """

    def __init__(self, parent: Callable[[], str], root: Path, target: str) -> None:
        self._parent = parent
        self._root = root
        self._target = target
        self.edits: list[Edit] = []

    def replace(self, old: str, new: str) -> None:
        """Replace the only occurrence of `old` in the target by `new`."""
        self._add("replace", old=_text("old", old), new=_text("new", new))

    def set(self, knob: str, value: object) -> None:
        """Give a knob (an upper-case module-level literal) another literal value.

        Raises:
            PatchError: `value` is more than numbers, strings, bools, None and lists,
                tuples or dictionaries of these.
        """
        if not is_plain(value):
            raise PatchError(
                f"set({knob!r}, {value!r}): a knob takes a plain literal (finite "
                "number, string, bool, None, tuple or list of these)."
            )
        self._add("set", knob=_text("knob", knob), value=value)

    def define(
        self, source: str | Callable[..., Any] | None = None, within: str | None = None
    ) -> Any:
        """Swap one definition for another of the same name.

        Takes source text, or a function or class whose source is read; without either
        it is a decorator: `@train_module.define(within="MLP")`.
        """
        if source is None:
            return functools.partial(self._define_object, within=within)
        if isinstance(source, str):
            text = textwrap.dedent(source).strip("\n")
            self._add("define", source=text, within=within)
            return None
        return self._define_object(source, within=within)

    def apply(self, diff: str) -> None:
        """Apply a unified diff: its text, or the path of a file that holds it."""
        if "\n" not in diff:
            path = self._root / diff
            if not path.is_file():
                raise PatchError(
                    f"apply({diff!r}): there is no such file below {self._root}."
                )
            diff = path.read_text(encoding="utf-8")
        self._add("apply", diff=diff)

    @property
    def source(self) -> str:
        """The edited source; raises PatchError if an edit does not apply."""
        source = self._parent()
        for edit in self.edits:
            source = edit.apply(source)
        return source

    def diff(self) -> str:
        """Unified diff from the parent to the edited source."""
        return patch.unified_diff(self._parent(), self.source, self._target)

    def __repr__(self) -> str:
        return f"<train_module {self._target}, {len(self.edits)} edits>"

    def _add(self, op: str, **arguments: Any) -> None:
        self.edits.append(Edit(op, arguments))

    def _define_object(self, obj: _F, within: str | None) -> _F:
        self._add("define", source=_source_of(obj), within=within)
        return obj


def _source_of(obj: Any) -> str:
    """Source of a function or class without the decorator that brought it here."""
    try:
        text = inspect.getsource(obj)
    except (OSError, TypeError) as error:
        raise PatchError(f"define(): no source for {obj!r} ({error}).") from None
    try:
        node = definition(text)
    except PatchError:  # a lambda inside a longer statement
        node = None
    if node is None or node.name != getattr(obj, "__name__", None):
        raise PatchError(f"define(): {obj!r} is not a function or class statement.")
    lines = split_lines(text)
    above = 2 if indent_of(text) else 1  # lines of the tree start below an `if`
    for decorator in reversed(node.decorator_list):
        if ".define" in ast.unparse(decorator):
            last = decorator.end_lineno or decorator.lineno
            del lines[decorator.lineno - above : last - above + 1]
    return "".join(lines)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}: {value!r}")
    return value


@dataclass(frozen=True)
class Measured:
    """A metric of a candidate or of the baseline, as an estimate.

    Comparing the two gives the judge's verdict: `<` (`>` for a metric that should rise)
    is true when the candidate is *proven* better, `<=` (`>=`) when it is proven not
    worse. Comparing with a number compares the mean.
    """

    estimate: Estimate
    direction: str = "min"
    verdict: Verdict | None = None

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return self.estimate.mean

    @property
    def sd(self) -> float:
        """Standard deviation of one run."""
        return self.estimate.sd

    @property
    def n(self) -> int:
        """Number of runs."""
        return self.estimate.n

    def __lt__(self, other: object) -> bool:
        return self._is_better(other, "min", lambda a, b: a < b, strict=True)

    def __gt__(self, other: object) -> bool:
        return self._is_better(other, "max", lambda a, b: a > b, strict=True)

    def __le__(self, other: object) -> bool:
        return self._is_better(other, "min", lambda a, b: a <= b, strict=False)

    def __ge__(self, other: object) -> bool:
        return self._is_better(other, "max", lambda a, b: a >= b, strict=False)

    def __format__(self, spec: str) -> str:
        return format(self.estimate.mean, spec) if spec else str(self)

    def __float__(self) -> float:
        return self.estimate.mean

    def __repr__(self) -> str:
        return str(self.estimate)

    def _is_better(
        self,
        other: object,
        direction: str,
        plain: Callable[[float, float], bool],
        *,
        strict: bool,
    ) -> bool:
        if isinstance(other, int | float):
            return plain(self.estimate.mean, other)
        if not isinstance(other, Measured):
            raise TypeError(
                f"a metric compares with another one or with a number, not {other!r}"
            )
        if self.verdict is None and other.verdict is not None:
            # Python asks the baseline first in `baseline.val_bpb > result.val_bpb`.
            mirror = "min" if direction == "max" else "max"
            return other._is_better(self, mirror, plain, strict=strict)
        if self.verdict is None:
            return plain(self.estimate.mean, other.estimate.mean)
        if direction != self.direction:
            return self.verdict.relation == "worse"
        verdict = self.verdict
        return verdict.proven_lower or (verdict.proven_not_worse and not strict)


class Result:
    """What `gpu_budget.run` returns: the metric under its own name, and the verdict."""

    def __init__(self, metric: str, direction: str, judgement: Judgement) -> None:
        verdict = judgement.verdict
        estimate = verdict.candidate if verdict else Estimate(math.nan, math.nan, 0)
        self.metric = metric
        self.value = Measured(estimate, direction, verdict)
        self.verdict = verdict

    def __getattr__(self, name: str) -> Measured:
        if name != self.__dict__.get("metric"):
            raise AttributeError(
                f"a result has {self.__dict__.get('metric')!r}, not {name!r}"
            )
        value: Measured = self.value
        return value

    def beats(self, baseline: Baseline) -> bool:
        """The verdict: whether the candidate is proven better than the baseline."""
        return bool(self.verdict and self.verdict.proven_lower)

    def __repr__(self) -> str:
        return f"<{self.metric} {self.value!r}>"


class Baseline:
    """The number to beat, under the metric's name; measured when first looked at."""

    def __init__(self, metric: Callable[[], str], read: Callable[[], Measured]) -> None:
        self._metric = metric
        self._read = read

    def __getattr__(self, name: str) -> Measured:
        if name.startswith("_") or name != self._metric():
            raise AttributeError(f"the baseline has no {name!r}")
        return self._read()

    def __repr__(self) -> str:
        return "<baseline>"


@dataclass
class Claim:
    """One candidate test while it runs: what it is, and what the judge said."""

    title: str
    hypothesis: str
    nodeid: str
    kind: str = "hand"
    strict: bool = True
    category: str = "other"
    number: int | None = None
    file: str | None = None
    test: str | None = None
    idea: Idea | None = None
    judgement: Judgement | None = None
    commit: str | None = None
    notes: list[str] = field(default_factory=list)

    def idea_of(self, module: TrainModule) -> Idea:
        """The idea that the test has stated through `train_module`."""
        return Idea(
            kind=self.kind,
            title=self.title,
            hypothesis=self.hypothesis,
            category=self.category,
            edits=tuple(module.edits),
            nodeid=self.nodeid,
            file=self.file,
            test=self.test,
            number=self.number,
        )


class GpuBudget:
    """The budget of one candidate: as many runs as the judge needs, on one device."""

    def __init__(
        self,
        claim: Claim,
        decide: Callable[[Idea], Judgement],
        finish: Callable[[Judgement], Result],
    ) -> None:
        self._claim = claim
        self._decide = decide
        self._finish = finish

    def run(self, train_module: TrainModule) -> Result:
        """Run the candidate until it is decided.

        Raises:
            BudgetSpentError: called twice; TrialFailed: no number came out of it.
        """
        if not isinstance(train_module, TrainModule):
            raise TypeError(
                f"gpu_budget.run takes the train_module fixture, not {train_module!r}"
            )
        if self._claim.idea is not None:
            raise BudgetSpentError(
                "gpu_budget was already used in this test. One candidate, one budget: "
                "write a second test."
            )
        self._claim.idea = self._claim.idea_of(train_module)
        judgement = self._decide(self._claim.idea)
        self._claim.judgement = judgement
        result = self._finish(judgement)
        if judgement.verdict is None:
            raise TrialFailed(judgement.state, judgement.reason)
        return result

    def __repr__(self) -> str:
        return "<gpu_budget>"
