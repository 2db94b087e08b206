"""Three alike failures in a row: the machine's fault if the baseline fails too."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from autoresearch_plugin import breakage, measuring
from autoresearch_plugin.devices import Device
from autoresearch_plugin.errors import DeviceLost, InfrastructureError
from autoresearch_plugin.gpus import Gpu
from autoresearch_plugin.measuring import Measuring
from autoresearch_plugin.trial import Outcome, TrialResult
from tests.plugin.belongings import belongings
from tests.plugin.conftest import TOY

COMMAND = '''"""The toy command, which lacks a library in runs FIRST to LAST."""
import json, re, runpy, sys
from pathlib import Path

first, last, toy = sys.argv[1:4]
del sys.argv[:3]
sys.argv[0] = toy
spec = json.loads(Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())
number = re.match(r"t0*(\\d+)$", spec["trial_id"])
if number and int(first) <= int(number[1]) <= int(last):
    raise OSError(f"libmagic.so.{number[1]}: cannot open shared object file")
runpy.run_path(toy, run_name="__main__")
'''
IDEAS = {name: {"LR": 0.5 + i / 10} for i, name in enumerate("abcde")}


def session(project: Any, first: int, last: int) -> Any:
    """A session that lacks a library from one run to another; runs 1, 3 and 4 are the
    baseline's, run 2 the first candidate's."""
    command = project.path / "command.py"
    command.write_text(COMMAND)
    project.configure("--noise 0.0005 --no-evaluate")
    ini = project.path / "pytest.ini"
    words = f"{command} {first} {last} {TOY}"
    ini.write_text(ini.read_text().replace(str(TOY), words))
    project.commit()
    return project.script(**IDEAS)


def test_an_environment_that_broke_is_charged_to_no_idea(project: Any) -> None:
    """Exit code 1 with the cause; the candidates wait, and the same command goes on
    with them when all is mended."""
    script = session(project, 5, 99)
    before = belongings(project.path)

    ran = project.research(script, "-pno:xdist")

    assert ran.ret == 1
    assert ran.stdout.str().count("Traceback") == ran.stdout.str().count("| Traceback")
    ran.stdout.fnmatch_lines(
        [
            "note *3 candidates in a row failed in the same way (*libmagic.so.7*), "
            "and so does the baseline now*#002, #003, #004 wait to be tried again*"
        ]
    )
    states = project.states()
    assert states["a"] == "discard"
    assert {states[name] for name in "bcd"} == {"queued"}
    assert project.ledger().session(1)["state"] == "failed"
    assert project.ledger().decided_count(1) == 1
    after = belongings(project.path)
    assert {name: after.get(name) for name in before} == before

    command = project.path / "command.py"
    command.write_text(COMMAND.replace("if number and", "if False and"))
    ran = project.research(script, "-pno:xdist")

    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines(["autoresearch *resumed"])
    assert project.states() == dict.fromkeys("abcde", "discard")


def test_where_the_baseline_runs_the_crashes_are_real(project: Any) -> None:
    """It is asked once for one sort of failure, and the session goes on."""
    script = session(project, 5, 7)
    ran = project.research(script, "-pno:xdist")

    assert ran.ret == 0, ran.stdout.str()
    ran.stdout.fnmatch_lines(["*the baseline runs: these were crashes of their own"])
    states = project.states()
    assert {states[name] for name in "bcd"} == {"crash"}
    assert {states[name] for name in "ae"} == {"discard"}


@pytest.mark.parametrize(
    ("words", "other", "same"),
    [
        ("OSError: libc.so.6 at 0x7f", "OSError: libc.so.5 at 0x3e", True),
        ("RuntimeError: size 3 and 4", "RuntimeError: size 5 and 6", True),
        ("RuntimeError: a", "RuntimeError: b", False),
    ],
)
def test_failures_are_alike_but_for_numbers(words: str, other: str, same: bool) -> None:
    """Addresses, sizes and line numbers differ from run to run."""
    assert (breakage._words("error", words) == breakage._words("error", other)) is same
    assert breakage._words("error", words) != breakage._words("import", words)


DRIVER = '''"""A stand-in for NVIDIA's library: it tells what gpus.json says."""
import json
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent


class NVMLError(Exception):
    pass


def nvmlInit():
    pass


nvmlShutdown = nvmlInit


def _told():
    return json.loads((HERE / "gpus.json").read_text())


def nvmlDeviceGetCount():
    return len(_told())


def nvmlDeviceGetHandleByIndex(number):
    return _told()[number]


def nvmlDeviceGetMigMode(handle):
    raise NVMLError


def nvmlDeviceGetMemoryInfo(handle):
    total = 80_000 * 2**20
    return SimpleNamespace(free=total - handle["used"] * 2**20, total=total)


def nvmlDeviceGetName(handle):
    return "Stand-in"


def nvmlDeviceGetUUID(handle):
    return handle["uuid"]
'''
GPU_COMMAND = '''"""The toy command, without a GPU on GPU-1 from a certain run on."""
import json, os, re, runpy, sys
from pathlib import Path

first, toy = sys.argv[1:3]
del sys.argv[:2]
sys.argv[0] = toy
spec = json.loads(Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())
number = re.match(r"t0*(\\d+)$", spec["trial_id"])
broken = number and int(number[1]) >= int(first)
if broken and os.environ.get("CUDA_VISIBLE_DEVICES") == "GPU-1":
    raise RuntimeError("CUDA error: no CUDA-capable device is detected")
runpy.run_path(toy, run_name="__main__")
'''


@pytest.mark.parametrize("first", [1, 4])
def test_a_lane_whose_gpu_is_lost_leaves_its_work_to_others(
    project: Any, first: int
) -> None:
    """It says why; what it was trying is decided on the other GPU, and exit code 0."""
    (project.path / "pynvml.py").write_text(DRIVER)
    gpus = [{"uuid": f"GPU-{i}", "used": 500} for i in range(2)]
    (project.path / "gpus.json").write_text(json.dumps(gpus))
    command = project.path / "command.py"
    command.write_text(GPU_COMMAND)
    project.configure("--noise 0.0005 --no-evaluate")
    ini = project.path / "pytest.ini"
    ini.write_text(ini.read_text().replace(str(TOY), f"{command} {first} {TOY}"))
    project.commit()

    ran = project.research(project.script(**IDEAS), "-n2")

    assert ran.ret == 0, ran.stdout.str() + ran.stderr.str()
    ran.stdout.fnmatch_lines(["note *cuda:1 (Stand-in) cannot be used: *no CUDA-cap*"])
    assert project.states() == dict.fromkeys("abcde", "discard")
    rows = project.ledger().session_trials(1)
    assert {row["device"] for row in rows if row["outcome"] == "ok"} >= {"cuda:0"}


def test_the_last_lane_ends_the_session_with_its_gpu(project: Any) -> None:
    """Exit code 1, and the same command goes on when it is mended."""
    (project.path / "pynvml.py").write_text(DRIVER)
    (project.path / "gpus.json").write_text('[{"uuid": "GPU-1", "used": 500}]')
    command = project.path / "command.py"
    command.write_text(GPU_COMMAND)
    project.configure("--noise 0.0005 --no-evaluate")
    ini = project.path / "pytest.ini"
    ini.write_text(ini.read_text().replace(str(TOY), f"{command} 2 {TOY}"))
    project.commit()
    script = project.script(**IDEAS)
    words = (script, "-pno:xdist")

    ran = project.research(*words)

    assert ran.ret == 1, ran.stdout.str() + ran.stderr.str()
    assert "cuda:0 (Stand-in) cannot be used" in ran.stdout.str()
    assert project.states()["a"] == "queued"
    command.write_text(GPU_COMMAND.replace("if broken and", "if False and"))
    assert project.research(*words).ret == 0
    assert project.states() == dict.fromkeys("abcde", "discard")


class Lane:
    """As much of a lane as the questions about its device need."""

    def __init__(self, kind: str, *uuids: str) -> None:
        self.device = Device("cuda:1", "H100", kind, visible="GPU-1")
        gpus = [Gpu("0", uuid, "H100", 80.0, 80.0) for uuid in uuids]
        self.executor = type("Executor", (), {"driver": self})
        self.gpus = lambda: gpus


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: CUDA error: device-side assert triggered",
        "torch.AcceleratorError: CUDA error: unspecified launch failure",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: CUDA error: no CUDA-capable device is detected",
        "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
    ],
)
def test_words_of_a_gpu_are_told_from_those_of_an_idea(words: str) -> None:
    """Only on a GPU; want of memory is an idea's own fault."""
    result = TrialResult(Outcome.ERROR, words)
    assert breakage.device_words(Lane("cuda"), result)
    assert not breakage.device_words(Lane("cpu"), result)
    memory = TrialResult(Outcome.OOM_TRAIN, "CUDA out of memory. Tried to allocate")
    assert not breakage.device_words(Lane("cuda"), memory)


def test_a_gpu_that_fell_off_the_bus_is_named() -> None:
    """Its driver lists it no more, whatever the run said."""
    result = TrialResult(Outcome.ERROR, "exit code 1")
    assert breakage.device_fault(Lane("cuda", "GPU-0", "GPU-1"), result) is None
    said = breakage.device_fault(Lane("cuda", "GPU-0"), result) or ""
    assert "cuda:1 (H100) cannot be used: its driver does not know it any more" in said


class Busy:
    """A lane whose GPU has so much memory taken at one look after the other."""

    def __init__(self, *taken: float) -> None:
        self.left = list(taken)
        self.device = Device("cuda:1", "H100", "cuda", 79_500, 80_000, "GPU-1")
        self.executor = SimpleNamespace(taken_mb=lambda device: self.left.pop(0))
        self.waited = 0

    def pause(self, why: str) -> None:
        """Wait no time at all."""
        self.waited += 1


def test_a_run_waits_for_memory_that_is_slow_to_come_back() -> None:
    """A twentieth of the GPU may be missing: screens and drivers take some."""
    lane = Busy(30_000, 9_000, 3_900)
    Measuring._await_memory(lane)
    assert lane.waited == 2


def test_a_gpu_that_stays_busy_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is in use and what to do."""
    monkeypatch.setattr(measuring, "MEMORY_PATIENCE", -1.0)
    with pytest.raises(DeviceLost, match=r"cuda:1 \(H100\) is busy: 30000 MB .* End"):
        Measuring._await_memory(Busy(30_000))


def test_where_no_driver_tells_nobody_waits() -> None:
    """On a CPU."""
    lane = Busy(None)
    Measuring._await_memory(lane)
    assert lane.waited == 0


class Interrupted:
    """A lane whose candidate's run was suspended once too often."""

    profile = SimpleNamespace(isolates=True)
    session, device = 1, SimpleNamespace(id="cpu:0")

    def __init__(self, baseline: Outcome) -> None:
        self.ledger = self
        self.baseline = baseline

    def broken_runs(self, *which: Any) -> int:
        """One more than a session bears."""
        return breakage.SUSPENSIONS + 1

    def head_trials(self, head: str) -> list[Any]:
        """None is needed to try one more."""
        return []

    running_head_trials = head_trials

    def claim_head_trial(self, *which: Any) -> dict[str, int]:
        """A run that nobody else makes."""
        return {"seed_index": 0}

    def budget_of(self, head: Any) -> None:
        """Whatever it is."""

    def trial(self, *words: Any) -> TrialResult:
        """The baseline's."""
        return TrialResult(self.baseline)

    def tell(self, text: str) -> None:
        """Nobody listens."""


@pytest.mark.parametrize("candidate", [7, None])
@pytest.mark.parametrize("baseline", [Outcome.OK, Outcome.SUSPENDED])
def test_a_run_that_is_stopped_again_and_again_ends_its_candidate_or_the_session(
    baseline: Outcome, candidate: int | None
) -> None:
    """Its candidate's alone if the baseline is not stopped; a machine that sleeps all
    the time ends the session."""
    lane = Interrupted(baseline)
    head = SimpleNamespace(id="h", source="", short="h")
    row = {"candidate": candidate, "seed_index": 0}
    result = TrialResult(Outcome.SUSPENDED, "its process was stopped (SIGSTOP)")
    if candidate and baseline is Outcome.OK:
        assert not breakage.try_again(lane, head, row, "#007 run 1", result)
        return
    with pytest.raises(InfrastructureError, match=r"was interrupted 6 times.*awake"):
        breakage.try_again(lane, head, row, "#007 run 1", result)
