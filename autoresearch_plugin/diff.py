"""`--autoresearch-diff REF`: one test item, does the working tree beat REF?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin import patch
from autoresearch_plugin.candidate import Edit
from autoresearch_plugin.errors import InfrastructureError, TrialFailed
from autoresearch_plugin.fixtures import Claim
from autoresearch_plugin.idea import Idea
from autoresearch_plugin.outcomes import CLAIM
from autoresearch_plugin.session import read_target

if TYPE_CHECKING:
    from autoresearch_plugin.state import State


class DiffItem(pytest.Item):
    """The working tree's target as one strict candidate against a ref."""

    def __init__(self, *, state: State, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.state = state

    def runtest(self) -> None:
        """Measure; pass when proven better, skip when there is nothing to measure."""
        research = self.state.research
        target = research.settings.target
        working = read_target(self.config.rootpath / target)
        head = research.head()
        if working == head.source:
            pytest.skip(f"{target} is the same as at {head.short}: nothing to measure")
        title = f"{target} of the working tree"
        diff = patch.unified_diff(head.source, working, target)
        claim = self.stash[CLAIM] = Claim(title, "", self.nodeid, kind="diff")
        claim.idea = Idea(
            kind="diff",
            title=title,
            hypothesis=f"beats {research.settings.diff}",
            category="other",
            edits=(Edit("apply", {"diff": diff}),),
            nodeid=self.nodeid,
            patched=working,
        )
        claim.notes.append(diff)
        claim.judgement = self.state.decide(claim.idea)
        verdict = claim.judgement.verdict
        if verdict is None:
            raise TrialFailed(claim.judgement.state, claim.judgement.reason)
        assert verdict.proven_lower, verdict.sentence

    def reportinfo(self) -> tuple[Path, None, str]:
        """The target is what is being tested."""
        path = self.config.rootpath / self.state.settings.target
        return path, None, self.name


class DiffPlugin:
    """`--autoresearch-diff REF`: one item, the working tree against REF."""

    def __init__(self, config: pytest.Config, state: State) -> None:
        self.config = config
        self.state = state

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Refuse an unknown ref before anything is collected."""
        self.state.session = session
        try:
            self.state.open()
        except InfrastructureError as error:
            raise pytest.exit.Exception(str(error), returncode=1) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """The working tree's target is the only candidate."""
        settings = self.state.settings
        name = f"against-{settings.diff}"
        nodeid = f"{settings.target}::{name}"
        items[:] = [
            DiffItem.from_parent(session, name=name, nodeid=nodeid, state=self.state)
        ]

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """What is compared with what."""
        research = self.state.research
        return [
            f"autoresearch: {research.settings.target} of the working tree against "
            f"{research.settings.diff} ({research.head().short}), "
            f"{research.budget} a run on {research.device.name}"
        ]

    @pytest.hookimpl
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the session."""
        self.state.close(exitstatus)
