"""A project to try the plugin on: the toy training command under real git."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoresearch_plugin.ledger import Ledger

HERE = Path(__file__).parent
TOY = HERE / "toy_command.py"
BARE = "-p no:hypothesispytest -p no:anyio"  # they cost a session's start a second each
CANDIDATE = '''"""{title}"""

{imports}
{mark}
def test_{name}(train_module, gpu_budget, baseline):
    {edits}
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
'''


class Terminal:
    """What `Project` needs of pytester, for fixtures that outlive one test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def runpytest_subprocess(self, *words: str, timeout: float) -> pytest.RunResult:
        """pytest in a process of its own, below `path`."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        lines = done.stdout.splitlines(), done.stderr.splitlines()
        return pytest.RunResult(done.returncode, *lines, time.monotonic() - began)


class Project:
    """A small project below pytester's directory, with its command line."""

    def __init__(self, pytester: pytest.Pytester | Terminal) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.path.mkdir(exist_ok=True)
        self.target = runpy.run_path(str(TOY), run_name="toy")["TARGET"]
        self._ledger: Ledger | None = None
        self.configure()
        (self.path / "train.py").write_text(self.target)
        (self.path / "experiments").mkdir()

    def configure(self, command: str = "", **ini: str) -> None:
        """Write pytest.ini: `command` are options of the toy command."""
        lines = {
            "testpaths": "tests",
            "addopts": BARE,
            "autoresearch_target": "train.py",
            "autoresearch_command": f"{{python}} {TOY} {command or '--noise 0.0005'}",
            **{f"autoresearch_{key}": value for key, value in ini.items()},
        }
        text = "\n".join(f"{key} = {value}" for key, value in lines.items())
        (self.path / "pytest.ini").write_text(f"[pytest]\n{text}\n")

    def candidate(
        self, name: str, *edits: str, strict: bool = True, title: str = ""
    ) -> Path:
        """Write experiments/test_NAME.py; `edits` are calls of train_module."""
        mark = "" if strict else "@pytest.mark.candidate(strict=False)"
        path = self.path / "experiments" / f"test_{name}.py"
        path.write_text(
            CANDIDATE.format(
                title=title or f"{name}: a change.",
                imports="" if strict else "import pytest\n",
                mark=mark,
                name=name,
                edits="\n    ".join(f"train_module.{edit}" for edit in edits) or "pass",
            )
        )
        return path

    def script(self, **changes: dict[str, object]) -> str:
        """A scripted proposer: title -> knobs, or a whole proposal with `edits`."""
        path = self.path.with_name(f"{self.path.name}-proposals.jsonl")
        path.write_text(
            "".join(
                json.dumps(_proposal(title.replace("_", " "), change)) + "\n"
                for title, change in changes.items()
            )
        )
        return f"--autoresearch-proposer=scripted:{path}"

    def git(self, *words: str) -> str:
        """Run git in the project; returns what it printed."""
        done = subprocess.run(
            ["git", *words], cwd=self.path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str = "start") -> str:
        """Make the directory a repository if needed, and commit everything."""
        if not (self.path / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def run(self, *words: str, timeout: float = 120) -> pytest.RunResult:
        """pytest in a process of its own."""
        return self.pytester.runpytest_subprocess(*words, timeout=timeout)

    def research(self, *words: str, timeout: float = 120) -> pytest.RunResult:
        """pytest --autoresearch with no proposer unless `words` name one."""
        if not any("autoresearch-proposer" in word for word in words):
            words = ("--autoresearch-proposer=none", *words)
        return self.run("--autoresearch", *words, timeout=timeout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """pytest in the background, in a session of its own, to be signalled."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ledger(self) -> Ledger:
        """The project's ledger; one connection, closed with the fixture."""
        if self._ledger is None:
            self._ledger = Ledger(self.path / ".autoresearch" / "ledger.db")
        return self._ledger

    def close(self) -> None:
        """Close what `ledger` has opened: Python 3.13 warns of open databases."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def states(self) -> dict[str, str]:
        """Title -> state of every candidate."""
        return {row["title"]: row["state"] for row in self.ledger().candidates()}

    @staticmethod
    def until(holds: Callable[[], object], seconds: float = 30) -> float:
        """Return as soon as `holds` is true; how long that took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() < began + seconds, f"not true after {seconds:g} s"
            time.sleep(0.02)
        return time.monotonic() - began

    def alive(self) -> dict[int, str]:
        """Processes that work in the project: pid -> command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.path):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    found[int(entry.name)] = b" ".join(words).decode()[:200]
        return found


def _proposal(title: str, change: dict[str, object]) -> dict[str, object]:
    if "edits" in change:
        return {"title": title, "hypothesis": f"{title} helps.", **change}
    edits = [{"op": "set", "knob": name, "value": change[name]} for name in change]
    return _proposal(title, {"edits": edits})


NewProject = Callable[..., Project]


def own_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the machine's git settings, keys or CI variables."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CI", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    config = path.parent / f"{path.name}-gitconfig"
    config.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Device locks of this test process, unseen by tests that run beside it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        directory = tmp_path_factory.mktemp("locks")
        monkeypatch.setenv("AUTORESEARCH_RUNTIME_DIR", str(directory))
        yield


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project without the machine's git settings, keys or CI variables."""
    own_environment(pytester.path, monkeypatch)
    project = Project(pytester)
    yield project
    project.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that the tests of one file share, because its sessions cost seconds."""
    path = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as monkeypatch:
        own_environment(path, monkeypatch)
        project = Project(Terminal(path))
        yield project
        project.close()


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewProject]:
    """Makes projects that the tests of one file share: `new_project("name")`."""
    made: list[Project] = []
    with pytest.MonkeyPatch.context() as monkeypatch:

        def make(name: str, command: str = "--noise 0.0005 --no-evaluate") -> Project:
            path = tmp_path_factory.mktemp(name)
            own_environment(path, monkeypatch)
            project = Project(Terminal(path))
            project.configure(command)
            made.append(project)
            return project

        yield make
        for project in made:
            project.close()


@pytest.fixture
def end() -> Callable[[subprocess.Popen[str]], None]:
    """Kill a whole background pytest, whatever became of it."""

    def kill(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    return kill


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """The trial id of this test's own trials (see `toy_trials`)."""
    return f"{tmp_path.name}-scratch"
