"""Hooks that a project's conftest.py may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autoresearch_plugin.judge import AnyRule, Verdict


@pytest.hookspec
def pytest_autoresearch_kept(
    config: pytest.Config, title: str, commit: str, verdict: Verdict
) -> None:
    """Called in the process that committed a keep, right after the commit.

    For example, to tell a chat room:

        def pytest_autoresearch_kept(config, title, commit, verdict):
            post(f"kept {commit[:7]} {title}: {verdict.sentence}")
    """


@pytest.hookspec(firstresult=True)
def pytest_autoresearch_rule(config: pytest.Config) -> AnyRule | None:
    """Return the rule that decides, where --autoresearch-rule names none.

    Asked once in each process; a rule is a function of `judge.Question` that returns a
    `judge.Opinion`, with a `name` and a `version` for the verdicts. For example, to
    demand 20 to 1 for a keep:

        from dataclasses import replace
        from autoresearch_plugin.judge import DEFAULT

        def pytest_autoresearch_rule(config):
            return replace(DEFAULT, keep_e=20, name="twenty")
    """
