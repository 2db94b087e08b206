"""The plugin and the core together: real training on real text (profile `tiny`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARM = '''"""Muon learning rate 1e-4: too small to learn anything."""


def test_harm(train_module, gpu_budget, baseline):
    train_module.set("MATRIX_LR", 0.0001)
    result = gpu_budget.run(train_module)
    assert result.val_bpb < baseline.val_bpb
'''
PROPOSALS = [
    {  # tiny does not charge for cost, so twice the batch is a large, sure gain
        "title": "Twice the batch",
        "category": "batch",
        "edits": [{"op": "set", "knob": "BATCH_SCALE", "value": 2.0}],
    },
    {
        "title": "Crash on purpose",
        "category": "other",
        "edits": [{"op": "set", "knob": "MLP_RATIO", "value": -1}],
    },
]
INI = """[pytest]
addopts = -p no:hypothesispytest -p no:anyio
autoresearch_target = nanochat_core/train.py
autoresearch_profile = tiny
autoresearch_devices = cpu
autoresearch_proposer = scripted:proposals.jsonl
autoresearch_experiments = 2
"""


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    return subprocess.run(
        words, cwd=directory, capture_output=True, text=True, env=environ, timeout=600
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """One research session on the real core: its directory and what it printed."""
    directory = tmp_path_factory.mktemp("real")
    (directory / "nanochat_core").mkdir()
    (directory / "experiments").mkdir()
    source = (ROOT / "nanochat_core" / "train.py").read_bytes()
    (directory / "nanochat_core" / "train.py").write_bytes(source)
    (directory / "experiments" / "test_harm.py").write_text(HARM)
    lines = "\n".join(json.dumps(proposal) for proposal in PROPOSALS)
    (directory / "proposals.jsonl").write_text(lines)
    (directory / "pytest.ini").write_text(INI)
    for words in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.email", "ada@example.org"),
        ("git", "config", "user.name", "Ada"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "start"),
    ):
        assert run(directory, *words).returncode == 0
    done = run(directory, sys.executable, "-m", "pytest", "--autoresearch")
    return directory, done


@pytest.mark.slow
def test_a_real_improvement_is_committed(session):
    """A proven change of the real training module is a commit of exactly that patch."""
    directory, done = session

    patch = run(directory, "git", "show", "autoresearch/main", "--", "nanochat_core")

    assert "+BATCH_SCALE = 2.0" in patch.stdout, done.stdout
    assert re.search(r"^KEPT    #\d+ Twice the batch ", done.stdout, re.M)
    changed = [x for x in patch.stdout.splitlines() if x.startswith(("+", "-"))]
    assert len(changed) == 4  # two file headers, one line out, one line in


@pytest.mark.slow
def test_a_real_harm_goes_after_one_run(session):
    """A hand-written claim that is far worse fails the session after a single run."""
    directory, done = session

    assert done.returncode == 1
    assert "FAILED experiments/test_harm.py::test_harm - discard:" in done.stdout
    show = run(directory, str(Path(sys.executable).parent / "autoresearch"), "log")
    line = next(x for x in show.stdout.splitlines() if "Muon learning rate" in x)
    assert "after 1" in line


@pytest.mark.slow
def test_a_real_crash_is_typed(session):
    """A candidate whose training raises is pruned with its reason, not with a score."""
    directory, _ = session

    table = (directory / "autoresearch-report" / "results.tsv").read_text()

    row = next(x for x in table.splitlines() if x.endswith("Crash on purpose"))
    assert row.split("\t")[1] == ""
    assert row.split("\t")[3] == "crash"


@pytest.mark.slow
def test_gpu_proof_works_without_a_gpu(tmp_path):
    """`make gpu-proof` ends every case as what it is, here on the CPU path."""
    output = tmp_path / "proof.json"
    words = ("--profile=tiny", "--steps=20", "--devices=cpu", f"--output={output}")

    done = run(ROOT, sys.executable, "tests/gpu_proof.py", *words)

    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(output.read_text())["cases"]
    assert cases["baseline again, same seed"]["difference"] == 0.0
    assert cases["a hang"]["outcome"] == "timeout-start"
