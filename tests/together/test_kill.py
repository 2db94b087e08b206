"""SIGKILL at random points of a real session: the same command finds the same.

AUTORESEARCH_KILLS=20 pytest tests/together/test_kill.py    # default: 2
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.belongings import belongings
from tests.together import killing

KILLS = int(os.environ.get("AUTORESEARCH_KILLS", "2"))
A_SESSION = 2  # kills in one, at most


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The session that nobody kills, and how long it takes."""
    directory = killing.new_project(tmp_path_factory.mktemp("whole") / "project")
    session = killing.Killed(directory)
    began = time.monotonic()
    session.run()
    return session, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("number", range(-(-KILLS // A_SESSION)))
def test_kills_change_nothing_that_is_found(
    tmp_path: Path, undisturbed: Any, number: int
) -> None:
    """The same commits are kept; no candidate is lost or evaluated twice; a kill costs
    one run at most; HEAD, index and the user's files are as they were."""
    directory = killing.new_project(tmp_path / "project")
    before = belongings(directory)
    count = min(A_SESSION, KILLS - number * A_SESSION)
    whole, seconds = undisturbed
    # Another time the same session may take half as long.
    session = killing.Killed(directory, killing.plan(number, count, 0.5 * seconds))

    session.run()

    print(f"killed: {session.done}; repeated: {session.repeated()} runs")
    assert session.done
    assert killing.kept(directory) == killing.kept(whole.directory)
    assert killing.kept(directory)
    assert session.undecided() == []
    assert session.twice() == []
    assert session.repeated() <= len(session.done)
    assert belongings(directory) == before
    assert "Traceback" not in session.output[-1]
