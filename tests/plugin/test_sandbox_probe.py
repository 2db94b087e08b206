"""Which level is chosen, from made-up findings and on machines of all kinds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from autoresearch_plugin.sandbox import probe as probing
from autoresearch_plugin.sandbox.probe import Sandbox, cached_probe, choose, probe

HERE = Path(__file__).parent
TIMEOUT = 120.0

# What stands in for the machine -> level, expected parts; root only.
MACHINES = {
    "open": (4, "namespaces Landlock seccomp uid-switch"),
    "open user": (4, "namespaces Landlock seccomp"),
    "open user no-landlock": (3, "namespaces seccomp"),
    "open user no-userns": (3, "Landlock seccomp"),
    "open user no-userns no-landlock": (1, "seccomp"),
    "open user masked-proc": (4, "namespaces Landlock seccomp"),
    "open user masked-proc no-landlock": (3, "namespaces seccomp"),
    "open masked-proc": (4, "namespaces Landlock seccomp uid-switch"),
    "open docker": (3, "Landlock seccomp uid-switch"),
    "open docker no-landlock": (2, "seccomp uid-switch"),
    "open no-userns": (3, "Landlock seccomp uid-0"),
    "open no-userns no-landlock": (1, "seccomp uid-0"),
}
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="root alone can become another user",
)


def found(**changes: object) -> dict[str, object]:
    """What `attempts` reports where everything works."""
    everything = {"userns": True, "landlock": 7, "seccomp": True, "uid": True}
    return {"root": True, **everything, "reachable": True, **changes}


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, 4),
        ({"uid": "EPERM", "root": False}, 4),
        ({"landlock": 1}, 4),
        ({"landlock": "ENOSYS"}, 3),
        ({"userns": "EPERM"}, 3),
        ({"userns": "EPERM", "landlock": 1}, 3),
        ({"userns": "EPERM", "uid": "EPERM"}, 3),
        ({"userns": "EPERM", "uid": "EPERM", "landlock": 5}, 2),
        ({"userns": "EPERM", "reachable": "closed", "landlock": 5}, 2),
        ({"userns": "EPERM", "landlock": "ENOSYS"}, 2),
        ({"userns": "EPERM", "landlock": "ENOSYS", "reachable": "closed"}, 1),
        ({"userns": "EPERM", "landlock": "ENOSYS", "uid": "EPERM"}, 1),
        ({"seccomp": "EINVAL"}, 1),
        (dict.fromkeys(("userns", "landlock", "seccomp", "uid"), "EPERM"), 0),
    ],
)
def test_levels(changes, level):
    """The table of levels."""
    chosen = choose(found(**changes))
    assert chosen.level == level
    assert chosen.label == f"L{level}"
    assert chosen.trusted == (level >= 2)


def test_words():
    """One line names the level and its parts; what was refused is kept with it."""
    full = choose(found())
    assert full.words == (
        "L4: user, mount, pid, net, ipc namespaces; Landlock 7; seccomp; uid switch"
    )
    assert full.landlock == 7
    less = choose(found(userns="EPERM", landlock="ENOSYS", reachable="/x is closed"))
    assert less.words == "L1: seccomp; uid 0 without capabilities"
    assert less.why == (
        "no user namespace: EPERM",
        "no Landlock: ENOSYS",
        "no reach of another user to this Python: /x is closed",
    )
    assert Sandbox(0, ()).words == "L0: limits only"


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")
@pytest.mark.parametrize("part", ["userns", "landlock", "seccomp", "uid"])
def test_without(part):
    """A part that shall be left out is not there, and the reason says so."""
    left = probe([part])
    names = {"userns": "namespaces", "landlock": "Landlock", "uid": "uid switch"}
    assert names.get(part, part) not in left.words
    assert any(reason.endswith("left out") for reason in left.why)


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")
def test_the_probe_is_cached():
    """One process asks the machine once."""
    assert cached_probe() is cached_probe()
    assert cached_probe() == probe()


def test_another_system(monkeypatch):
    """Elsewhere than on Linux there is no sandbox, and that is said."""
    monkeypatch.setattr(probing.sys, "platform", "darwin")
    assert probe() == Sandbox(0, (), ("no sandbox for darwin",))


def test_a_broken_probe(monkeypatch):
    """Where the probe itself cannot run, nothing is promised."""
    monkeypatch.setattr(probing.sys, "executable", "/nowhere/python")
    assert probe().level == 0
    assert "the probe failed" in probe().why[0]


REPORT = """
import json, os, sys, tempfile
from pathlib import Path
from autoresearch_plugin.sandbox import canary, probe
found = probe.probe()
folder = Path(tempfile.mkdtemp())
folder.chmod(0o755)
print(json.dumps([found.level, found.words, canary.check(found, folder)]))
"""


@needs_root
@pytest.mark.parametrize("traits", MACHINES)
def test_on_other_machines(traits):
    """The level is the expected one, and the canary finds no promise broken there."""
    level, parts = MACHINES[traits]
    done = subprocess.run(
        elsewhere(traits, "-c", REPORT),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )
    assert done.stderr == ""
    found_level, words, broken = json.loads(done.stdout)
    assert (found_level, broken) == (level, []), words
    for part in ("namespaces", "Landlock", "seccomp", "uid switch", "uid 0"):
        assert (part in words) == (part.replace(" ", "-") in parts.split()), words


def elsewhere(traits: str, *words: str) -> list[str]:
    """The command line that runs this Python with the traits of `elsewhere.py`."""
    tool = str(HERE / "elsewhere.py")
    return [sys.executable, tool, *traits.split(), "--", sys.executable, *words]


def environment() -> dict[str, str]:
    """Ours, with the project to import and no files left by other users."""
    project = str(HERE.parents[1])
    ours = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return {**ours, "PYTHONPATH": project, "PYTHONDONTWRITEBYTECODE": "1"}


TRAIN = """
import sys, tempfile, subprocess, os
from pathlib import Path
from autoresearch_plugin.sandbox import policy, probe
found = probe.probe()
folder = Path(tempfile.mkdtemp())
folder.chmod(0o755)
(folder / "out").mkdir()
prefix = policy.prefix(found, folder, memory_mb=6000)
code = '''
import torch
Linear = torch.nn.Linear
model = torch.nn.Sequential(Linear(8, 8), torch.nn.ReLU(), Linear(8, 1))
step = torch.optim.AdamW(model.parameters(), 1e-2)
x = torch.randn(64, 8)
y = x.sum(1, keepdim=True)
losses = []
compiled = torch.compile(model)
for _ in range(60):
    loss = (compiled(x) - y).square().mean()
    step.zero_grad(); loss.backward(); step.step()
    losses.append(float(loss.detach()))
torch.save(model.state_dict(), "model.pt")
print("trained", losses[-1] < losses[0] / 2)
'''
options = ["--write", str(folder / "out"), "--wall", "400"]
done = subprocess.run(
    [*prefix, *options, "--", sys.executable, "-c", code],
    capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
)
print(found.words, done.stdout.strip(), (folder / "out" / "model.pt").exists())
sys.exit(done.returncode and done.stderr)
"""


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize(
    "traits", [name for name, (level, _) in MACHINES.items() if level >= 2]
)
def test_torch_trains_and_compiles(traits):
    """At every level from 2 on torch imports, compiles with gcc and trains."""
    if find_spec("torch") is None or shutil.which("gcc") is None:
        pytest.skip("needs torch and a compiler")
    done = subprocess.run(
        elsewhere(traits, "-c", TRAIN),
        capture_output=True,
        text=True,
        timeout=500,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("trained True True")
