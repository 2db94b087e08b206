"""One prepared data directory for all tests, and three ways to run a phase: in this process, by spec, by hand."""

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "nanochat_core" / "train.py"
CONTRACT = ROOT / "tests" / "contract"


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The embedded corpus, prepared once."""
    from nanochat_core.prepare import prepare

    directory = tmp_path_factory.mktemp("data")
    prepare("embedded", 1024, directory, say=lambda words: None)
    return directory


@pytest.fixture
def prepared(data_dir):
    from nanochat_core.prepare import open_prepared

    return open_prepared("embedded", 1024, data_dir)


@pytest.fixture
def make_spec(data_dir, tmp_path):
    """A spec of the tiny profile; keywords override, `code` is the text of another target."""

    def make(phase, code=None, **changes):
        source = TRAIN
        if code is not None:
            source = tmp_path / "train.py"
            source.write_text(code, encoding="utf-8")
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return {
            **json.loads((CONTRACT / f"spec-{phase}.json").read_text(encoding="utf-8")),
            "source": str(source),
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "data_dir": str(data_dir),
            "scratch": str(scratch),
            "checkpoint": str(tmp_path / "model.safetensors"),
            "budget": {"unit": "steps", "amount": 3},
            "events_fd": None,
            **changes,
        }

    return make


@pytest.fixture(autouse=True)
def own_process():
    """Undo what a trial does to its own process."""
    yield
    gc.unfreeze()
    gc.enable()
    sys.modules.pop("nanochat_target", None)


@pytest.fixture
def in_process():
    """Run a phase here and return its events."""
    import torch

    from nanochat_core import __main__ as command

    def run(spec, dataset="embedded"):
        events = []
        command.PHASES[spec["phase"]](spec, dataset, events.append)
        return events

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def command(tmp_path):
    """Run `python -m nanochat_core --spec` as a harness does: (exit code, events, log)."""

    def run(spec, *options, control=None, env=None):
        events_out, events_in = os.pipe()
        fds = [events_in]
        spec = {**spec, "events_fd": events_in}
        if control is not None:
            spec["control_fd"] = control
            fds.append(control)
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, "-m", "nanochat_core", *options, "--spec", str(path)],
            cwd=ROOT,
            pass_fds=fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )
        os.close(events_in)
        with open(events_out, encoding="utf-8") as stream:
            events = [json.loads(line) for line in stream]
        log = child.communicate()[0]
        return child.returncode, events, log

    return run


@pytest.fixture
def by_hand(data_dir):
    """Run `python -m nanochat_core` as a human does: (exit code, stdout, stderr)."""

    def run(*options, cwd=ROOT, interrupt_at=None):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(
            [sys.executable, "-m", "nanochat_core", *options],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        before = ""
        if interrupt_at:
            for line in child.stdout:
                before += line
                if interrupt_at in line:
                    child.send_signal(signal.SIGINT)
                    break
        out, err = child.communicate()
        return child.returncode, before + out, err

    return run


@pytest.fixture
def target():
    """The text of the shipped train.py, with exact-once replacements."""

    def edit(*replacements):
        text = TRAIN.read_text(encoding="utf-8")
        for old, new in replacements:
            assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
            text = text.replace(old, new)
        return text

    return edit
