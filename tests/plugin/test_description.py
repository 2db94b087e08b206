"""What `describe` may say, and what becomes of numbers out of all bounds."""

import pytest

from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.trial import Profile
from tests.plugin.toy_trials import TOY

DESCRIPTION = {
    "schema": 1,
    "metric": "score",
    "direction": "min",
    "budget": {"unit": "steps", "amount": 10},
}
NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "key", "seen"),
    [
        ({"schema": 99}, "schema", "is 99"),
        ({"metric": None}, "metric", "is null"),
        ({"metric": "\n"}, "metric", r'is "\n"'),
        ({"direction": ["min"]}, "direction", 'is ["min"]'),
        ({"budget": None}, "budget.unit", "is missing"),
        ({"budget": [1]}, "budget", "is [1]"),
        ({"budget": {"unit": "parsecs", "amount": 1}}, "budget.unit", 'is "parsecs"'),
        ({"budget": {"unit": "steps"}}, "budget.amount", "is missing"),
        *(
            ({"budget": {"unit": "steps", "amount": value}}, "budget.amount", seen)
            for value, seen in [
                ("x", 'is "x"'), (None, "is null"), (0, "is 0"), (NAN, "is NaN"),
                (-1, "is -1"), (True, "is true"), (10**400, "is 1000"),
            ]
        ),
        ({"noise": [1]}, "noise", "is [1]"),
        ({"noise": {"unpaired": "x"}}, "noise.unpaired", 'is "x"'),
        ({"noise": {"paired": -0.1}}, "noise.paired", "is -0.1"),
        ({"noise": {"df": -3}}, "noise.df", "is -3"),
        ({"noise": {"df": 0}}, "noise.df", "is 0"),
        ({"noise": {"df": 10**400}}, "noise.df", "is 1000"),
        ({"limits": 5}, "limits", "is 5"),
        *(
            ({"limits": {"train": value}}, "limits.train", seen)
            for value, seen in [
                (None, "is null"), ("x", 'is "x"'), (0, "is 0"), (-1, "is -1"),
                (NAN, "is NaN"), (float("inf"), "is Infinity"),
            ]
        ),
        ({"fingerprint": "x"}, "fingerprint", 'is "x"'),
        ({"lines": "x"}, "lines", 'is "x"'),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_used_names_key_and_value(change, key, seen):
    """One line, with what it must be instead."""
    with pytest.raises(InfrastructureError) as caught:
        Profile.from_data("tiny", DESCRIPTION | change)
    words = f"`describe` result cannot be used: `{key}` {seen}"
    assert words in str(caught.value)
    assert "; it must be " in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_description_may_leave_out_what_it_does_not_know():
    """The smallest one, nulls for objects, and noise that is zero."""
    least = Profile.from_data("tiny", DESCRIPTION)
    assert (least.name, least.noise_unpaired, least.noise_df) == ("tiny", None, 1.0)
    nulls = dict.fromkeys(("noise", "limits", "fingerprint", "lines"))
    assert Profile.from_data("tiny", DESCRIPTION | nulls) == least
    quiet = {"noise": {"unpaired": 0, "paired": None}, "lines": ["\x1b[1mx\ud800"]}
    profile = Profile.from_data("tiny", DESCRIPTION | quiet)
    assert (profile.noise_unpaired, profile.noise_paired) == (0, None)
    assert profile.lines == ("[1mx",)


@pytest.fixture(scope="module")
def abused(new_project):
    """A project whose training command and disk misbehave."""
    made = new_project("abused", "--noise 0.0005")
    made.commit()
    return made


def clear(ran):
    """A session's text, which must show no Python of ours."""
    text = "\n".join([*ran.outlines, *ran.errlines])
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    return text


def test_a_session_ends_with_one_line_about_its_description(abused):
    """Exit 1, the key and the value; no traceback."""
    words = f'{{python}} {TOY} --describe \'{{"limits": {{"train": null}}}}\''
    ran = abused.research("-pno:xdist", f"--autoresearch-command={words}")
    assert ran.ret == 1
    assert "`limits.train` is null; it must be a number from" in clear(ran)


def test_a_session_ends_with_one_line_about_its_scratch(abused):
    """What stands in the way of the scratch directory is named."""
    path = abused.path / ".autoresearch" / "scratch"
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rmdir()
    path.write_text("in the way")
    ran = abused.research("-pno:xdist")
    path.unlink()
    assert ran.ret == 1
    assert f"cannot write {path}: File exists" in clear(ran)


def test_wild_numbers_spoil_their_own_run_and_no_later_session(abused):
    """A metric of 1e200, a text as peak memory, a step of 400 digits: none stays."""
    for name in ("huge", "summary-words", "step-digits"):
        abused.candidate(name.replace("-", "_"), f"set('MISBEHAVE', {name!r})")
    first = abused.research("-pno:xdist")
    assert "is 1e+200" in clear(first)
    assert {row["state"] for row in abused.ledger().candidates()} <= {
        "crash",
        "discard",
    }
    second = abused.research("-pno:xdist")
    assert "autoresearch/main" in clear(second)
