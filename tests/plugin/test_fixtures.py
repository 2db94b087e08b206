"""The fixtures' classes, without pytest: what a candidate's test can say."""

from __future__ import annotations

import math
import textwrap

import pytest

from autoresearch_plugin.errors import BudgetSpentError, PatchError, TrialFailed
from autoresearch_plugin.fixtures import (
    Baseline,
    Claim,
    GpuBudget,
    Measured,
    Result,
    TrainModule,
)
from autoresearch_plugin.idea import Head, Judgement
from autoresearch_plugin.judge import Noise, Question, Run, decide
from autoresearch_plugin.trial import Estimate

SOURCE = """\
import math

LR = 0.1  # step size
SHAPE = (2, 3)


class MLP:
    def forward(self, x):
        return x

    @staticmethod
    def width():
        return 4


class Block:
    def forward(self, x):
        return 2 * x


def train(run):
    return math.pi
"""


@pytest.fixture
def module(tmp_path):
    """A train_module on SOURCE."""
    return TrainModule(lambda: SOURCE, tmp_path, "pkg/train.py")


def changed(module) -> list[str]:
    """The added and removed lines of the module's diff."""
    body = module.diff().splitlines()[2:]
    return [line for line in body if line[:1] in "+-"]


# ---------------------------------------------------------------------------- verbs


def test_replace_edits_the_only_occurrence(module):
    """`replace` changes text and leaves the rest."""
    module.replace("return math.pi", "return 3")
    assert changed(module) == ["-    return math.pi", "+    return 3"]


def test_set_gives_a_knob_a_value(module):
    """`set` writes a literal and keeps the comment."""
    module.set("LR", 0.02)
    assert changed(module) == ["-LR = 0.1  # step size", "+LR = 0.02  # step size"]


def test_edits_apply_in_order_to_a_parent_that_may_move(tmp_path):
    """Edits are recorded and meet whatever source is the parent then."""
    sources = iter([SOURCE, SOURCE.replace("0.1", "0.3")])
    module = TrainModule(lambda: next(sources), tmp_path, "train.py")
    module.set("LR", 1)
    module.replace("LR = 1 ", "LR = 2 ")
    assert "LR = 2  # step size" in module.source
    assert "LR = 2  # step size" in module.source


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1, 2}, object(), [math.nan], {"a": {2}}, {1: 2}, b"x", 1j],
)
def test_set_takes_what_can_be_written_and_recorded(module, value):
    """Anything but plain data is refused at once, with the value."""
    with pytest.raises(PatchError, match="a knob takes a plain literal"):
        module.set("LR", value)
    assert module.edits == []


def test_set_takes_plain_data_of_any_depth(module):
    """Tuples stay tuples, also when they come as lists."""
    module.set("SHAPE", [4, (5, None, "x", True)])
    assert "+SHAPE = (4, (5, None, 'x', True))" in changed(module)


@pytest.mark.parametrize("verb", ["replace", "set"])
def test_what_should_be_text_is_text(module, verb):
    """A wrong type is the test author's slip: TypeError with the value."""
    with pytest.raises(TypeError, match="must be text, not int: 7"):
        getattr(module, verb)(7, "x")


def test_define_takes_indented_source_text(module):
    """Source may be written at the indentation of the test."""
    module.define(
        """
        def forward(self, x):
            return 3 * x
        """,
        within="Block",
    )
    assert changed(module) == ["-        return 2 * x", "+        return 3 * x"]


def test_define_decorates_a_real_function(module):
    """As a decorator it reads the function's source and returns the function."""

    @module.define()
    def train(run):
        # a comment stays
        return 3

    assert train(None) == 3
    assert changed(module) == [
        "-    return math.pi",
        "+    # a comment stays",
        "+    return 3",
    ]


def test_define_decorates_without_parentheses(module):
    """`@train_module.define` alone is enough at module level."""

    @module.define
    def train(run):
        return 3

    assert changed(module) == ["-    return math.pi", "+    return 3"]


def test_define_reaches_into_a_class(module):
    """`within` names the class; other decorators belong to the definition."""

    @module.define(within="MLP")
    @staticmethod
    def width():
        return 8

    @module.define(within="MLP")
    def forward(self, x):
        return x + 1

    assert changed(module) == [
        "-        return x",
        "+        return x + 1",
        "-        return 4",
        "+        return 8",
    ]


def test_define_swaps_a_class(module):
    """A class statement replaces the class of its name."""

    @module.define()
    class Block:
        def forward(self, x):
            return 5 * x

    assert Block().forward(1) == 5
    assert changed(module) == ["-        return 2 * x", "+        return 5 * x"]


def test_define_keeps_strings_at_the_margin(module):
    """A string whose lines start at the left margin does not spoil the reading."""

    @module.define()
    def train(run):
        return """
at the margin
"""

    assert "+at the margin" in changed(module)


def test_define_takes_a_function_as_an_argument(module):
    """`define(function)` is the same as decorating it."""

    def train(run):
        return 3

    module.define(train)
    assert changed(module) == ["-    return math.pi", "+    return 3"]


@pytest.mark.parametrize("thing", [len, 7, lambda run: 3])
def test_define_needs_a_statement_with_source(module, thing):
    """Built-ins, objects and lambdas have no definition to swap in."""
    with pytest.raises(PatchError, match=r"define\(\): "):
        module.define(thing)


def test_define_of_an_unknown_name_does_not_apply(module):
    """Other decorators or another name: said when the edit meets the source."""
    module.define("def trane(run):\n    return 3")
    with pytest.raises(PatchError, match="0 times a definition of 'trane'"):
        _ = module.source


def test_apply_takes_a_diff_or_its_file(module, tmp_path):
    """Text with line ends is the diff itself, else the path of one."""
    diff = "@@ -3 +3 @@\n-LR = 0.1  # step size\n+LR = 0.2  # step size\n"
    module.apply(diff)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "pi.diff").write_text(
        "@@ @@\n-    return math.pi\n+    return 3\n"
    )
    module.apply("patches/pi.diff")
    assert [line for line in changed(module) if line[0] == "+"] == [
        "+LR = 0.2  # step size",
        "+    return 3",
    ]


def test_apply_of_a_missing_file_names_it(module, tmp_path):
    """The message has the path and where it was looked for."""
    with pytest.raises(PatchError, match="no such file") as caught:
        module.apply("my.diff")
    assert "'my.diff'" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_diff_is_one_that_git_takes(module):
    """It names the target below a/ and b/, and is empty before the first edit."""
    assert module.diff() == ""
    module.set("LR", 1)
    head = ["--- a/pkg/train.py", "+++ b/pkg/train.py"]
    assert module.diff().splitlines()[:2] == head


def test_reprs_are_short(module):
    """Reprs end up in failure messages."""
    module.set("LR", 1)
    assert repr(module) == "<train_module pkg/train.py, 1 edits>"


# ----------------------------------------------------------------------- comparisons


def verdict_on(gain: float, direction: str = "min", added_lines: int = 0):
    """A real verdict on a candidate that is better by `gain` sigma in three runs."""
    sign = 1.0 if direction == "min" else -1.0
    base = (2.0, 2.1, 1.9)
    question = Question(
        candidate=tuple(
            Run(sign * value - gain * 0.01, seed, "head")
            for seed, value in enumerate(base)
        ),
        heads={
            "head": tuple(Run(sign * x, seed, "head") for seed, x in enumerate(base))
        },
        unpaired=Noise(0.1, 8),
        paired=Noise(0.01, 8),
        sign=sign,
        added_lines=added_lines,
        max_runs=3,
    )
    return decide(question)


def both(gain: float, direction: str = "min", added_lines: int = 0):
    """The two sides of an assert: result and baseline."""
    verdict = verdict_on(gain, direction, added_lines)
    return (
        Measured(verdict.candidate, direction, verdict),
        Measured(verdict.baseline, direction),
    )


def test_less_means_proven_lower():
    """A clear gain is `<` and `<=`; no gain is neither."""
    better, baseline = both(5)
    assert better < baseline
    assert better <= baseline
    equal, baseline = both(0)
    assert not equal < baseline
    assert not equal <= baseline


def test_the_mean_alone_proves_nothing():
    """A mean that is a little lower is not proven lower."""
    result, baseline = both(0.2)
    assert result.mean < baseline.mean
    assert not result < baseline


def test_fewer_lines_at_an_equal_result_are_not_worse():
    """`<=` credits deleted lines, `<` does not."""
    result, baseline = both(0.3, added_lines=-200)
    assert result <= baseline
    assert not result < baseline


@pytest.mark.parametrize("gain", [-5, 0, 5])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_mirrored_comparisons_say_the_same(gain, direction):
    """`baseline > result` is `result < baseline`, for all four operators."""
    result, baseline = both(gain, direction)
    assert (baseline > result) == (result < baseline)
    assert (baseline < result) == (result > baseline)
    assert (baseline >= result) == (result <= baseline)
    assert (baseline <= result) == (result >= baseline)


def test_a_metric_that_rises_is_compared_with_greater():
    """With direction max the claim is `>`."""
    better, baseline = both(5, "max")
    assert better.mean > baseline.mean
    assert better > baseline
    assert better >= baseline
    assert not better < baseline


def test_the_other_operator_asks_whether_it_is_worse():
    """A test may claim that a change does harm."""
    worse, baseline = both(-5)
    assert worse > baseline
    assert not worse < baseline
    unclear, baseline = both(0.1)
    assert not unclear > baseline


def test_numbers_compare_with_the_mean():
    """A literal bound in an assert is a plain number, from both sides."""
    result, _ = both(5)
    assert result < 2
    assert 2 > result  # noqa: SIM300
    assert result <= result.mean
    assert result >= result.mean
    assert float(result) == result.mean == pytest.approx(1.95)
    assert round(float(result), 2) == 1.95


def test_two_baselines_compare_by_their_means():
    """Without a verdict there are only numbers."""
    assert Measured(Estimate(1.0, 0.1, 3)) < Measured(Estimate(2.0, 0.1, 3))


def test_other_things_do_not_compare():
    """A string is a slip, not a comparison."""
    result, _ = both(5)
    with pytest.raises(TypeError, match="compares with another one or with a number"):
        _ = result < "1.0"


def test_a_measured_metric_shows_mean_sd_and_runs():
    """Its parts have names and its repr is short."""
    value = Measured(Estimate(0.9979, 0.0003, 3))
    assert (value.mean, value.sd, value.n) == (0.9979, 0.0003, 3)
    assert repr(value) == "0.9979 ± 0.0003 (n=3)"
    assert repr(Measured(Estimate.of([]))) == "not measured"


# ------------------------------------------------------------- results and baselines


def judgement(verdict, state: str = "keep") -> Judgement:
    """What the loop would answer."""
    head = Head("h", SOURCE, None)
    return Judgement(state, "its reason", 1, head, verdict=verdict)


def test_a_result_has_its_metric_and_no_other():
    """Another name says which one there is."""
    result = Result("score", "min", judgement(verdict_on(5)))
    assert result.score.mean == pytest.approx(1.95)
    with pytest.raises(AttributeError, match="a result has 'score', not 'val_bpb'"):
        _ = result.val_bpb
    assert not hasattr(result, "__len__")
    assert repr(result).startswith("<score 1.95")


def test_beats_is_the_verdict():
    """`result.beats(baseline)` is `result.score < baseline.score`."""
    baseline = Baseline(lambda: "score", lambda: Measured(Estimate(2.0, 0.1, 3)))
    assert Result("score", "min", judgement(verdict_on(5))).beats(baseline)
    assert not Result("score", "min", judgement(verdict_on(0))).beats(baseline)
    assert not Result("score", "min", judgement(None, "crash")).beats(baseline)


def test_a_baseline_is_read_when_it_is_looked_at():
    """Nothing is measured by asking for the fixture, its repr or a wrong name."""
    reads = []

    def read():
        reads.append(1)
        return Measured(Estimate(2.0, 0.1, 3))

    baseline = Baseline(lambda: "score", read)
    assert repr(baseline) == "<baseline>"
    with pytest.raises(AttributeError, match="the baseline has no 'val_bpb'"):
        _ = baseline.val_bpb
    assert not hasattr(baseline, "_private")
    assert reads == []
    assert baseline.score.n == 3
    assert reads == [1]


# ---------------------------------------------------------------------- gpu_budget


def budget_of(answer: Judgement):
    """A gpu_budget whose loop answers `answer`, and its claim."""
    claim = Claim("title", "hypothesis", "test_x.py::test_x", file="test_x.py")

    def finish(judgement):
        return Result("score", "min", judgement)

    return GpuBudget(claim, lambda idea: answer, finish), claim


def test_a_run_states_the_idea_and_brings_the_result(module):
    """The claim holds what was run and what became of it."""
    budget, claim = budget_of(judgement(verdict_on(5)))
    module.set("LR", 0.02)

    result = budget.run(module)

    assert result.score < 2
    assert claim.idea.edits == tuple(module.edits)
    assert (claim.idea.title, claim.idea.file) == ("title", "test_x.py")
    assert claim.judgement.state == "keep"
    assert repr(budget) == "<gpu_budget>"


def test_a_budget_is_spent_by_its_first_run(module):
    """Also by one that failed: one candidate, one budget."""
    budget, _ = budget_of(judgement(None, "crash"))
    with pytest.raises(TrialFailed, match="crash: its reason"):
        budget.run(module)
    with pytest.raises(BudgetSpentError, match="write a second test"):
        budget.run(module)


def test_a_budget_runs_a_train_module_only():
    """The fixture itself, not its text."""
    budget, claim = budget_of(judgement(verdict_on(5)))
    with pytest.raises(TypeError, match="takes the train_module fixture, not 'LR"):
        budget.run(textwrap.dedent("LR = 2"))
    assert claim.idea is None
