"""The policy file, and the values that are read and written without `json`."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.sandbox import policy, quick
from autoresearch_plugin.sandbox.orders import Policy
from autoresearch_plugin.sandbox.probe import NAMESPACES, SECCOMP, UID, Sandbox

FULL = Sandbox(4, (NAMESPACES, "Landlock 7", SECCOMP, UID))
ROOT = Path(__file__).parents[2]


def written(directory: Path) -> dict[str, object]:
    """The policy file's values."""
    return dict(json.loads((directory / "policy.json").read_text()))


def test_the_words_and_the_file(tmp_path):
    """The prefix starts enter.py on a file that only we may read."""
    words = policy.prefix(FULL, tmp_path, memory_mb=512.5, processes=9)
    python, isolated, no_site, program, path = words
    assert (python, isolated, no_site) == (sys.executable, "-I", "-S")
    assert Path(program).name == "enter.py"
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    values = written(tmp_path)
    assert (values["memory_mb"], values["processes"]) == (512.5, 9)
    assert values["box"] == str(tmp_path / "box")
    assert Policy(path).landlock == 7
    policy.prefix(FULL, tmp_path)  # once more: the file is replaced
    assert written(tmp_path)["processes"] == 256


@pytest.mark.parametrize("part", FULL.parts)
def test_the_parts_are_those_of_the_sandbox(part, tmp_path):
    """What the probe did not find is not asked for."""
    parts = tuple(other for other in FULL.parts if other != part)
    policy.prefix(Sandbox(4, FULL.parts), tmp_path)
    whole = written(tmp_path)
    tmp_path.chmod(0o711)
    policy.prefix(Sandbox(3, parts), tmp_path)
    changed = {key for key, value in written(tmp_path).items() if value != whole[key]}
    key = {NAMESPACES: "namespaces", SECCOMP: "seccomp", UID: "private_uid"}
    assert key.get(part, "landlock") in changed


def test_nothing_of_the_users_is_readable(tmp_path):
    """Of no private directory more than this Python's own is named."""
    policy.prefix(FULL, tmp_path)
    read = [Path(path) for path in Policy(str(tmp_path / "policy.json")).read]
    private = [ROOT, ROOT / ".git", Path.home(), Path("/root"), Path("/home")]
    for path in (*private, Path("/etc"), Path("/tmp"), Path("/"), tmp_path, Path.cwd()):
        assert not [r for r in read if path == r or path.is_relative_to(r)], path
    in_etc = {path.name for path in read if path.is_relative_to("/etc")}
    assert in_etc == {"ld.so.cache", "alternatives", "localtime"}
    assert Path(sys.prefix) in read
    assert Path(sys.base_prefix) in read


def test_more_to_read(tmp_path):
    """`extra_read` comes on top."""
    policy.prefix(FULL, tmp_path, extra_read=["/opt/data"])
    assert "/opt/data" in Policy(str(tmp_path / "policy.json")).read


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (("cuda:3",), ["/dev/nvidia3"]),
        (("0", "cuda:1.0"), ["/dev/nvidia0", "/dev/nvidia1"]),
        (("cpu:0",), None),
        (("hip:0",), None),
        ((), None),
    ],
)
def test_device_files(devices, expected, tmp_path, monkeypatch):
    """The granted GPU and what all of them share; no other GPU, none for a CPU."""
    monkeypatch.setattr(policy.os.path, "exists", lambda path: True)
    policy.prefix(FULL, tmp_path, devices=devices)
    monkeypatch.undo()
    found = Policy(str(tmp_path / "policy.json"))
    shared = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]
    assert found.devices == ([] if expected is None else shared + expected)
    assert ("/sys" in found.read) == bool(expected)


def test_a_closed_directory(tmp_path):
    """Where the private user cannot get, a recent Landlock does without; else: say."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert policy.switches_user(FULL, closed)
    assert not policy.switches_user(Sandbox(3, ("Landlock 6", SECCOMP, UID)), closed)
    with pytest.raises(InfrastructureError, match="closed to other users"):
        policy.prefix(Sandbox(2, ("Landlock 5", SECCOMP, UID)), closed)


# --------------------------------------------------------------------- without `json`

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.sampled_from([None, 1]))
def test_loads_reads_what_json_writes(value, indent):
    """Whatever json writes is read as it was."""
    assert quick.loads(json.dumps(value, indent=indent)) == value


@given(st.text() | VALUES.map(lambda v: json.dumps(v)[:-1]))
def test_loads_refuses_what_json_refuses(text):
    """Broken text is a ValueError exactly where it is one for json."""
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            quick.loads(text)
    else:
        assert repr(quick.loads(text)) == repr(expected)


@given(
    st.dictionaries(
        st.sampled_from(["exit", "message", "cpu"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
    )
)
def test_dumps_is_read_by_json(values):
    """The report is JSON, on one line, in plain ASCII."""
    text = quick.dumps(values)
    assert json.loads(text) == values
    assert text.isascii()
    assert "\n" not in text


def test_the_watcher_imports_little(tmp_path):
    """No module that takes long to import is on the way of a start."""
    words = policy.prefix(Sandbox(0, ()), tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words[1:], "--", "/bin/true"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.defpath},
    )
    assert done.returncode == 0
    slow = {"json", "re", "enum", "typing", "signal", "subprocess", "collections"}
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "autoresearch_plugin.sandbox.watcher" in loaded
    assert not slow & loaded
