"""Hooks that a project's conftest.py may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autoresearch_plugin.judge import Verdict


@pytest.hookspec
def pytest_autoresearch_kept(
    config: pytest.Config, title: str, commit: str, verdict: Verdict
) -> None:
    """Called in the process that committed a keep, right after the commit.

    For example, to tell a chat room:

        def pytest_autoresearch_kept(config, title, commit, verdict):
            post(f"kept {commit[:7]} {title}: {verdict.sentence}")
    """
