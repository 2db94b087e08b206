"""A candidate: one proposed change, as data. What a proposer returns, what a test is.

Edits are data, never code that runs in a pytest process; `render_test` turns a proposal
into its test file through the one template below.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autoresearch_plugin import limits, patch
from autoresearch_plugin.errors import PatchError, SettingsError
from autoresearch_plugin.quoting import flat
from autoresearch_plugin.syntax import tree_of

CATEGORIES = (
    "architecture",
    "attention",
    "batch",
    "initialisation",
    "learning-rate",
    "optimizer",
    "regularisation",
    "schedule",
    "simplification",
    "other",
)

_FIELDS = {
    "replace": ("old", "new"),
    "set": ("knob", "value"),
    "define": ("source", "within"),
    "apply": ("diff",),
}


@dataclass(frozen=True)
class Edit:
    """One verb of `train_module` with its arguments, as JSON-able data.

    `op` is `replace` (old, new), `set` (knob, value), `define` (source, within) or
    `apply` (diff).
    """

    op: str
    arguments: Mapping[str, Any]

    @classmethod
    def from_data(cls, data: object) -> Edit:
        """Validate one edit that came from outside.

        Raises:
            PatchError: not an object, unknown `op`, a missing or a wrong field.
        """
        if not isinstance(data, Mapping):
            raise PatchError(f"an edit must be an object, not {_kind(data)}.")
        op = data.get("op")
        if not isinstance(op, str) or op not in _FIELDS:
            raise PatchError(
                f"unknown edit op {_brief(op)}; use one of {', '.join(_FIELDS)}."
            )
        arguments = {name: data.get(name) for name in _FIELDS[op]}
        for name, value in arguments.items():
            _check_field(op, name, value, name in data)
        return cls(op, arguments)

    def to_data(self) -> dict[str, Any]:
        """The JSON form that `from_data` takes."""
        return {"op": self.op, **self.arguments}

    def apply(self, source: str) -> str:
        """`source` with this edit; raises PatchError if it does not apply."""
        return _VERBS[self.op](source, *self.values())

    def values(self) -> list[Any]:
        """The arguments in the order in which the verb takes them."""
        return [self.arguments.get(name) for name in _FIELDS[self.op]]

    def canonical(self) -> list[str]:
        """The edit without formatting: equal for edits that say the same."""
        if self.op == "set":
            value = json.dumps(self.arguments["value"], default=repr)
            return ["set", str(self.arguments["knob"]), value]
        if self.op == "define":
            return ["define", self.arguments.get("within") or "", self._body()]
        if self.op == "apply":
            return ["apply", *_hunk_lines(self.arguments["diff"])]
        return ["replace", *(_canonical_text(x) for x in self.values())]

    def _body(self) -> str:
        try:
            return patch.normalise_definition(self.arguments["source"])
        except PatchError:  # it will not apply either; it still needs an identity
            return _canonical_text(self.arguments["source"])

    def label(self) -> str:
        """A few words for tables: `DEPTH = 2`, `define MLP.forward`."""
        if self.op == "set":
            return f"{self.arguments['knob']} = {self.arguments['value']!r}"
        if self.op == "define":
            found = re.search(r"(?:def|class)\s+(\w+)", self.arguments["source"])
            within = self.arguments.get("within")
            name = found[1] if found else "?"
            return f"define {within + '.' if within else ''}{name}"
        if self.op == "apply":
            return "apply a diff"
        new = self.arguments["new"].strip().splitlines()
        return f"-> {new[0][:60] if new else '(nothing)'}"


def _canonical_text(text: str) -> str:
    """Lines without blank ones; spacing counts at their start, where it is syntax."""
    lines = [(line, " ".join(line.split())) for line in text.splitlines()]
    return "\n".join(
        " " * (len(line) - len(line.lstrip())) + words for line, words in lines if words
    )


def _hunk_lines(diff: str) -> list[str]:
    """A diff's hunks without line numbers and file names; context says where it is."""
    hunks = re.split(r"^@@.*", diff, flags=re.MULTILINE)[1:]
    return [_canonical_text(hunk) for hunk in hunks]


_VERBS: Mapping[str, Callable[..., str]] = {
    "replace": patch.replace_once,
    "set": patch.set_knob,
    "define": patch.define,
    "apply": patch.apply_diff,
}


@dataclass(frozen=True)
class Proposal:
    """What a proposer returns: words and edits, no code that anybody will run here.

    `retest` is the number of an earlier candidate that is tried again on purpose,
    `repairs` that of a crashed one of which this is a mended version; 0 stands for
    whichever that is. `parts` are the near misses that a bundle is made of; nobody
    outside can make one.
    """

    title: str
    hypothesis: str
    category: str
    edits: tuple[Edit, ...]
    retest: int | None = None
    repairs: int | None = None
    parts: tuple[int, ...] = ()

    @classmethod
    def from_data(cls, data: object) -> Proposal:
        """Validate a proposal that came from outside.

        Raises:
            PatchError: with the first thing that is wrong, in words a model can mend.
        """
        if not isinstance(data, Mapping):
            raise PatchError(f"a proposal must be an object, not {_kind(data)}.")
        title = _line(data.get("title"), "title", 100)
        hypothesis = _line(data.get("hypothesis") or title, "hypothesis", 600)
        category = data.get("category") or "other"
        if not isinstance(category, str) or category not in CATEGORIES:
            raise PatchError(
                f"unknown category {_brief(category)}; use one of "
                f"{', '.join(CATEGORIES)}."
            )
        edits = data.get("edits")
        if not isinstance(edits, list) or not 1 <= len(edits) <= 20:
            raise PatchError("a proposal needs `edits`, a list of 1 to 20 edits.")
        parsed = tuple(map(Edit.from_data, edits))
        numbers = _number(data, "retest"), _number(data, "repairs")
        return cls(title, hypothesis, category, parsed, *numbers)

    def to_data(self) -> dict[str, Any]:
        """The JSON form that `from_data` takes."""
        numbers = {"retest": self.retest, "repairs": self.repairs}
        return {
            "title": self.title,
            "hypothesis": self.hypothesis,
            "category": self.category,
            "edits": [edit.to_data() for edit in self.edits],
            **{key: n for key, n in numbers.items() if n is not None},
        }

    def apply(self, source: str) -> str:
        """The parent's source with all edits, in order; raises PatchError."""
        return apply_edits(self.edits, source)

    @property
    def signature(self) -> str:
        """Identity of the *idea*, whatever its parent: hash of the canonical edits."""
        return signature(self.edits)


def apply_edits(edits: tuple[Edit, ...], source: str) -> str:
    """The parent's `source` with edits in order; PatchError also if it is too large."""
    patched = source
    for edit in edits:
        patched = edit.apply(patched)
        limits.check_growth(source, patched)
    limits.check(patch.parse(source), patch.parse(patched))
    return patched


def signature(edits: tuple[Edit, ...]) -> str:
    """Hash of edits without their formatting; 16 hex digits."""
    text = json.dumps([edit.canonical() for edit in edits])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(source: str, patched: str) -> dict[str, str]:
    """What a patch does, whatever its edits: columns of the ledger.

    `source_key` names the program; `changes` are the knobs that it moves, as JSON, and
    empty if it does more than that. Raises PatchError: one of the two is no Python.
    """
    moved, is_all = patch.changes(source, patched)
    rows = [[one.knob, one.old, one.new] for one in moved] if is_all else []
    key = patch.sha256(patch.normalise(patched))
    return {"source_key": key, "changes": json.dumps(rows, default=repr)}


def edits_json(edits: tuple[Edit, ...]) -> str:
    """Edits as the ledger stores them."""
    return json.dumps([edit.to_data() for edit in edits])


def slug(title: str) -> str:
    """`RoPE base 10K` becomes `rope_base_10k`: part of a file and a function name."""
    words = re.findall(r"[a-z0-9]+", title.lower())
    return "_".join(words)[:48].strip("_") or "candidate"


def file_name(number: int, title: str) -> str:
    """`test_0042_rope_200k.py`."""
    return f"test_{number:04d}_{slug(title)}.py"


TEMPLATE = '''"""{docstring}"""


def test_{slug}(train_module, gpu_budget, baseline):
{edits}
    result = gpu_budget.run(train_module)
    assert result.{metric} {operator} baseline.{metric}
'''


def render_test(proposal: Proposal, metric: str, direction: str) -> str:
    """The test file of a proposal; the same proposal always gives the same bytes.

    Raises:
        SettingsError: the metric's name cannot be an attribute of a result.
    """
    if not metric.isidentifier() or keyword.iskeyword(metric):
        raise SettingsError(
            f"the metric {metric!r} cannot be written in a test. Give it a name of "
            "letters, digits and underscores."
        )
    operator = "<" if direction == "min" else ">"
    if proposal.category == "simplification":
        operator += "="
    hypothesis = proposal.hypothesis
    words = proposal.title
    if hypothesis and hypothesis != words:
        words += ": " + hypothesis
    text = TEMPLATE.format(
        docstring="\n".join(textwrap.wrap(_docstring_safe(words), 82)),
        slug=slug(proposal.title),
        edits="\n".join(_call(edit) for edit in proposal.edits),
        metric=metric,
        operator=operator,
    )
    tree_of(text)
    return text


def _call(edit: Edit) -> str:
    arguments = edit.arguments
    if edit.op == "define":
        within = arguments.get("within")
        extra = f", within={within!r}" if within else ""
        return f"    train_module.define({arguments['source']!r}{extra})"
    values = ", ".join(map(repr, edit.values()))
    return f"    train_module.{edit.op}({values})"


def _docstring_safe(text: str) -> str:
    """Text that cannot end a docstring or start an escape in it."""
    plain = text.replace("\\", "/").replace('"', "'")
    return "".join(ch if ch.isprintable() else " " for ch in plain)


def _line(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PatchError(f"a proposal needs a `{name}`, a short text.")
    return flat(value[: 20 * limit])[:limit].rstrip()


def _number(data: Mapping[str, Any], name: str) -> int | None:
    """The number of an earlier candidate; 0 for `true`, None for none."""
    value = data.get(name)
    if value is None or value is False:
        return None
    if value is True:
        return 0
    if not isinstance(value, int) or not 0 < value < 2**53:
        raise PatchError(
            f"`{name}` is the number of an earlier candidate, not {_brief(value)}; "
            "leave it out if there is none."
        )
    return value


def _check_field(op: str, name: str, value: object, present: bool) -> None:
    if (op, name) == ("set", "value"):
        if not present:
            raise PatchError("a `set` edit needs `value`.")
        limits.check_value(value)
        if not is_plain(value):
            raise PatchError("`value` of a `set` edit holds NaN or infinity.")
        return
    if (op, name) == ("define", "within"):
        if value is not None and not isinstance(value, str):
            raise PatchError("`within` of a `define` edit must be a class name.")
        return
    if not isinstance(value, str):
        raise PatchError(f"a `{op}` edit needs `{name}` as text, not {_kind(value)}.")
    limits.check_growth("", value)


def is_plain(value: object) -> bool:
    """Whether a value is JSON data that can be written as a Python literal."""
    if isinstance(value, Mapping):
        names = all(isinstance(name, str) for name in value)
        return names and all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _brief(value: object) -> str:
    return repr(value)[:100] if isinstance(value, str | int) else _kind(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
