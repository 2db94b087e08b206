"""Edits of source text: the four verbs, comparisons, knobs."""

from __future__ import annotations

import ast
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import patch
from autoresearch_plugin.errors import PatchError

SOURCE = '''\
"""A training module, in short."""

import torch

DEPTH = 3  # layers; range 1..12
LEARNING_RATE = 0.04  # Schrittweite η; range 1e-4..1.0 log
BETAS = (0.8, 0.95)  # AdamW
WINDOW: str = "SSSL"  # attention; choices SSSL, "SL", L


class MLP:
    """Two matrices."""

    def __init__(self, n):
        self.n = n

    @torch.compile
    def forward(self, x):
        # the square of ReLU
        return x.relu().square()

    class Inner:
        def forward(self, x):
            return x


def forward(x):
    return x


async def later():
    return 1
'''


def changed(old, new):
    """Lines that differ between two texts of equal length."""
    pairs = zip(old.splitlines(), new.splitlines(), strict=True)
    return [after for before, after in pairs if before != after]


class TestReplace:
    def test_replaces_the_only_occurrence(self):
        """One occurrence: replaced, nothing else touched."""
        new = patch.replace_once(SOURCE, "x.relu().square()", "x.gelu()")
        assert changed(SOURCE, new) == ["        return x.gelu()"]

    @pytest.mark.parametrize(
        ("old", "words"),
        [
            ("return x\n", "occurs 2 times in the target; expected exactly once. Add"),
            ("x.relu().squared()", "occurs 0 times in the target"),
            ("", "is empty"),
        ],
    )
    def test_anything_else_is_refused(self, old, words):
        """Nothing, several places or no text at all: an error that counts."""
        with pytest.raises(PatchError) as caught:
            patch.replace_once(SOURCE, old, "")
        assert words in str(caught.value)

    def test_overlapping_places_are_several(self):
        """A text that fits in two overlapping places is not unique."""
        with pytest.raises(PatchError, match="2 times"):
            patch.replace_once("A = 'xxx'\n", "xx", "y")

    def test_a_near_miss_is_named(self):
        """The error shows the nearest line, for a model to mend its quote."""
        with pytest.raises(PatchError, match=r"Nearest line: 'return x\.relu\(\)"):
            patch.replace_once(SOURCE, "return x.relu().squared()", "")

    def test_text_is_no_pattern(self):
        """Neither side is a regular expression or a template."""
        new = patch.replace_once(SOURCE, "x.relu()", r"\1 {0} %s")
        assert r"return \1 {0} %s.square()" in new

    def test_line_ends_are_those_of_the_target(self):
        """A quote with \\n finds its place in a file with \\r\\n, and stays so."""
        new = patch.replace_once(
            SOURCE.replace("\n", "\r\n"), "def forward(x):\n    return x", "pass\npass"
        )
        assert "pass\r\npass\r\n" in new
        assert "\n" not in new.replace("\r\n", "")


class TestSet:
    @pytest.mark.parametrize(
        ("name", "value", "line"),
        [
            ("DEPTH", 4, "DEPTH = 4  # layers; range 1..12"),
            ("DEPTH", None, "DEPTH = None  # layers; range 1..12"),
            ("BETAS", [0.9, 0.99], "BETAS = (0.9, 0.99)  # AdamW"),
            ("BETAS", [[1, 2], 3], "BETAS = ((1, 2), 3)  # AdamW"),
            (
                "WINDOW",
                'a"b',
                'WINDOW: str = \'a"b\'  # attention; choices SSSL, "SL", L',
            ),
        ],
    )
    def test_changes_the_value_and_keeps_the_comment(self, name, value, line):
        """One literal is swapped; JSON's lists become the tuples they stand for."""
        assert changed(SOURCE, patch.set_knob(SOURCE, name, value)) == [line]

    def test_columns_count_characters_not_bytes(self):
        """Non-ASCII text before a value does not shift the cut."""
        source = 'NAME = "größer → ü"; RATE = 1  # η\n'
        new = patch.set_knob(source, "RATE", 2)
        assert new == 'NAME = "größer → ü"; RATE = 2  # η\n'
        assert patch.set_knob(source, "NAME", "é") == "NAME = 'é'; RATE = 1  # η\n"

    @pytest.mark.parametrize("odd", ["\x0c", "'\u2028'", "'\x85'", "'\x1c'"])
    def test_lines_are_those_of_python(self, odd):
        """Form feeds and separators in strings are no line ends."""
        source = f"A = 1\n{odd}\nB = 2  # here\n"
        assert patch.set_knob(source, "B", 3) == f"A = 1\n{odd}\nB = 3  # here\n"
        assert patch.knobs(source)[1].comment == "here"

    def test_a_value_over_several_lines(self):
        """A value with line ends in it is replaced as a whole."""
        source = "A = (\n    1,  # one\n    2,\n)  # both\nB = 1\n"
        assert patch.set_knob(source, "A", [3]) == "A = (3,)  # both\nB = 1\n"

    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), object(), {1: print}]
    )
    def test_only_plain_literals(self, value):
        """What cannot be written as a literal is refused."""
        with pytest.raises(PatchError, match="plain literal"):
            patch.set_knob(SOURCE, "DEPTH", value)

    @pytest.mark.parametrize("name", ["WIDTH", "depth", "MLP", "torch"])
    def test_unknown_knobs_are_answered_with_the_known(self, name):
        """The error lists what the target has."""
        with pytest.raises(PatchError, match="DEPTH, LEARNING_RATE, BETAS, WINDOW"):
            patch.set_knob(SOURCE, name, 1)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(-1e9, 1e9)
            | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        )
    )
    def test_any_json_value_reads_back(self, value):
        """The patched module assigns exactly that value, and nothing else changes."""
        new = patch.set_knob(SOURCE, "DEPTH", value)
        found = {knob.name: knob.value for knob in patch.knobs(new)}
        assert found["DEPTH"] == value
        assert found["BETAS"] == (0.8, 0.95)


class TestDefine:
    def test_swaps_a_function(self):
        """The function of that name is replaced, its neighbours stay."""
        new = patch.define(SOURCE, "def forward(x):\n    return -x\n")
        assert changed(SOURCE, new) == ["    return -x"]

    def test_swaps_a_method_at_its_indentation(self):
        """`within` names the class; the text may be indented or not."""
        text = "@torch.compile\ndef forward(self, x):\n    return x.gelu()"
        flat = patch.define(SOURCE, text, within="MLP")
        indented = "\n\n" + "\n".join("            " + x for x in text.splitlines())
        assert (
            "    @torch.compile\n    def forward(self, x):\n        return x.gelu()"
            in flat
        )
        assert patch.define(SOURCE, indented + "\n    ", within="MLP") == flat
        assert "the square of ReLU" not in flat

    def test_reaches_nested_classes_classes_and_coroutines(self):
        """Dotted names, whole classes and async functions have their place too."""
        inner = patch.define(SOURCE, "def forward(self, x):\n    return 0", "MLP.Inner")
        assert "            return 0\n" in inner
        later = patch.define(SOURCE, "async def later():\n    return 2")
        assert changed(SOURCE, later) == ["    return 2"]
        whole = patch.define(SOURCE, "class MLP:\n    pass")
        assert "square" not in whole
        assert "def forward(x)" in whole

    def test_strings_keep_their_text(self):
        """Lines inside a string are not indented; a docstring's are."""
        text = (
            'def forward(self, x):\n    """Doc.\n\n    More.\n    """\n'
            '    return x, """\nkernel {\n}"""\n'
        )
        new = patch.define(SOURCE, text, within="MLP.Inner")
        assert "\nkernel {\n}" in new
        assert "\n            More.\n" in new
        assert not any(line.endswith(" ") for line in new.splitlines())

    def test_strings_at_the_margin_of_an_indented_text(self):
        """A string at column 0 does not keep the code around it from moving."""
        text = '    def forward(x):\n        return x, """\nkernel"""\n'
        new = patch.define(SOURCE, text)
        assert 'def forward(x):\n    return x, """\nkernel"""\n' in new

    def test_tabs_and_carriage_returns_of_the_target(self):
        """The new text takes over the target's indentation and line ends."""
        source = "class A:\r\n\tdef f(self):\r\n\t\treturn 1\r\n"
        new = patch.define(source, "def f(self):\n    return 2", within="A")
        assert new == "class A:\r\n\tdef f(self):\r\n\t    return 2\r\n"

    def test_the_last_line_without_an_end(self):
        """A target that does not end with a newline can still be edited."""
        assert patch.define("def f():\n    return 1", "def f(): return 2") == (
            "def f(): return 2\n"
        )

    @pytest.mark.parametrize(
        ("text", "within", "words"),
        [
            (
                "def forward(self, x):\n    pass",
                "MLP",
                "decorators of 'forward' differ",
            ),
            ("def absent():\n    pass", None, "0 times a definition of 'absent'"),
            ("def forward(x):\n    pass", "Nowhere", "0 times a class 'Nowhere'"),
            ("x = 1", None, "exactly one function or class"),
            ("if x:\n    def forward(x): pass", None, "exactly one function"),
            ("def a(): pass\ndef b(): pass", None, "exactly one function"),
            ("def forward(x:\n    pass", None, "the new definition is not Python"),
            ("", None, "exactly one function"),
        ],
    )
    def test_refusals(self, text, within, words):
        """No unique partner, other decorators, or not one definition."""
        with pytest.raises(PatchError) as caught:
            patch.define(SOURCE, text, within)
        assert words in str(caught.value)

    def test_two_of_a_name_are_ambiguous(self):
        """A property and its setter share a name: nothing is guessed."""
        source = "def f(): pass\n\n\ndef f(): pass\n"
        with pytest.raises(PatchError, match="2 times"):
            patch.define(source, "def f(): pass")


edits = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["drop", "é = 1", ""])),
    max_size=6,
)


def mutate(source, changes):
    """Some lines dropped or replaced."""
    lines = source.splitlines(keepends=True)
    for place, what in changes:
        i = place % len(lines) if lines else 0
        lines[i : i + 1] = [] if what == "drop" else [what + "\n"]
    return "".join(lines)


class TestDiffs:
    @given(edits)
    def test_a_diff_made_is_a_diff_applied(self, changes):
        """Applying the difference of two texts to the first gives the second."""
        numbered = "".join(f"line_{i} = {i}\n" for i in range(40))
        new = mutate(numbered, changes)
        diff = patch.unified_diff(numbered, new, "train.py")
        if new == numbered:
            assert diff == ""
            return
        assert patch.apply_diff(numbered, diff) == new

    @pytest.mark.parametrize(
        "new",
        [
            "a = 'x\x0cy'\nb = 3\n",
            "a = 1\nb = 2\nc = 'ü'",
            "a = 'x\u2028y'",
            "",
            "a = 1\r\nb = 2\r\n",
        ],
    )
    def test_git_takes_our_diffs(self, tmp_path, new):
        """`git apply` turns the old bytes into the new ones."""
        file = tmp_path / "train.py"
        old = "a = 1\nb = 2\n"
        file.write_bytes(old.encode())
        diff = patch.unified_diff(old, new, "train.py").encode()
        command = ["git", "apply", "--whitespace=nowarn", "-"]
        subprocess.run(command, input=diff, cwd=tmp_path, check=True)
        assert file.read_bytes() == new.encode()

    def test_line_numbers_do_not_matter(self):
        """A hunk finds its place by its lines, wherever its header says it is."""
        hunk = "@@ -900,2 +1 @@ def f\n def forward(x):\n-    return x\n+    y\n"
        diff = "--- a/t\n+++ b/t\n" + hunk
        assert changed(SOURCE, patch.apply_diff(SOURCE, diff)) == ["    y"]

    def test_whole_lines_are_compared(self):
        """A hunk for `x = 1` does not match the end of `max = 1`."""
        diff = "@@ @@\n-x = 1\n+x = 2\n"
        assert patch.apply_diff("max = 1\nx = 1\n", diff) == "max = 1\nx = 2\n"

    def test_several_hunks_and_stripped_blank_lines(self):
        """Blank context without its space, and blank lines at the end, are fine."""
        source = "a = 1\n\nb = 2\nc = 3\nd = 4\n"
        diff = "@@\n a = 1\n\n-b = 2\n+b = 0\n@@\n c = 3\n-d = 4\n\n\n"
        assert patch.apply_diff(source, diff) == "a = 1\n\nb = 0\nc = 3\n"

    def test_line_ends_of_the_target_are_kept(self):
        """A diff with \\n applies to a file with \\r\\n, and the other way round."""
        assert patch.apply_diff("a\r\nb\r\n", "@@\n-a\n+c\n") == "c\r\nb\r\n"
        assert patch.apply_diff("a\nb\n", "@@\r\n-a\r\n+c\r\n") == "c\nb\n"

    def test_a_missing_last_newline_stays_missing(self):
        """`\\ No newline at end of file` is a remark, not a line."""
        diff = patch.unified_diff("a\nb", "a\nc", "t")
        assert "No newline" in diff
        assert patch.apply_diff("a\nb", diff) == "a\nc"

    @pytest.mark.parametrize(
        ("diff", "words"),
        [
            ("", "holds no hunk"),
            ("--- a/t\n+++ b/t\n", "holds no hunk"),
            ("@@\n+x = 1\n", "no context"),
            ("@@\n         return x\n", "matches 0 places"),
            ("@@\n-a\n+b\n--- a/u\n+++ b/u\n@@\n-c\n+d\n", "several files"),
            ("@@\n-a\n+b\ndiff --git a/u b/u\n@@\n-c\n+d\n", "several files"),
        ],
    )
    def test_refusals(self, diff, words):
        """No hunk, no place, several files."""
        with pytest.raises(PatchError) as caught:
            patch.apply_diff(SOURCE, diff)
        assert words in str(caught.value)

    def test_a_hunk_with_two_places_is_refused(self):
        """Nothing is guessed where the context fits twice."""
        with pytest.raises(PatchError, match="matches 2 places"):
            patch.apply_diff("a\nb\na\nb\n", "@@\n a\n-b\n")


class TestPointless:
    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("x = 1\n", "x = 1\n", "equals its parent"),
            ("x = 1\n", "x  =  1  # one\n", "comments, docstrings, formatting"),
            ("A = 1\nB = 2\n", "B = 2\nA = 1\n", "the order of constants"),
            ("def f():\n    'a'\n", "def f():\n    'b'\n", "comments, docstrings"),
            ("x = 1\n", "x = 1\nprint(x)\n", "only prints"),
            (
                "if x:\n    y()\n",
                "if x:\n    print(f'{x.item():.3f}')\n    y()\n",
                "prints",
            ),
            (
                "if x:\n    y()\nelse:\n    z()\n",
                "if x:\n    y()\nelse:\n    print(1)\n    z()\n",
                "prints",
            ),
            ("manual_seed(1)\n", "manual_seed(2)\n", "only a seed"),
            (
                "t.cuda.manual_seed(1)\n",
                "t.cuda.manual_seed(run.seed)\n",
                "only a seed",
            ),
            ("f(x, seed=1)\n", "f(x, seed=2)\n", "only a seed"),
            ("RANDOM_SEED = 42\n", "RANDOM_SEED = 137\n", "only a seed"),
            ("SEED: int = 42\n", "SEED: int = 137\n", "only a seed"),
            ("self.seed = 42\n", "self.seed = 137\n", "only a seed"),
        ],
    )
    def test_changes_that_cannot_matter(self, old, new, reason):
        """No device time for words, prints and seeds."""
        assert reason in patch.pointless(old, new)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("x = 1\n", "x = 2\n"),
            ("x = 1\n", "x = 1.0\n"),
            ("f(x)\n", "f(x)\nprint(optimizer.step())\n"),
            ("f(x)\n", "f(x)\nprint(x := 2)\n"),
            ("seeded_init(w, 0.1)\n", "seeded_init(w, 0.2)\n"),
            ("seed_lr = 0.1\n", "seed_lr = 0.2\n"),
            ("proceeds = 1\n", "proceeds = 2\n"),
            ("set_seed(1, 2)\n", "set_seed(1, 3)\n"),
            ("f(x, seed=1, lr=1)\n", "f(x, seed=2, lr=2)\n"),
            ("x = 'a b'\n", "x = 'a  b'\n"),
            ("def f():\n    return\n", "def f():\n    print()\n"),
        ],
    )
    def test_changes_that_may_matter(self, old, new):
        """Anything else is worth a run."""
        assert patch.pointless(old, new) is None

    def test_both_must_be_python(self):
        """A target that does not parse is an error in words, not a traceback."""
        with pytest.raises(PatchError, match=r"not Python: .*\(line 2\)"):
            patch.pointless("x = 1\n", "x = 1\n)\n")


class TestSyntax:
    @pytest.mark.parametrize(
        "bad", ["def", "x = '\ud800'", "a\0b", "-" * 100_000 + "1"]
    )
    def test_whatever_is_wrong_is_a_patch_error(self, bad):
        """Syntax, surrogates, null bytes, absurd nesting: one line each."""
        with pytest.raises(PatchError) as caught:
            patch.parse(bad)
        assert "\n" not in str(caught.value)

    def test_odd_escapes_do_not_warn(self, recwarn):
        """A candidate's odd escape reaches neither the terminal nor `-W error`."""
        patch.parse('x = "\\d"\n')
        assert not recwarn.list

    def test_logical_lines(self):
        """Statements count; comments, blank lines and docstrings do not."""
        head = '"""Doc."""\n\n# note\nx = 1; y = 2\n\n'
        source = head + 'def f():\n    "Doc."\n    return (\n        x\n    )\n'
        assert patch.logical_lines(source) == 4

    def test_normalise_forgets_words_only(self):
        """Formatting and docstrings go, values stay."""
        assert patch.normalise("def f(): 'doc'\n") == patch.normalise("def f():  pass")
        assert patch.normalise("x = 1") != patch.normalise("x = 2")
        assert patch.normalise("A = 1\nB = 2") == patch.normalise("B=2; A=1")
        flat, indented = "def f(): pass", "    def f():\n        'doc'"
        assert patch.normalise_definition(indented) == patch.normalise(flat)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("A = 1\nA = 2\n", "A = 2\nA = 1\n"),
            ("A = 1\nB = A\n", "B = A\nA = 1\n"),
            ("A = 1\nf()\nB = 2\n", "B = 2\nf()\nA = 1\n"),
            ("A = [1, 2]\n", "A = [2, 1]\n"),
            ("def f():\n    a = 1\n    b = 2\n", "def f():\n    b = 2\n    a = 1\n"),
        ],
    )
    def test_an_order_that_may_matter_is_kept(self, one, other):
        """Only neighbouring constants of the module may change places."""
        assert patch.normalise(one) != patch.normalise(other)


class TestChanges:
    def test_a_knob_is_named_with_both_values(self):
        """By whatever edit: the knob, what it was, what it is, and that this is all."""
        old = "LR = 0.04  # rate\nBETAS = (0.9, 0.95)\n\ndef f():\n    pass\n"
        new = old.replace("0.04", "5e-2").replace("0.95", "0.99")
        found, is_all = patch.changes(old, new)
        assert [str(change) for change in found] == [
            "LR 0.04→0.05",
            "BETAS (0.9, 0.95)→(0.9, 0.99)",
        ]
        assert is_all

    def test_other_code_is_noticed(self):
        """A change of code is none of a knob's, and a new knob is code."""
        assert patch.changes("A = 1\nf(A)\n", "A = 2\nf(-A)\n") == (
            (patch.Change("A", 1, 2),),
            False,
        )
        assert patch.changes("A = 1\n", "A = 1\nB = 2\n") == ((), False)


class TestKnobs:
    def test_in_order_with_comment_range_and_choices(self):
        """Name, value, line, comment, and where a search may look."""
        depth, rate, betas, window = patch.knobs(SOURCE)
        assert (depth.name, depth.value, depth.line) == ("DEPTH", 3, 5)
        assert (depth.low, depth.high, depth.log, depth.is_integer) == (
            1,
            12,
            False,
            True,
        )
        assert (rate.low, rate.high, rate.log, rate.is_integer) == (
            1e-4,
            1.0,
            True,
            False,
        )
        assert rate.comment == "Schrittweite η; range 1e-4..1.0 log"
        assert (betas.searchable, betas.comment) == (False, "AdamW")
        assert window.choices == ("SSSL", "SL", "L")

    def test_choices_may_be_any_literals(self):
        """Tuples, None and numbers beside bare words."""
        (knob,) = patch.knobs("A = 1  # choices 1, None, (2, 3), 'a, b', relu; unit\n")
        assert knob.choices == (1, None, (2, 3), "a, b", "relu")

    @pytest.mark.parametrize(
        "comment", ["many choices here, or none", "a wide range a..b of things", ""]
    )
    def test_prose_is_no_range(self, comment):
        """The words count only at the start of a part between semicolons."""
        (knob,) = patch.knobs(f"A = 1  # {comment}\n")
        assert not knob.searchable

    def test_a_hash_inside_the_value_or_brackets(self):
        """The comment starts after the value."""
        first, second = patch.knobs("A = '#x'  # y\nB = (1)  # z; range 0..2\n")
        assert (first.comment, second.comment, second.high) == ("y", "z; range 0..2", 2)

    @pytest.mark.parametrize(
        "comment",
        [
            "range 1..a",
            "range 2..1",
            "range 0..1 log",
            "choices 1, a-b",
            "range True..2",
        ],
    )
    def test_bad_comments_are_named(self, comment):
        """A range needs two ordered numbers, a choice must be a literal."""
        with pytest.raises(PatchError, match="comment of knob 'A'"):
            patch.knobs(f"A = 1  # {comment}\n")

    def test_what_is_no_knob(self):
        """Lower case, computed, unpacked and nested assignments are left alone."""
        source = "a = 1\nB = 1 + x\nC, D = 1, 2\nE = F = 1\nif x:\n    G = 1\nH: int\n"
        assert patch.knobs(source) == []

    def test_none_leaves_the_kind_to_the_range(self):
        """`None` means "from the profile"; whole ends make a whole number."""
        (knob,) = patch.knobs("A = None  # range 1..8\n")
        assert (knob.value, knob.is_integer) == (None, True)

    def test_every_value_reads_back_from_source(self):
        """The knobs of the example are what Python would assign."""
        space = {}
        for node in ast.parse(SOURCE).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                exec(ast.unparse(node), space)
        for knob in patch.knobs(SOURCE):
            assert space[knob.name] == knob.value
