"""The canary: silent in a sound sandbox, and it notices every layer that is missing."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from boxes import KINDS, sandbox

from autoresearch_plugin.sandbox import canary, policy
from autoresearch_plugin.sandbox.files import SHARED
from autoresearch_plugin.sandbox.probe import NO_CAPABILITIES, Sandbox


@pytest.fixture
def open_folder():
    """A directory that other users may pass; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_sandbox(kind, tmp_path):
    """What a level promises it keeps."""
    assert canary.check(sandbox(kind), tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_layer_is_noticed(kind, open_folder):
    """A policy with one layer less lets something through that was promised."""
    promised = sandbox(kind)
    for number, part in enumerate(promised.parts):
        if part == NO_CAPABILITIES:
            continue  # not a layer: capabilities are always dropped
        parts = tuple(other for other in promised.parts if other != part)
        folder = open_folder / str(number)
        folder.mkdir()
        weaker = dataclasses.replace(promised, parts=parts)
        assert _is_noticed(promised, weaker, folder), part


def _is_noticed(promised: Sandbox, weaker: Sandbox, folder: Path) -> bool:
    try:
        done = canary.succeeded(policy.prefix(weaker, folder), folder)
    except ValueError as error:  # it did not even start, which is as good
        return "closed to other users" in str(error)
    return bool(canary.broken_promises(promised, done))


def test_without_any_layer_the_acts_are_real(tmp_path):
    """Nothing held back, each act works: so none is denied by a mistake of its own."""
    # Capabilities, limits, descriptors and variables are taken care of at all levels.
    held = {"limits", "capabilities", "open", "variables", "watcher", "list", "read"}
    as_root = {"environ", "memory", "ptrace", "chmod"}  # root without capabilities
    done = canary.succeeded(policy.prefix(Sandbox(0, ()), tmp_path), tmp_path)
    missing = set(canary.ACTS) - done - held - as_root
    assert missing <= {"io_uring", "keyring", "userns", "xattr"}, missing
    assert not done & {"limits", "capabilities", "open", "variables", "watcher"}
    assert {"read", "list", "chmod"} <= done


def test_a_level_is_held_to_its_word_whatever_its_parts(tmp_path):
    """A sandbox that claims level 4 and has no layer at all is found out."""
    broken = canary.check(Sandbox(4, ()), tmp_path)
    assert "read a secret file outside" in broken
    assert "connected over TCP" in broken
    assert "saw another process" in broken


def test_a_sandbox_that_cannot_be_set_up(tmp_path, monkeypatch):
    """It is not taken for a good one."""
    prefix = policy.prefix

    def spoiled(*words: object, **more: object) -> list[str]:
        command = prefix(*words, **more)
        path = Path(command[-1])
        path.write_text(json.dumps({**json.loads(path.read_text()), "landlock": 99}))
        return command

    monkeypatch.setattr(canary.policy, "prefix", spoiled)
    (words,) = canary.check(sandbox("full"), tmp_path)
    assert words.startswith("could not be tried: sandbox: nothing was run: Landlock 99")


def test_nothing_planted_is_left(tmp_path):
    """The canary removes what it and its acts have made."""

    def left() -> set[Path]:
        return {path for top in SHARED for path in Path(top).glob("autoresearch-*")}

    before = left()
    canary.succeeded(policy.prefix(Sandbox(0, ()), tmp_path), tmp_path)
    found, patience = left() - before, time.monotonic() + 30
    while found and time.monotonic() < patience:  # other tests plant and remove as well
        found &= left()
    assert not found
