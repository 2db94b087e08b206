"""Reports from facts alone: kept.xml and the closing screen."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.reports import closing, kept_xml
from autoresearch_plugin.reports.closing import Facts, KeptLine, duration
from autoresearch_plugin.reports.kept_xml import Case

KEEP = KeptLine(7, "RoPE base 10K -> 200K", -0.0015, 0.0004, 3, "3f2c1aa" + "0" * 33)
FACTS = Facts(
    tag="may",
    wall_seconds=3600.0,
    devices="2 x H100",
    rule="default",
    metric="val_bpb",
    kept=(),
    pruned={"worse": 4, "not distinguishable": 2, "crashed": 0},
    search_seconds=4000.0,
    baseline_seconds=1000.0,
    lanes=2,
    usd=0.0,
    max_usd=10.0,
    calls=0,
    sigma=0.0007,
    paired_sigma=0.0003,
    visible=0.0005,
    branch="autoresearch/may",
    command="pytest --autoresearch",
    report="autoresearch-report",
    reason="budget used up",
)


def case(**fields) -> Case:
    """One kept candidate with hostile defaults where nothing is given."""
    defaults = {
        "classname": "experiments.test_0042_rope",
        "name": "test_rope",
        "seconds": 12.5,
        "properties": {"commit": "3f2c1aa", "runs": 3},
        "text": "words",
    }
    return Case(**{**defaults, **fields})


# -------------------------------------------------------------------------- kept.xml


def test_nothing_kept_is_an_empty_suite():
    """A valid document that says zero tests."""
    suite = ET.fromstring(kept_xml.render([])).find("testsuite")
    assert suite.get("tests") == suite.get("failures") == suite.get("errors") == "0"
    assert list(suite) == []


def test_each_keep_is_a_passed_testcase():
    """With its properties and its words, as dashboards read JUnit."""
    root = ET.fromstring(kept_xml.render([case(), case(name="test_two")]))
    suite = root.find("testsuite")
    first, second = suite.findall("testcase")
    assert (suite.get("tests"), suite.get("time")) == ("2", "25.000")
    assert first.get("classname") == "experiments.test_0042_rope"
    assert (first.get("name"), second.get("name")) == ("test_rope", "test_two")
    found = {p.get("name"): p.get("value") for p in first.iter("property")}
    assert found == {"commit": "3f2c1aa", "runs": "3"}
    assert first.find("system-out").text == "words"


@pytest.mark.parametrize(
    "text", ["]]>", "<failure/>", "\x1b[31mred\x00\x07", "\ud800 alone", "&amp; \ufffe"]
)
def test_hostile_text_cannot_break_the_document(text):
    """What a model or a program wrote stays text."""
    hostile = case(
        name=text, classname=text, text=text, properties={"reason": text, "x": None}
    )
    xml = kept_xml.render([hostile])
    root = ET.fromstring(xml.encode())
    assert len(list(root.iter("testcase"))) == 1
    assert list(root.iter("failure")) == []


@given(st.text(), st.text(), st.text())
def test_whatever_the_text_it_can_be_read_again(title, reason, diff):
    """Only what XML cannot hold is lost."""
    xml = kept_xml.render([case(name=title, properties={"r": reason}, text=diff)])
    node = ET.fromstring(xml.encode("utf-8")).find("testsuite/testcase")
    assert node.find("properties/property").get("name") == "r"
    printable = "".join(ch for ch in diff if ch.isprintable())
    shown = "".join(ch for ch in node.find("system-out").text or "" if ch.isprintable())
    assert shown == printable


# ------------------------------------------------------------------ the closing screen


def lines(**changes) -> list[str]:
    """The closing lines of a session that differs in `changes`."""
    return list(closing.lines(replace(FACTS, **changes)))


def test_a_session_without_a_keep_says_so():
    """In words, with what was spent and what could have been seen."""
    assert lines() == [
        "KEPT    nothing: no candidate was proven better",
        "pruned  6: 4 worse, 2 not distinguishable",
        "spent   2.0 h of lane time: search 56 %, baseline 14 %, "
        "idle and start-up 30 %",
        "noise   sigma 0.0007 val_bpb a run, 0.0003 a paired difference; smallest "
        "effect you can see here: 0.0005 (80 %)",
        "read    autoresearch-report/  junit.xml  kept.xml  results.tsv",
        "next    pytest --autoresearch   (this session: budget used up)",
    ]


def test_keeps_are_listed_with_the_way_to_take_them():
    """Each with effect, runs and commit; their sum is no result."""
    second = replace(KEEP, number=12, title="x" * 60, effect=-0.0004, commit="9b01d44")
    found = lines(kept=[KEEP, second])
    assert found[0] == (
        "KEPT    #007 RoPE base 10K -> 200K                  -1.5e-03 ± 4e-04   "
        "3 runs   3f2c1aa"
    )
    assert found[1].startswith(f"KEPT    #012 {'x' * 38} -4.0e-04")
    assert "their sum is not a result" in found[2]
    assert "take    git merge autoresearch/may" in found
    assert sum(line.startswith("KEPT") for line in found) == 2


def test_the_way_to_take_them_can_be_pasted_into_a_shell():
    """A branch may be called what git allows: also with the shell's own characters."""
    (take,) = (
        line
        for line in lines(kept=[KEEP], branch="autoresearch/it's;$(id)")
        if line.startswith("take")
    )
    assert shlex.split(take)[1:] == ["git", "merge", "autoresearch/it's;$(id)"]
    assert "$(id)'" in take


def test_money_is_shown_when_there_were_calls():
    """Also what a keep cost, if there was one."""
    (spent,) = (line for line in lines(usd=1.5, calls=9) if "LLM" in line)
    assert spent.endswith("; LLM $1.50 of at most $10.00 in 9 calls")
    kept = lines(usd=1.5, calls=9, kept=[KEEP, KEEP])
    assert any(line.endswith("in 9 calls ($0.75 a keep)") for line in kept)
    assert not any("LLM" in line for line in lines())


def test_a_session_that_ran_nothing_has_no_numbers():
    """No percentage of nothing, no noise that nobody measured."""
    nothing = {
        "wall_seconds": 0.0,
        "search_seconds": 0.0,
        "baseline_seconds": 0.0,
        "sigma": math.nan,
        "paired_sigma": None,
        "visible": math.nan,
        "pruned": {},
    }
    found = lines(**nothing)
    assert found[1:3] == ["pruned  0", "spent   nothing"]
    assert not any(line.startswith("noise") for line in found)


def test_an_unknown_part_of_the_noise_is_left_out():
    """Neither an infinite sigma nor NaN reaches the screen."""
    for paired in (None, math.inf):
        (noise,) = (
            line
            for line in lines(paired_sigma=paired, visible=math.inf)
            if line.startswith("noise")
        )
        assert noise == "noise   sigma 0.0007 val_bpb a run"


def test_notes_come_before_the_files():
    """A fallback or an error is not to be missed."""
    found = lines(notes=["anthropic stopped answering, tpe fills in"])
    assert found[4] == "note    anthropic stopped answering, tpe fills in"
    assert found[5].startswith("read")


def test_the_title_names_what_ran():
    """Tag, time, devices, rule; and that nothing was fenced in."""
    expected = "autoresearch may: 60.0 min, 2 x H100, rule default, sandbox none"
    assert FACTS.title == expected


def test_shares_of_device_time_add_up():
    """More lanes than work is idle time, never a negative share."""
    (spent,) = (line for line in lines(wall_seconds=1.0) if line.startswith("spent"))
    assert "search 80 %, baseline 20 %, idle and start-up 0 %" in spent


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 8))
def test_percentages_add_up_to_100(search, baseline, wall, lanes):
    """Rounding neither loses nor invents time, and no share is off by a whole one."""
    changes = {"search_seconds": search, "baseline_seconds": baseline}
    found = lines(wall_seconds=wall, lanes=lanes, **changes)
    (spent,) = (line for line in found if line.startswith("spent"))
    held = max(search + baseline, wall * lanes)
    if not held:
        assert spent == "spent   nothing"
        return
    shares = [int(share) for share in re.findall(r"(-?\d+) %", spent)]
    true = [100 * x / held for x in (search, baseline, held - search - baseline)]
    assert spent.startswith(f"spent   {duration(held)} of lane time: ")
    assert sum(shares) == 100
    assert all(abs(a - b) <= 1 for a, b in zip(shares, true, strict=True))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (42, "42 s"),
        (89.4, "89 s"),
        (90, "1.5 min"),
        (450, "7.5 min"),
        (5396, "89.9 min"),
        (5400, "1.5 h"),
        (28800, "8.0 h"),
    ],
)
def test_durations_are_told_in_the_unit_people_think_in(seconds, words):
    """Seconds up to one and a half minutes, minutes up to one and a half hours."""
    assert duration(seconds) == words
