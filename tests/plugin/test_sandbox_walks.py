"""Where candidates are another user who walks to the files: containers run by root,
with no namespaces, on kernels whose Landlock is old or missing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
import elsewhere

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root"
)

TOOL = Path(elsewhere.__file__)
MACHINE = """
from autoresearch_plugin import containment
from autoresearch_plugin.sandbox.probe import probe
containment.cached_probe = lambda: probe({without})
"""


@pytest.fixture
def open_project(project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A project that lies where every user gets to: pytest's directories are closed."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    moved = place / "project"
    shutil.copytree(project.path, moved)
    moved.chmod(0o755)
    monkeypatch.setattr(project, "path", moved)
    yield project
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("without", "level"),
    [(("userns", "scoped"), "sandbox L3"), (("userns", "landlock"), "sandbox L2")],
)
def test_a_session_of_a_private_user(open_project, without, level):
    """A candidate runs as that user; what its command does not read is closed to it."""
    (open_project.path / "conftest.py").write_text(MACHINE.format(without=without))
    proposer = open_project.script(gain={"LR": 0.02})
    open_project.commit()
    command = [sys.executable, "-m", "pytest", "--autoresearch", proposer]
    done = subprocess.run(
        [sys.executable, str(TOOL), "open", "--", *command, "-pno:xdist"],
        cwd=open_project.path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert level in done.stdout
    assert open_project.states() == {"gain": "keep"}
    ours = open_project.path / ".autoresearch"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ours.iterdir()}
    open_to_others = {name for name, mode in modes.items() if mode & 0o077}
    assert open_to_others == {".gitignore", "scratch", "data"}
    assert modes["scratch"] == 0o711
    assert list((ours / "scratch").iterdir()) == []
