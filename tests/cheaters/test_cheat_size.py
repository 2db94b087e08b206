"""Rows 25, 58 and 59: weights in the source, bombs for the parser, other files."""

from __future__ import annotations

import base64
import random
import time
from typing import Any

import pytest

from autoresearch_plugin.candidate import Edit, Proposal
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.idea import Idea
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.checks import check

SOURCE = '''"""A target."""

LR = 0.1
TABLE = (1, 2)
BIG = "{big}"


def train(run):
    return LR
'''.format(big="x" * 3000)
REQUEST = Request("train.py", SOURCE, "HEAD", "val_bpb", "min")
NOISE = random.Random(0).randbytes(100_000)
WEIGHTS = base64.b85encode(NOISE).decode()


def code(body: str) -> dict[str, str]:
    """An edit that puts `body` into the function."""
    return {"op": "replace", "old": "    return LR\n", "new": body}


def expression(text: str) -> dict[str, str]:
    """An edit whose function returns `text`."""
    return code(f"    return {text}\n")


def pieces(size: int, count: int) -> str:
    """Weights in pieces that are small each."""
    return "[" + ", ".join(repr(WEIGHTS[i * size :][:size]) for i in range(count)) + "]"


BOMBS = {
    "base85 weights": (expression(f"b85({WEIGHTS!r})"), r"125 0\d\d characters longer"),
    "a literal of 20 kB": (expression(f"{WEIGHTS[:20_000]!r}"), "20 000 characters"),
    "bytes": (expression(repr(NOISE[:4000])), "4 000 bytes"),
    "a docstring": (code(f"    '''{WEIGHTS[:4000].replace(chr(92), '')}'''\n"), "char"),
    "an f-string": (expression("f'" + "ab{1}" * 2000 + "'"), "4 000 characters"),
    "in pieces": (expression(pieces(2000, 40)), "longer; at most"),
    "implicit pieces": (expression("(" + "'ab' " * 2000 + ")"), "4 000 characters"),
    "a list of floats": (expression(repr([0.5, -0.25] * 300)), "600 numbers"),
    "a tuple of tuples": (expression(repr(((1.5,) * 100,) * 6)), "600 numbers"),
    "a dict": (expression(repr(dict.fromkeys(range(300), 1))), "600 numbers"),
    "arguments": (expression(f"max({', '.join(['1'] * 600)})"), "600 numbers"),
    "a long integer": (expression("0x" + "f" * 1000), "1 200 digits"),
    "too long to read": (expression("9" * 5000), "is not Python"),
    "10**10**9": (expression("10**10**9"), "digits"),
    "9**9**9**9": (expression("9**9**9**9"), "digits"),
    "1 << 10**9": (expression("1 << 10**9"), "digits"),
    "2**20 * 2**5000": (expression("2**20 * 2**5000"), "digits"),
    '"x" * 10**9': (expression('"x" * 10**9'), "1 000 000 000 elements"),
    "10**9 * [0]": (expression("10**9 * [0]"), "1 000 000 000 elements"),
    "((1,) * 10**5) * 10**8": (expression("(1,) * 10**5 * 10**8"), "elements|digits"),
    "3000 nested lists": (expression("[" * 3000 + "]" * 3000), "not Python|nested"),
    "150 nested lists": (expression("[" * 250 + "]" * 250), "not Python|nested"),
    "unary": (expression("-" * 5000 + "1"), "not Python|nested"),
    "a sum": (expression("+".join(["LR"] * 5000)), "not Python|nested"),
    "attributes": (expression("LR" + ".a" * 5000), "not Python|nested"),
    "a chain of ifs": (
        code("    if LR: pass\n" + "    elif LR: pass\n" * 1000),
        "not Python|nested",
    ),
    "blocks": (
        code("".join(" " * (4 + i) + "if LR:\n" for i in range(99)) + " " * 103 + "1"),
        "not Python|nested",
    ),
    "a coding cookie": (
        {"op": "replace", "old": '"""A t', "new": "\x00"},
        "not Python",
    ),
    "a surrogate": (expression("'\ud800'"), "not Python"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_no_idea_is_refused_at_once(name: str) -> None:
    """In words, from a model as from a hand-written test, and nothing is executed."""
    edit, words = BOMBS[name]
    began = time.process_time()
    with pytest.raises(PatchError, match=words):
        check({"title": name, "category": "other", "edits": [edit]}, REQUEST)
    assert time.process_time() - began < 0.5  # on a busy machine; 0.02 s as a rule
    by_hand = Edit("replace", {"old": edit["old"], "new": edit["new"]})
    idea = Idea("hand", name, "", "other", (by_hand,))
    with pytest.raises(PatchError, match=words):
        idea.apply(SOURCE)


def test_a_researcher_understands_the_reason() -> None:
    """What it is, how much, why not, and how much would be."""
    with pytest.raises(PatchError) as error:
        Proposal.from_data({"title": "t", "edits": [_set("LR", "w" * 5000)]})
    assert str(error.value) == (
        "a literal of 5 000 characters: weights cannot be brought along in the source "
        "(at most 2 048)."
    )


def _set(knob: str, value: Any) -> dict[str, Any]:
    return {"op": "set", "knob": knob, "value": value}


@pytest.mark.parametrize(
    "text",
    [
        "2**64 - 1",
        "10**9 * LR",
        "(1 << 20) + 3",
        "'-' * 80",
        "[0.0] * 4096",
        "0x9E3779B97F4A7C15",
        repr([0.5] * 500),
        repr("w" * 2000),
        "x ** 10**6",
        "1e300 * 1e300",
    ],
)
def test_ordinary_constants_are_fine(text: str) -> None:
    """What people write in training code."""
    assert check({"title": "t", "edits": [expression(text)]}, REQUEST)


def test_what_the_parent_has_may_stay() -> None:
    """A long text of the target's own is no smuggling, also beside a change."""
    edit = {"op": "replace", "old": "LR = 0.1", "new": "LR = 0.2"}
    assert check({"title": "t", "edits": [edit]}, REQUEST)


# ------------------------------------------------------------------------ other files

BODY = "@@ -3 +3 @@\n-LR = 0.1\n+LR = 0.2\n"
HEADERS = [
    "--- a/../x.py\n+++ b/../x.py\n",
    "--- /etc/passwd\n+++ /etc/passwd\n",
    "--- a/train.py\n+++ b/sitecustomize.py\n",
    "--- a/train.py\n+++ /dev/null\n",
    "--- /dev/null\n+++ b/conftest.py\n",
    "+++ b/conftest.py\n",
    "Index: conftest.py\n",
    "diff --git a/conftest.py b/conftest.py\n",
    "diff --git a/train.py b/link\nold mode 100644\nnew mode 120000\n",
    "diff --git a/train.py b/train.py\nold mode 100644\nnew mode 120000\n",
    "diff --git a/train.py b/train.py\nnew file mode 120000\n",
    "diff --git a/train.py b/train.py\ndeleted file mode 100644\n",
    "rename from train.py\nrename to conftest.py\n",
    "copy from train.py\ncopy to conftest.py\n",
    "GIT binary patch\n",
    '--- "a/tra\\303\\244in.py"\n+++ "b/tra\\303\\244in.py"\n',
    "--- a/.git/hooks/pre-commit\n+++ b/.git/hooks/pre-commit\n",
    "--- a/train.py\0/../x\n+++ b/train.py\n",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_diff_names_the_target_or_nothing(header: str) -> None:
    """Other files, links, modes, renames: refused by name."""
    edit = {"op": "apply", "diff": header + BODY}
    with pytest.raises(PatchError, match="only"):
        check({"title": "t", "edits": [edit]}, REQUEST)


@pytest.mark.parametrize("field", ["file", "path"])
@pytest.mark.parametrize(
    "name", ["../train.py", "/train.py/x", "conftest.py", "a/train.pyc", ["train.py"]]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_field_names_the_target_or_nothing(
    field: str, name: Any, inside: bool
) -> None:
    """Also where nobody would read it."""
    edit = _set("LR", 0.2)
    data: dict[str, Any] = {"title": "t", "edits": [edit]}
    (edit if inside else data)[field] = name
    with pytest.raises(PatchError, match=r"only train\.py can be changed"):
        check(data, REQUEST)


def test_an_honest_diff_is_applied() -> None:
    """With git's header, and without any."""
    head = "diff --git a/train.py b/train.py\nindex 1..2 100644\n"
    for header in (head + "--- a/train.py\n+++ b/train.py\n", ""):
        edit = {"op": "apply", "diff": header + BODY}
        assert check({"title": "t", "edits": [edit]}, REQUEST)
