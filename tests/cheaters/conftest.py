"""A laboratory for cheaters: a prepared corpus, an honest checkpoint, a score."""

import ast
import contextlib
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHIPPED = ROOT / "nanochat_core" / "train.py"
SEED, STEPS = 1337, 60  # of the honest checkpoint
CODE_LINES = 15  # at most, of one cheater


@dataclass(frozen=True)
class Cheater:
    """One file of this folder: what it says of itself, and its code."""

    name: str
    text: str
    tries: str
    header: dict = field(hash=False)

    @classmethod
    def read(cls, path):
        text = path.read_text(encoding="utf-8")
        first, *rest = ast.get_docstring(ast.parse(text)).splitlines()
        pairs = (line.split(": ", 1) for line in rest if ": " in line)
        return cls(path.stem, text, first, dict(pairs))

    @property
    def code_lines(self):
        lines = self.text.split('"""', 2)[2].splitlines()
        return sum(bool(x.strip()) and not x.strip().startswith("#") for x in lines)


def cheaters():
    """All files here that have a docstring with a row of the threat table in it."""
    found = (p for p in sorted(HERE.glob("*.py")) if "\nrow: " in p.read_text("utf-8"))
    return [Cheater.read(path) for path in found if path != Path(__file__)]


@pytest.fixture(autouse=True)
def _subnormal_numbers():
    """A run switches them off for its process, and hypothesis misses them in ours."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Words that start a command in a fork of a process that has torch."""
    path = tmp_path_factory.mktemp("warm") / "socket"
    script = str(HERE / "warm.py")
    server = subprocess.Popen([sys.executable, script, "serve", str(path)])
    while not path.exists():
        assert server.poll() is None, "the process that forks has ended"
        time.sleep(0.05)
    yield [sys.executable, "-I", "-S", script, str(path)]
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory):
    """Words of the real sandbox; skips where there is none."""
    probe = pytest.importorskip("autoresearch_plugin.sandbox.probe")
    policy = pytest.importorskip("autoresearch_plugin.sandbox.policy")
    found = probe.probe()
    return policy.prefix(found, tmp_path_factory.mktemp("sandbox"))


@dataclass
class Laboratory:
    """Runs phases with the fixed side in this process and candidates in others."""

    data_dir: Path
    base: Path
    words: list
    honest: dict = field(default_factory=dict)
    count: int = 0

    def spec(self, code, sandbox=None, **changes):
        """A spec of the tiny profile for the shipped target with `code` after it."""
        self.count += 1
        home = self.base / f"{self.count}"
        (home / "scratch").mkdir(parents=True)
        source = home / "train.py"
        source.write_text(f"{SHIPPED.read_text(encoding='utf-8')}\n\n{code}")
        return {
            "source": str(source),
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "scratch": str(home / "scratch"),
            "checkpoint": str(home / "model.safetensors"),
            "sandbox": self.words if sandbox is None else sandbox,
            "profile": "tiny",
            "seed": SEED,
            "threads": 1,
            "device": "cpu",
            "budget": {"unit": "steps", "amount": 3},
            **changes,
        }

    @property
    def profile(self):
        from nanochat_core.profiles import TINY

        return TINY

    @property
    def prepared(self):
        from nanochat_core.prepare import open_prepared

        return open_prepared("embedded", 1024, self.data_dir)

    def train(self, spec):
        """Run the train phase; (summary, events)."""
        from nanochat_core import server

        events = []
        summary = server.train(self.profile, self.prepared, spec, events.append)
        return summary, [json.loads(json.dumps(event)) for event in events]

    def score(self, spec, positions=512, seed=0):
        """Claims, and what is true of them: a `Verified`. `seed` draws positions."""
        from nanochat_core import evaluate
        from nanochat_core.verify import Verifier

        _, claims = evaluate.score(self.profile, self.prepared, spec)
        verifier = Verifier(self.profile, self.prepared, spec, claims, seed)
        return verifier.run(positions)

    def checkpoint(self, code=""):
        """An honestly trained checkpoint of the shipped target with `code` after it."""
        if code not in self.honest:
            budget = {"unit": "steps", "amount": STEPS}
            spec = self.spec(code, budget=budget)
            self.train(spec)
            self.honest[code] = spec["checkpoint"]
        return self.honest[code]


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory, warm):
    from nanochat_core.prepare import prepare

    base = tmp_path_factory.mktemp("cheaters")
    prepare("embedded", 1024, base / "data", say=lambda words: None)
    with contextlib.chdir(base):
        yield Laboratory(base / "data", base, warm)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
