"""Candidates as data: validation, identity, and the one template."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import candidate
from autoresearch_plugin.candidate import Edit, Proposal
from autoresearch_plugin.errors import PatchError, SettingsError

SET = {"op": "set", "knob": "DEPTH", "value": 4}
REPLACE = {"op": "replace", "old": "x = 1", "new": "x = 2"}
DEFINE = {"op": "define", "source": "def f(x):\n    return x\n", "within": None}
APPLY = {"op": "apply", "diff": "@@ -1 +1 @@\n-x = 1\n+x = 2\n"}


def proposal(*edits, title="RoPE base 10K -> 200K", **more):
    data = {"title": title, "edits": list(edits or [SET]), **more}
    return Proposal.from_data(data)


def signature(*edits):
    return proposal(*edits).signature


class TestEdits:
    @pytest.mark.parametrize("data", [SET, REPLACE, DEFINE, APPLY])
    def test_round_trip(self, data):
        """JSON in, JSON out."""
        assert Edit.from_data(json.loads(json.dumps(data))).to_data() == data

    @pytest.mark.parametrize(
        ("data", "after"),
        [
            (SET, "DEPTH = 4\nx = 1\ndef f(x): return 0\n"),
            (REPLACE, "DEPTH = 3\nx = 2\ndef f(x): return 0\n"),
            (DEFINE, "DEPTH = 3\nx = 1\ndef f(x):\n    return x\n"),
            (APPLY, "DEPTH = 3\nx = 2\ndef f(x): return 0\n"),
        ],
    )
    def test_apply(self, data, after):
        """Each verb does what `train_module` does."""
        source = "DEPTH = 3\nx = 1\ndef f(x): return 0\n"
        assert Edit.from_data(data).apply(source) == after

    def test_arguments_go_by_name(self):
        """The order of the mapping does not matter."""
        edit = Edit("replace", {"new": "b", "old": "a"})
        assert edit.apply("a\n") == "b\n"

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (None, "must be an object, not nothing"),
            ([], "must be an object, not list"),
            ({"op": "exec"}, "unknown edit op 'exec'; use one of replace, set"),
            ({"op": ["set"]}, "unknown edit op"),
            ({"op": "set", "knob": "A"}, "needs `value`"),
            ({"op": "set", "knob": 1, "value": 1}, "needs `knob` as text, not int"),
            ({"op": "set", "knob": "A", "value": float("nan")}, "NaN or infinity"),
            ({"op": "set", "knob": "A", "value": [1, {"b": float("inf")}]}, "NaN or"),
            ({"op": "replace", "old": "a"}, "needs `new` as text, not nothing"),
            ({"op": "define", "source": "x", "within": 3}, "must be a class name"),
            ({"op": "apply"}, "needs `diff` as text"),
        ],
    )
    def test_refusals(self, data, words):
        """What is wrong is said in words a model can act on."""
        with pytest.raises(PatchError) as caught:
            Edit.from_data(data)
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("data", "label"),
        [
            (SET, "DEPTH = 4"),
            (REPLACE, "-> x = 2"),
            ({**REPLACE, "new": ""}, "-> (nothing)"),
            (DEFINE, "define f"),
            ({**DEFINE, "within": "MLP"}, "define MLP.f"),
            ({**DEFINE, "source": "?"}, "define ?"),
            (APPLY, "apply a diff"),
        ],
    )
    def test_label(self, data, label):
        """A few words for tables."""
        assert Edit.from_data(data).label() == label


class TestProposals:
    def test_round_trip(self):
        """A proposal survives its own JSON."""
        first = proposal(SET, DEFINE, hypothesis="longer waves", category="attention")
        assert Proposal.from_data(json.loads(json.dumps(first.to_data()))) == first

    def test_apply_edits_in_order(self):
        """Later edits see what earlier ones did."""
        edits = [REPLACE, {"op": "replace", "old": "x = 2", "new": "x = 3"}]
        assert proposal(*edits).apply("x = 1\n") == "x = 3\n"

    def test_a_result_that_is_no_python_does_not_apply(self):
        """The patched module is parsed before anything runs."""
        with pytest.raises(PatchError, match="the patched target is not Python"):
            proposal({"op": "replace", "old": "1", "new": "("}).apply("x = 1\n")

    def test_words_are_cleaned_and_cut(self):
        """Line ends are spaces, control characters go, unseen ones are shown."""
        found = proposal(title="a\n b\x00\u202e" + "c" * 200, hypothesis=" why \t not ")
        assert found.title == "a b\ufffd" + "c" * 96
        assert found.hypothesis == "why not"
        assert proposal().hypothesis == proposal().title

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            ("x", "must be an object, not str"),
            ({"edits": [SET]}, "needs a `title`"),
            ({"title": " \n", "edits": [SET]}, "needs a `title`"),
            ({"title": "t", "hypothesis": 3, "edits": [SET]}, "needs a `hypothesis`"),
            ({"title": "t", "category": "magic", "edits": [SET]}, "unknown category"),
            ({"title": "t", "category": ["other"], "edits": [SET]}, "unknown category"),
            ({"title": "t"}, "a list of 1 to 20 edits"),
            ({"title": "t", "edits": [SET] * 21}, "a list of 1 to 20 edits"),
            ({"title": "t", "edits": [SET, 1]}, "an edit must be an object"),
        ],
    )
    def test_refusals(self, data, words):
        """The first thing that is wrong, in words."""
        with pytest.raises(PatchError) as caught:
            Proposal.from_data(data)
        assert words in str(caught.value)


class TestSignature:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (
                DEFINE,
                {
                    **DEFINE,
                    "source": "    def f( x ):\n        'doc'\n        return x",
                },
            ),
            (REPLACE, {**REPLACE, "new": "x  =  2\n\n"}),
            ({**SET, "value": [1, 2]}, {**SET, "value": (1, 2)}),
            (
                APPLY,
                {**APPLY, "diff": "--- a/t\n+++ b/t\n@@ -9 +9 @@ f\n-x = 1\n+x = 2"},
            ),
        ],
    )
    def test_formatting_does_not_count(self, one, other):
        """The same idea in other clothes has the same signature."""
        assert signature(one) == signature(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (SET, {**SET, "value": 5}),
            (SET, {**SET, "value": 4.0}),
            (SET, {**SET, "value": "4"}),
            (DEFINE, {**DEFINE, "within": "MLP"}),
            (REPLACE, {"op": "replace", "old": "x = 2", "new": "x = 1"}),
            (
                {**REPLACE, "new": "for i in y:\n    f()\n    g()"},
                {**REPLACE, "new": "for i in y:\n    f()\ng()"},
            ),
            (
                {"op": "apply", "diff": "@@\n a = 1\n+x = 2\n"},
                {"op": "apply", "diff": "@@\n b = 1\n+x = 2\n"},
            ),
        ],
    )
    def test_meaning_counts(self, one, other):
        """Another value, place, direction or indentation is another idea."""
        assert signature(one) != signature(other)

    def test_words_do_not_count_but_order_does(self):
        """Only the edits are the idea."""
        assert proposal(title="a").signature == proposal(title="b").signature
        assert signature(SET, REPLACE) != signature(REPLACE, SET)

    def test_what_does_not_parse_has_one_too(self):
        """An identity is needed before anybody knows whether the edit applies."""
        broken = {**DEFINE, "source": "def f(:"}
        assert signature(broken) != signature({**DEFINE, "source": "def g(:"})


class TestNames:
    @pytest.mark.parametrize(
        ("title", "name"),
        [
            ("RoPE base 10K -> 200K", "rope_base_10k_200k"),
            ("学習率", "candidate"),
            ("../../etc/passwd", "etc_passwd"),
            ("x" * 100, "x" * 48),
            ("a" * 47 + " b", "a" * 47),
        ],
    )
    def test_slug(self, title, name):
        """Letters, digits and underscores only: a file and a function name."""
        assert candidate.slug(title) == name

    def test_file_name(self):
        """The number comes first, so files sort by age."""
        assert candidate.file_name(42, "RoPE 200K") == "test_0042_rope_200k.py"


HOSTILE = [
    '"""\nimport os\nos.system("x")\n"""',
    "'''); import os #",
    "{edits} {metric} {0} %s",
    "back\\slash \\N{BULLET} \\u0041",
    "ends with a quote'\"",
    "trailing backslash \\",
    "\u2028line\u2029sep\x85next",
]


class TestTemplate:
    def test_what_a_test_looks_like(self):
        """One docstring, the edits, the run and the plain assert."""
        text = candidate.render_test(
            proposal(SET, hypothesis="longer wavelengths"), "val_bpb", "min"
        )
        assert text == (
            '"""RoPE base 10K -> 200K: longer wavelengths"""\n\n\n'
            "def test_rope_base_10k_200k(train_module, gpu_budget, baseline):\n"
            "    train_module.set('DEPTH', 4)\n"
            "    result = gpu_budget.run(train_module)\n"
            "    assert result.val_bpb < baseline.val_bpb\n"
        )

    @pytest.mark.parametrize(
        ("category", "direction", "operator"),
        [
            ("other", "min", "<"),
            ("other", "max", ">"),
            ("simplification", "min", "<="),
            ("simplification", "max", ">="),
        ],
    )
    def test_the_assert_follows_category_and_direction(
        self, category, direction, operator
    ):
        """A simplification need not be better, only not worse."""
        text = candidate.render_test(proposal(category=category), "acc", direction)
        assert f"assert result.acc {operator} baseline.acc\n" in text

    @pytest.mark.parametrize("metric", ["val/bpb", "a b", "lambda", "", "x; import os"])
    def test_the_metric_must_be_a_name(self, metric):
        """A metric is written into the test as an attribute, or not at all."""
        with pytest.raises(SettingsError, match="letters, digits"):
            candidate.render_test(proposal(), metric, "min")

    @pytest.mark.parametrize("text", HOSTILE)
    @pytest.mark.parametrize("field", ["title", "hypothesis", "old", "source", "value"])
    def test_hostile_words_stay_words(self, text, field):
        """Whatever a model writes, the file is one docstring and four statements."""
        edit = {
            "old": {"op": "replace", "old": text, "new": text},
            "source": {"op": "define", "source": text, "within": text},
            "value": {"op": "set", "knob": text, "value": [text, {text: text}]},
        }.get(field, SET)
        words = {field: text} if field in ("title", "hypothesis") else {}
        check(proposal(edit, **words))

    @given(st.text(min_size=1), st.text(), st.text())
    def test_any_words_give_the_same_shape(self, title, hypothesis, value):
        """A property of the template: words cannot become code."""
        try:
            found = proposal(
                {**SET, "value": value}, title=title, hypothesis=hypothesis
            )
        except PatchError:
            return
        check(found)


def check(found):
    """The rendered file holds a docstring and one test of three plain statements."""
    text = candidate.render_test(found, "val_bpb", "min")
    assert candidate.render_test(found, "val_bpb", "min") == text
    docstring, test = ast.parse(text).body
    assert isinstance(docstring.value.value, str)
    assert [type(node).__name__ for node in test.body] == ["Expr", "Assign", "Assert"]
    (call,) = (node.value for node in test.body[:1])
    assert ast.unparse(call.func).startswith("train_module.")
    arguments = [ast.literal_eval(argument) for argument in call.args]
    stated = [x for x in found.edits[0].values() if x is not None]
    within = [ast.literal_eval(keyword.value) for keyword in call.keywords]
    assert arguments + within == stated
