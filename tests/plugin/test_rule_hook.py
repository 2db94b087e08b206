"""A rule of the project's own, through a hook in its conftest.py."""

from __future__ import annotations

import pytest

RULE = """
from dataclasses import replace
from autoresearch_plugin.judge import DEFAULT

def pytest_autoresearch_rule(config):
    return replace(DEFAULT, keep_e=1e30, name="never", version=7)
"""


@pytest.mark.parametrize(
    ("words", "states", "shown"),
    [
        ((), {"gain": "discard"}, "rule never (conftest.py)"),
        (
            ("--autoresearch-rule=default",),
            {"gain": "keep"},
            "rule default (--autoresearch-rule)",
        ),
    ],
)
def test_a_project_may_have_a_rule_of_its_own(project, words, states, shown):
    """The hook's rule decides in lanes as well, unless an option names one."""
    (project.path / "conftest.py").write_text(RULE)
    proposer = project.script(gain={"LR": 0.02})
    project.commit()
    ran = project.research(proposer, "-n1", *words)
    assert project.states() == states, str(ran.stdout)
    assert shown in str(ran.stdout)


def test_greedy_goes_by_what_was_recorded(project):
    """One run decides, and it is the new baseline's number: greedy, which is what
    autoresearch does, measures no baseline but the first, and that one once."""
    gains = {"first": {"LR": 0.02}, "second": {"DECAY": True}, "worse": {"LR": 0.3}}
    words = (project.script(**gains), "-pno:xdist", "--autoresearch-rule=greedy")
    project.commit()
    ran = project.research(*words, "--autoresearch-audit=never")
    assert project.states() == {"first": "keep", "second": "keep", "worse": "discard"}
    ledger = project.ledger()
    trials = ledger.session_trials(1)
    assert [t["candidate"] for t in trials] == [None, 1, 2, 3]
    second = ledger.candidate(2)["evidence"]
    assert second["baseline"]["mean"] == trials[1]["value"]
    shown = str(ran.stdout)
    assert "each candidate: up to 1 run of" in shown
    assert "baseline first: 1 run\n" in shown
