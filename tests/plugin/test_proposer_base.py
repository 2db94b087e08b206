"""Choosing a proposer by name, prices, and the checks every proposal passes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.candidate import (
    Edit,
    Proposal,
    apply_edits,
    identity,
    signature,
)
from autoresearch_plugin.errors import PatchError, ProposerError, SettingsError
from autoresearch_plugin.patch import Change
from autoresearch_plugin.prompt import Request, Tried
from autoresearch_plugin.proposers import Answer, Exhausted, Proposer, base, make, note
from autoresearch_plugin.proposers.base import Patience
from autoresearch_plugin.proposers.checks import check
from autoresearch_plugin.proposers.prices import PRICES, Price, Usage, price_of

SOURCE = "LR = 0.04\nDEPTH = 4\n\n\ndef train(run):\n    return LR * DEPTH\n"
REQUEST = Request("core/train.py", SOURCE, "3f2c1aa", "val_bpb", "min")
KEY = {"ANTHROPIC_API_KEY": "sk-ant-test"}


class NoPurse:
    """A purse that nobody should open."""

    def reserve(self, usd: float) -> bool:
        raise AssertionError("no money was asked for")

    def settle(self, call: Any, reserved: float) -> None:
        raise AssertionError("no money was spent")


def made(setting: str, **more: Any) -> Proposer:
    given: dict[str, Any] = {"purse": NoPurse(), "environ": {}, **more}
    return make(setting, **given)


def data(*edits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"title": "t", "category": "other", "edits": list(edits), **more}


def knob(name: str = "LR", value: Any = 0.1) -> dict[str, Any]:
    return {"op": "set", "knob": name, "value": value}


def tried(*edits: dict[str, Any], **more: Any) -> Tried:
    parsed = tuple(map(Edit.from_data, edits))
    given: dict[str, Any] = {"verdict": "discard", **more}
    return Tried(12, "t", signature(parsed), parsed, "other", **given)


# ---------------------------------------------------------------- choosing


def test_auto_takes_the_model_when_there_is_a_key_and_the_search_when_not() -> None:
    """`auto` is anthropic with a key and tpe without one."""
    assert made("auto").name == "tpe"
    assert made("auto", environ={"ANTHROPIC_API_KEY": " "}).name == "tpe"
    assert made("auto", environ=KEY).name == "anthropic"
    assert made("auto", environ={"ANTHROPIC_AUTH_TOKEN": "t"}).name == "anthropic"


def test_each_proposer_is_found_by_name(tmp_path: Path) -> None:
    """Every documented setting makes the proposer of that name, with a header line."""
    script = tmp_path / "script.jsonl"
    script.write_text("{}\n")
    for setting, name in (
        ("tpe", "tpe"),
        ("none", "none"),
        ("anthropic", "anthropic"),
        (f"scripted:{script}", "scripted"),
        (f"command:{sys.executable} -c pass", "command"),
    ):
        proposer = made(setting, environ=KEY)
        assert proposer.name == name
        assert note(proposer)


def test_tpe_says_that_it_does_not_read_the_steering_file() -> None:
    """The header's line about tpe admits that program.md is ignored."""
    assert "does not read program.md" in note(made("tpe"))


def test_none_is_exhausted_at_once() -> None:
    """Without a proposer there is no proposal, and that is no failure."""
    with pytest.raises(Exhausted, match="no proposer was chosen"):
        made("none").propose(REQUEST)


@pytest.mark.parametrize(
    "setting",
    ["optuna", "", "scripted", "scripted:", "command: ", "tpe:3", "none:x", "auto:x"],
)
def test_an_unknown_setting_lists_the_known_ones(setting: str) -> None:
    """A misspelt or incomplete proposer names all choices."""
    with pytest.raises(SettingsError) as caught:
        made(setting)
    assert repr(setting) in str(caught.value)
    assert base.CHOICES in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("scripted:/nowhere.jsonl", "there is no such file"),
        ("command:no-such-program-here", "there is no such program"),
        ("command:'unclosed", "mend the quotes"),
        ("no_such_module:Class", "ModuleNotFoundError"),
        ("json:NoSuchClass", "AttributeError"),
        ("threading:Event", "no method propose"),
    ],
)
def test_what_is_missing_is_said_before_the_session_starts(
    setting: str, words: str
) -> None:
    """A file, program or class that is not there is a settings error."""
    with pytest.raises(SettingsError, match=words):
        made(setting)


def test_anthropic_without_a_key_tells_the_two_ways_out() -> None:
    """No key: set it, or take the search."""
    with pytest.raises(SettingsError) as caught:
        made("anthropic")
    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert "--autoresearch-proposer tpe" in str(caught.value)


OWN = """
from autoresearch_plugin.candidate import Proposal
from autoresearch_plugin.proposers import Answer

class Plain:
    name = "plain"
    def propose(self, request):
        return Answer()

class Stuck(Plain):
    def propose(self, request):
        edits = [{"op": "set", "knob": "LR", "value": 0.1}]
        one = Proposal.from_data({"title": "same", "edits": edits})
        return Answer((one, one))

class Wired(Plain):
    def __init__(self, options):
        self.name = f"wired {options.model} {options.seed}"
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module with two proposer classes."""
    (tmp_path / "own_proposers_for_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield "own_proposers_for_test"
    sys.modules.pop("own_proposers_for_test", None)


def test_a_class_of_the_users_own_gets_options_if_it_takes_them(
    own_module: str,
) -> None:
    """MODULE:CLASS is called with Options, or with nothing."""
    plain = made(f"{own_module}:Plain")
    assert plain.propose(REQUEST) == Answer()
    assert note(plain) == ""
    wired = made(f"{own_module}:Wired", model="m", seed=3)
    assert wired.name == "wired m 3"


def test_a_class_of_the_users_own_is_checked_like_the_others(own_module: str) -> None:
    """It need not know the rules: what it repeats is refused, at last for good."""
    stuck = made(f"{own_module}:Stuck")
    assert len(stuck.propose(REQUEST).proposals) == 1
    request = replace(REQUEST, tried=(tried(knob()),))
    for _ in range(9):
        answer = stuck.propose(request)
        assert answer.proposals == ()
        assert answer.refused[0][1].startswith("already tried as #12: discard")
    with pytest.raises(ProposerError, match="10 answers in a row"):
        stuck.propose(request)


# ------------------------------------------------------------------ checks


def test_a_good_proposal_passes() -> None:
    """A proposal that applies and is new comes out as it went in."""
    proposal = check(data(knob()), REQUEST)
    assert proposal.apply(SOURCE) == SOURCE.replace("0.04", "0.1")


DEEP = "-" * 9999 + "1"  # deeper than Python's own parser goes


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (["no object"], "must be an object"),
        (data(), "1 to 20 edits"),
        (data({"op": "sett"}), "unknown edit op"),
        (data(knob("LRR")), "no knob 'LRR'"),
        (data({"op": "replace", "old": "nope", "new": ""}), "occurs 0 times"),
        (data({"op": "replace", "old": "4", "new": "5"}), "occurs 2 times"),
        (data({"op": "replace", "old": "LR * DEPTH", "new": "LR *"}), "not Python"),
        (data({"op": "apply", "diff": ""}), "no hunk"),
        (data(knob(value=0.04)), "cannot matter: the patched target equals"),
        (
            data({"op": "replace", "old": "LR * DEPTH", "new": DEEP}),
            "nested too deeply|cannot be applied|too complex to parse",
        ),
        (data({"op": "replace", "old": "\n\n\n", "new": "\n\n# x\n\n"}), "comments"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_the_reason(raw: Any, words: str) -> None:
    """A wrong shape, an edit that does not apply or does nothing: no device time."""
    with pytest.raises(PatchError, match=words):
        check(raw, REQUEST)


DIFF = """\
--- a/{path}
+++ b/{path}
@@ -1 +1 @@
-LR = 0.04
+LR = 0.05
"""


@pytest.mark.parametrize("path", ["core/train.py", "train.py", "./core/train.py"])
def test_a_diff_of_the_target_passes(path: str) -> None:
    """A diff may name the target by its path or its file name."""
    check(data({"op": "apply", "diff": DIFF.format(path=path)}), REQUEST)


@pytest.mark.parametrize("path", ["core/prepare.py", "rain.py", "other/train.py"])
def test_a_diff_of_another_file_is_refused(path: str) -> None:
    """A diff of any other file is refused although its lines would match."""
    with pytest.raises(PatchError, match=r"only core/train\.py can be changed"):
        check(data({"op": "apply", "diff": DIFF.format(path=path)}), REQUEST)


def test_a_second_file_in_a_diff_is_refused() -> None:
    """All headers of a diff are looked at, and fields that name a file too."""
    two = DIFF.format(path="train.py") + DIFF.format(path="conftest.py")
    with pytest.raises(PatchError, match=r"'conftest\.py'"):
        check(data({"op": "apply", "diff": two}), REQUEST)
    with pytest.raises(PatchError, match=r"'prepare\.py'"):
        check(data({**knob(), "file": "prepare.py"}), REQUEST)
    with pytest.raises(PatchError, match=r"'prepare\.py'"):
        check(data(knob(), path="prepare.py"), REQUEST)


def test_a_duplicate_is_refused_with_the_earlier_result() -> None:
    """What was tried is quoted back: number, verdict, effect, reason."""
    past = tried(knob(), effect=0.0012, reason="not proven lower")
    with pytest.raises(PatchError) as caught:
        check(data(knob(), title="reworded"), replace(REQUEST, tried=(past,)))
    assert str(caught.value).startswith(
        "already tried as #12: discard, val_bpb +0.0012 (not proven lower)."
    )


def test_the_order_of_edits_does_not_make_an_idea_new() -> None:
    """The same knobs in another order are a duplicate; another value is not."""
    request = replace(REQUEST, tried=(tried(knob(), knob("DEPTH", 2)),))
    with pytest.raises(PatchError, match="already tried"):
        check(data(knob("DEPTH", 2), knob()), request)
    check(data(knob("DEPTH", 2), knob(value=0.2)), request)


def replaced(old: str, new: str) -> dict[str, Any]:
    return {"op": "replace", "old": old, "new": new}


def known(*edits: dict[str, Any], source: str = SOURCE, **more: Any) -> Tried:
    """An idea that was tried on `source`, as the ledger tells of it."""
    parsed = tuple(map(Edit.from_data, edits))
    does = identity(source, apply_edits(parsed, source))
    moves = tuple(Change(*one) for one in json.loads(does["changes"]))
    more = {"source_key": does["source_key"], "changes": moves, **more}
    return tried(*edits, **more)


@pytest.mark.parametrize(
    "again",
    [
        [replaced("LR = 0.04", "LR  =  5e-2  # rate")],
        [replaced("LR = 0.04\nDEPTH = 4", "DEPTH = 4\nLR = 0.05")],
        [{"op": "apply", "diff": "@@ @@\n-LR = 0.04\n+LR = 0.05"}],
    ],
)
def test_another_spelling_of_a_program_is_no_new_idea(again: Any) -> None:
    """Spaces, comments, the order of constants or another verb; a value is new."""
    request = replace(REQUEST, tried=(known(knob(value=0.05)),))
    with pytest.raises(PatchError, match="already tried as #12: discard"):
        check(data(*again), request)
    check(data(knob(value=0.06)), request)


def test_the_same_code_in_another_edit_is_no_new_idea() -> None:
    """What counts is the program that comes out of it."""
    request = replace(REQUEST, tried=(known(replaced("LR * DEPTH", "DEPTH * LR")),))
    code = "def train(run):\n    'Train.'\n    return (DEPTH * LR)"
    with pytest.raises(PatchError, match="already tried as #12: discard"):
        check(data({"op": "define", "source": code}), request)
    check(data({"op": "define", "source": code.replace("*", "+")}), request)


MOVED = replace(REQUEST, head="new", source=SOURCE.replace("DEPTH = 4", "DEPTH = 5"))


@pytest.mark.parametrize("again", [knob(value=0.05), replaced("0.04", "0.05")])
def test_a_repeat_on_a_moved_baseline_has_to_be_asked_for(again: Any) -> None:
    """Refused with the earlier result and the way; with its number it is a retest."""
    earlier = known(knob(value=0.05), head="old", effect=0.002, effect_sd=0.001)
    request = replace(MOVED, tried=(earlier,))
    with pytest.raises(PatchError) as caught:
        check(data(again), request)
    assert str(caught.value) == (
        "already tried as #12: discard, val_bpb +0.002 ± 0.002. That was on an earlier "
        "baseline. Propose something else, or say that you want it tried again: "
        '"retest": 12.'
    )
    assert check(data(again, retest=12), request).retest == 12
    assert check(data(again, retest=True), request).retest == 12
    with pytest.raises(PatchError, match="another idea than this one, which is #12"):
        check(data(again, retest=11), request)


@pytest.mark.parametrize("head", ["new", ""])
def test_a_retest_is_made_once_for_each_baseline(head: str) -> None:
    """Neither decided nor waiting it can be asked for again, until the next keep."""
    first = known(knob(value=0.05), head="old")
    second = replace(first, number=13, head=head, retests=12)
    request = replace(MOVED, tried=(first, second))
    with pytest.raises(PatchError, match="already tried as #13"):
        check(data(knob(value=0.05), retest=12), request)
    later = replace(request, head="newer", tried=(first, replace(second, head="new")))
    assert check(data(knob(value=0.05), retest=13), later).retest == 13


def test_what_was_kept_is_not_tried_again() -> None:
    """It is in the baseline, or was replaced there by something better."""
    request = replace(
        MOVED, tried=(known(knob(value=0.05), head="old", verdict="keep"),)
    )
    with pytest.raises(PatchError, match="already tried as #12: keep"):
        check(data(knob(value=0.05), retest=12), request)


@pytest.mark.parametrize("reason", ["does not apply to 3f2c1aa: x", "no-op: x"])
def test_what_never_ran_is_free_on_another_baseline(reason: str) -> None:
    """That it did not apply to one, or changed nothing, says nothing of the next."""
    earlier = known(knob(value=0.05), head="old", reason=reason)
    assert (
        check(data(knob(value=0.05)), replace(MOVED, tried=(earlier,))).retest is None
    )
    with pytest.raises(PatchError, match="already tried"):
        check(data(knob(value=0.05)), replace(MOVED, tried=(earlier,), head="old"))


@pytest.mark.parametrize("number", [-1, 0.5, "12", [12]])
def test_a_retest_that_is_no_number_is_refused(number: Any) -> None:
    """The field is a number or left out; a new idea has none to name."""
    with pytest.raises(PatchError, match="`retest` is the number of an earlier"):
        check(data(knob(), retest=number), REQUEST)
    with pytest.raises(PatchError, match="this one is new, so leave it out"):
        check(data(knob(), retest=3), REQUEST)
    assert check(data(knob(), retest=None, repairs=False), REQUEST).retest is None


def test_a_repair_is_of_the_crash_that_was_shown() -> None:
    """No other can be mended; a pause does not concern it."""
    crashed = known(knob(value=0.05), verdict="crash")
    request = replace(REQUEST, tried=(crashed,), mend=crashed, banned=("other",))
    assert check(data(knob(value=0.06), repairs=12), request).repairs == 12
    assert check(data(knob(value=0.06), repairs=True), request).repairs == 12
    with pytest.raises(PatchError, match="to be mended now is #12"):
        check(data(knob(value=0.06), repairs=11), request)
    with pytest.raises(PatchError, match="to be mended now is none"):
        check(data(knob(value=0.06), repairs=12), REQUEST)
    with pytest.raises(PatchError, match="already tried as #12: crash"):
        check(data(knob(value=0.05), repairs=12), request)


def test_proposals_with_numbers_survive_their_json_form() -> None:
    """What is optional is left out where there is none."""
    proposal = Proposal.from_data(data(knob(), retest=3, repairs=4))
    assert Proposal.from_data(proposal.to_data()) == proposal
    assert "retest" not in Proposal.from_data(data(knob())).to_data()


def test_an_earlier_idea_that_is_no_python_does_not_disturb() -> None:
    """A broken definition in the history is compared with nothing."""
    broken = (Edit("define", {"source": "def (", "within": None}),) * 2
    past = Tried(1, "t", "", broken, "other", "refused")
    request = replace(REQUEST, tried=(past,))
    check(data(knob(), knob("DEPTH", 2)), request)


def test_a_paused_category_is_refused() -> None:
    """A pause is kept by code, not only asked for."""
    request = replace(REQUEST, banned=("other",))
    with pytest.raises(PatchError, match="'other' is paused"):
        check(data(knob()), request)
    check(data(knob(), category="optimizer"), request)


def test_patience_ends_after_useless_answers_in_a_row() -> None:
    """One good answer restores it; five useless ones in a row end it."""
    patience = Patience()
    good = Answer(proposals=(check(data(knob()), REQUEST),))
    bad = Answer(refused=(("x", "no JSON."),))
    for answer in (bad, bad, bad, bad, good, bad, bad, bad, bad):
        assert patience.watch(answer) is answer
    with pytest.raises(ProposerError, match=r"5 answers in a row .* no JSON"):
        patience.watch(bad)


# ------------------------------------------------------------------ prices


def test_prices_are_dollars_per_million_tokens() -> None:
    """Input, cache write, cache read and output have prices of their own."""
    price = Price(4, 20, 0.2)
    million = 1_000_000
    for usage, dollars in (
        (Usage(input_tokens=million), 4),
        (Usage(cache_write_tokens=million), 5),
        (Usage(cache_read_tokens=million), 0.2),
        (Usage(output_tokens=million), 20),
    ):
        assert price.cost(usage) == pytest.approx(dollars)
        assert price.cost(usage, us_only=True) == pytest.approx(1.1 * dollars)


def test_a_long_prompt_costs_more_where_the_table_says_so() -> None:
    """Beyond the threshold all tokens of the call have the higher price."""
    haiku = PRICES["claude-haiku-5-5"]
    short = Usage(input_tokens=100_000, output_tokens=1000)
    long = Usage(input_tokens=50_000, cache_read_tokens=50_001)
    assert haiku.cost(short) == pytest.approx(0.01 + 0.0005)
    assert haiku.cost(long) == pytest.approx(5 * (0.005 + 0.0005), rel=1e-3)


@given(
    name=st.sampled_from(sorted(PRICES)),
    parts=st.tuples(*[st.integers(0, 200_000)] * 3),
    output=st.integers(0, 20_000),
    us_only=st.booleans(),
)
def test_no_call_costs_more_than_its_worst_case(
    name: str, parts: tuple[int, int, int], output: int, us_only: bool
) -> None:
    """However the tokens are split, the reserved sum covers them."""
    price = PRICES[name]
    worst = price.worst_case(sum(parts), 20_000)
    assert price.cost(Usage(*parts, output), us_only) <= worst + 1e-9


def test_a_dated_model_name_has_the_price_of_its_family() -> None:
    """`claude-haiku-4-5-20251001` is priced as `claude-haiku-4-5`."""
    assert price_of("claude-haiku-4-5-20251001") is PRICES["claude-haiku-4-5"]


def test_an_unknown_model_needs_a_price() -> None:
    """Without a price the cap could not be kept, so that one has to be given."""
    with pytest.raises(SettingsError) as caught:
        price_of("llama-9")
    assert "'llama-9'" in str(caught.value)
    assert "--autoresearch-price IN/OUT" in str(caught.value)
    assert price_of("llama-9", "2/10") == Price(2, 10, cache_read=2)
    assert price_of("llama-9", "0/0").worst_case(10**6, 10**6) == 0


@pytest.mark.parametrize("given", ["2", "2/10/3", "a/b", "-1/2", "nan/1", "1/inf", "/"])
def test_a_price_that_is_none_is_refused(given: str) -> None:
    """Negative, endless and unreadable prices are settings errors."""
    with pytest.raises(SettingsError, match="is not IN/OUT"):
        price_of("claude-opus-5", given)
