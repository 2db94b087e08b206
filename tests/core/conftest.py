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
            "claims": str(tmp_path / "claims.npy"),
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


class Direct:
    """The trainer's link to a data server in this process. Words travel as they would through a pipe."""

    def __init__(self, server):
        self._server, self._arrays = server, []

    def tell(self, **words):
        self._server.answer(json.loads(json.dumps(words)))

    def ask(self, **words):
        answer, arrays = self._server.answer(json.loads(json.dumps(words)))
        self._arrays = list(arrays)
        return answer

    def array(self, dtype, *shape):
        found = self._arrays.pop(0)
        assert (found.dtype, found.shape) == (dtype, shape)
        return found

    def finish(self):
        pass


def train_here(server, profile, spec):
    """Stands in for `server.start`: the trainer in this process, which has torch already."""
    from dataclasses import asdict

    from nanochat_core import trainer
    from nanochat_core.isolate import stage
    from nanochat_core.server import FILE

    out = Path(spec["scratch"]) / "out"
    out.mkdir(exist_ok=True)
    job = {
        "profile": asdict(profile), "source": str(stage(spec["scratch"], spec["source"], spec["source_sha256"])),
        "seed": spec["seed"], "threads": spec["threads"], "budget": spec["budget"], "interim": server.interim,
        "checkpoint": str(out / FILE),
    }  # fmt: skip
    trainer.work(job, Direct(server))


class ProducerHere:
    """Stands in for `evaluate.Producer`: the model in this process."""

    def __init__(self, profile, spec, show=False):
        from dataclasses import asdict

        from nanochat_core import producer
        from nanochat_core.target import blame

        job = {"profile": asdict(profile), "threads": spec["threads"], "checkpoint": str(spec["checkpoint"]),
               "source": str(spec["source"])}  # fmt: skip
        try:
            self._model = producer.Model(job)
            self._model.rehearse()
        except Exception as error:
            raise blame(error, job["source"], "eval") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def claims(self, rows):
        from nanochat_core.evaluate import within

        return within(self._model.claims(rows).astype(float), self._model.config.vocab_size)

    def logits(self, rows, at):
        return self._model.logits(rows, at).astype(float)


@pytest.fixture
def in_process(monkeypatch):
    """Run a phase here and return its events: a child would import torch for two seconds."""
    import torch

    from nanochat_core import __main__ as command
    from nanochat_core import evaluate, server, verify

    def run(spec, dataset="embedded"):
        events = []
        command.PHASES[spec["phase"]](spec, dataset, events.append)
        return events

    monkeypatch.setattr(server, "start", train_here)
    monkeypatch.setattr(evaluate, "Producer", ProducerHere)
    monkeypatch.setattr(verify, "Producer", ProducerHere)
    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _subnormal_numbers():
    """A run switches them off for its process, and hypothesis misses them in ours."""
    yield
    if torch := sys.modules.get("torch"):
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
