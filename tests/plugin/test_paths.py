"""Our own directory: passable, and everything in it closed."""

from __future__ import annotations

import stat
from pathlib import Path

from autoresearch_plugin import paths


def test_what_an_older_release_left_open_is_closed(tmp_path: Path) -> None:
    """It lay behind a closed door, which is open now for the sandbox' own user."""
    state = tmp_path / ".autoresearch"
    for name in ("data", "claims", "scratch"):
        (state / name).mkdir(parents=True)
        (state / name).chmod(0o755)
    state.chmod(0o700)
    paths.state_dir(tmp_path)

    modes = {x.name: stat.S_IMODE(x.stat().st_mode) for x in state.iterdir()}
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    assert (modes["data"], modes["claims"]) == (0o700, 0o700)
    assert modes["scratch"] == 0o755
