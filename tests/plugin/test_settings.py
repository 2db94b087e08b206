"""Settings: each option, its ini twin, its source, and values that cannot be used."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import plugin, settings
from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.settings import OPTIONS, parse_budget, resolve
from autoresearch_plugin.trial import Budget

GOOD = {  # option: (what is written, what it means)
    "target": ("src/train.py", "src/train.py"),
    "command": ("{python} -m mine", "{python} -m mine"),
    "metric": ("seconds", "seconds"),
    "direction": ("max", "max"),
    "profile": ("tiny", "tiny"),
    "budget": ("340steps", Budget("steps", 340)),
    "devices": ("cpu:0", "cpu:0"),
    "proposer": ("scripted:ideas.jsonl", "scripted:ideas.jsonl"),
    "model": ("claude-x", "claude-x"),
    "price": ("3/15.5", (3.0, 15.5)),
    "experiments": ("12", 12),
    "hours": ("1.5", 1.5),
    "gpu-hours": ("8", 8.0),
    "max-usd": ("0", 0.0),
    "max-runs": ("4", 4),
    "rule": ("greedy", "greedy"),
    "bundle": ("3", 3),
    "stop-early": ("never", "never"),
    "audit": ("always", "always"),
    "sandbox": ("none", "none"),
    "allow-unsafe": ("yes", True),
    "tag": ("may-1/lr.2_x", "may-1/lr.2_x"),
    "report": ("out", "out"),
    "dry-run": ("yes", True),
    "require-keep": ("true", True),
    "diff": ("main", "main"),
}
BAD = [
    ("direction", "down", "min or max"),
    ("bundle", "1", "2 to 10"),
    ("bundle", "eleven", "whole number"),
    ("stop-early", "soon", "auto or never"),
    ("audit", "yes", "auto, always or never"),
    ("budget", "five", "300, 300s, 5m or 340steps"),
    ("price", "15", "3/15"),
    ("price", "-1/2", "3/15"),
    ("experiments", "-1", "at least 0"),
    ("experiments", "some", "whole number"),
    ("experiments", "1.5", "whole number"),
    ("hours", "-0.1", "at least 0"),
    ("hours", "nan", "at least 0"),
    ("hours", "inf", "at least 0"),
    ("hours", "long", "expected a number"),
    ("gpu-hours", "", "expected a number"),
    ("max-usd", "-5", "at least 0"),
    ("max-runs", "0", "at least 1"),
    ("tag", "-x", "letters"),
    ("tag", "a..b", "letters"),
    ("tag", "a/", "letters"),
    ("tag", "a b", "letters"),
    ("require-keep", "perhaps", "true or false"),
    ("sandbox", "docker", "auto or none"),
]


def resolved(options=None, ini=None, environ=None):
    """Settings from dictionaries that are keyed by option name."""
    options, ini = options or {}, ini or {}
    names = {option.dest: option.name for option in OPTIONS}
    return resolve(
        lambda dest: options.get(names[dest]),
        lambda dest: ini.get(names[dest]),
        environ or {},
    )


def field(name: str) -> str:
    """The settings' attribute for an option."""
    return name.replace("-", "_")


# ------------------------------------------------------------------------- complete


def test_every_option_has_a_field_a_default_and_an_example_here():
    """Nothing can be added in one place only."""
    names = {field(option.name) for option in OPTIONS}
    assert names == {f.name for f in fields(settings.Settings)} - {"sources"}
    assert names == set(settings._DEFAULTS)
    assert {option.name for option in OPTIONS} == set(GOOD)


def test_options_are_described():
    """--help has a line for each; no two share a name."""
    assert all(option.help for option in OPTIONS)
    assert len({option.dest for option in OPTIONS}) == len(OPTIONS)


def test_pytest_gets_every_option_and_ini_twin(pytestconfig):
    """The running pytest knows them all, for it has loaded the plugin."""
    for option in OPTIONS:
        assert hasattr(pytestconfig.option, option.dest)
        if option.ini:
            pytestconfig.getini(option.dest)
        else:
            with pytest.raises(ValueError, match="unknown configuration"):
                pytestconfig.getini(option.dest)


def test_defaults():
    """Without anything the shipped core is improved by the offline proposer."""
    found = resolved()
    assert found.target == "nanochat_core/train.py"
    assert found.command == "{python} -m nanochat_core"
    assert (found.max_usd, found.max_runs) == (10.0, 8)
    assert found.hours is None
    assert found.sources["target"] == "default"


# ------------------------------------------------------------- where values come from


@pytest.mark.parametrize("name", GOOD)
def test_an_option_is_read_and_named_as_the_source(name):
    """What is given on the command line wins over ini and default."""
    written, meant = GOOD[name]
    found = resolved({name: written}, {name: written})
    assert getattr(found, field(name)) == meant
    assert found.sources[field(name)] == f"--autoresearch-{name}"


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"diff", "dry-run"}))
def test_an_ini_twin_is_read_and_named_as_the_source(name):
    """The project's own value stands where there is no option."""
    written, meant = GOOD[name]
    found = resolved({}, {name: written})
    assert getattr(found, field(name)) == meant
    assert found.sources[field(name)] == f"ini autoresearch_{field(name)}"


def test_diff_and_dry_run_are_no_decisions_of_a_project():
    """They have no ini twins, so that no pytest.ini turns every run into one."""
    assert resolved({}, {"diff": "main"}).diff is None
    assert resolved({}, {"dry-run": "yes"}).dry_run is False


@pytest.mark.parametrize("nothing", [None, "", False])
def test_an_empty_ini_value_is_none(nothing):
    """pytest hands out an empty text for an ini line without a value."""
    found = resolved({}, {"tag": nothing, "require-keep": nothing})
    assert (found.tag, found.require_keep) == (None, False)
    assert found.sources["tag"] == "default"


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF"])
def test_a_switch_can_be_off_in_words(word):
    """An ini switch takes the usual words."""
    assert resolved({}, {"require-keep": word}).require_keep is False


def test_a_key_chooses_the_llm():
    """The proposer depends on ANTHROPIC_API_KEY, unless it is named."""
    key = {"ANTHROPIC_API_KEY": "x"}
    found = resolved(environ=key)
    assert (found.proposer, found.sources["proposer"]) == (
        "anthropic",
        "ANTHROPIC_API_KEY",
    )
    assert resolved().proposer == "tpe"
    assert resolved().sources["proposer"] == "no ANTHROPIC_API_KEY"
    assert resolved(environ={"ANTHROPIC_API_KEY": ""}).proposer == "tpe"
    assert resolved({"proposer": "none"}, environ=key).proposer == "none"


@pytest.mark.parametrize("word", ["true", "1", "True"])
def test_ci_ends_after_five_hours(word):
    """CI=true stands in for a stop condition and is named as the source."""
    found = resolved(environ={"CI": word})
    assert (found.hours, found.sources["hours"]) == (5.0, "CI=true")


@pytest.mark.parametrize("name", ["experiments", "hours", "gpu-hours"])
def test_ci_adds_nothing_to_a_stop_condition(name):
    """Any stop condition of the user's is the only one; zero is one as well."""
    for value in ("3", "0"):
        found = resolved({name: value}, environ={"CI": "true"})
        assert found.sources[field(name)] == f"--autoresearch-{name}"
        if name != "hours":
            assert found.hours is None


def test_ci_may_say_false():
    """Some systems set CI to false."""
    assert resolved(environ={"CI": "false"}).hours is None


# ----------------------------------------------------------------------- bad values


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_a_bad_option_is_named_with_its_value(name, value, expected):
    """The message has the option, the value and what would be right."""
    with pytest.raises(SettingsError) as caught:
        resolved({name: value})
    message = str(caught.value)
    assert message.startswith(f"--autoresearch-{name} {value!r}: ")
    assert expected in message
    assert message.endswith(".")


def test_a_bad_ini_value_names_the_ini_key():
    """So that the reader looks into the right file."""
    with pytest.raises(SettingsError, match=r"^ini autoresearch_max_runs 'x': "):
        resolved({}, {"max-runs": "x"})


def test_a_bad_setting_is_a_usage_error_of_pytest():
    """In a pytest run it ends with exit code 4 and without a traceback."""
    options = {option.dest: None for option in OPTIONS} | {"autoresearch_hours": "x"}

    class Config:
        option = argparse.Namespace(**options)
        stash = pytest.Stash()

        def getini(self, name):
            return None

    with pytest.raises(pytest.UsageError, match="--autoresearch-hours 'x'"):
        plugin.settings_of(Config())


# -------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("300", Budget("seconds", 300), "5 min"),
        ("300s", Budget("seconds", 300), "5 min"),
        ("5m", Budget("seconds", 300), "5 min"),
        ("5 min", Budget("seconds", 300), "5 min"),
        ("0.5h", Budget("seconds", 1800), "30 min"),
        ("90", Budget("seconds", 90), "90 s"),
        ("2.5s", Budget("seconds", 2.5), "2.5 s"),
        ("340steps", Budget("steps", 340), "340 steps"),
        ("1 STEP", Budget("steps", 1), "1 steps"),
    ],
)
def test_budgets_are_seconds_or_steps(text, budget, shown):
    """A number with its unit, shown again in the unit people think in."""
    assert parse_budget(text) == budget
    assert str(parse_budget(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5", "5d", "1.5steps", "steps", "1e3", "5 m 3"]
)
def test_other_budgets_are_refused(text):
    """Nothing to spend, an unknown unit, half a step."""
    with pytest.raises(ValueError, match="a budget looks like"):
        parse_budget(text)


@given(st.integers(1, 10**6), st.sampled_from(["", "s", "m", "h", "steps"]))
def test_every_whole_number_is_a_budget(number, unit):
    """Whatever unit follows, the amount is positive and finite."""
    budget = parse_budget(f"{number}{unit}")
    assert budget.amount >= number
    assert budget.unit == ("steps" if unit == "steps" else "seconds")


@given(st.text(max_size=8))
def test_no_text_breaks_the_parser(text):
    """Whatever is typed gives a budget above zero or a ValueError."""
    with contextlib.suppress(ValueError):
        assert parse_budget(text).amount > 0
