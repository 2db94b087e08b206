"""What is hidden in a directory that may be read otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from boxes import Box, sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")


@pytest.mark.parametrize("kind", ["full", "no namespaces", "no Landlock"])
def test_a_hidden_directory_is_not_there(kind: str, tmp_path: Path) -> None:
    """Its neighbours can be read and imported from; nothing in it can be opened."""
    box = Box(sandbox(kind), tmp_path)
    package = tmp_path / "packages" / "core"
    (package / "corpus").mkdir(parents=True)
    (package / "__init__.py").write_text("WORD = 'imported'\n")
    (package / "corpus" / "val.txt").write_text("the answers")
    options = ("--read", str(tmp_path / "packages"), "--hide", str(package / "corpus"))
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "packages")!r})
import core
print(core.WORD)
try:
    print(open({str(package / "corpus" / "val.txt")!r}).read())
except OSError:
    print("denied")
"""
    assert box.run(program, *options).out.split() == ["imported", "denied"]
    assert (package / "corpus" / "val.txt").read_text() == "the answers"
