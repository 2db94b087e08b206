"""Trials as real processes: how each one can end, and that nothing outlives it."""

import hashlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.devices import Device, lease
from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.executors import child
from autoresearch_plugin.executors.local import LocalExecutor, scratch_dir, take_back
from autoresearch_plugin.executors.pace import WIDEST, from_costs, measure
from autoresearch_plugin.executors.transcript import (
    MAX_CURVE,
    PHASES,
    SUMMARY_NUMBERS,
    Ending,
    Transcript,
)
from autoresearch_plugin.executors.words import LOG_SIZE, LOG_WIDTH, clean_log
from autoresearch_plugin.ledger import this_process
from autoresearch_plugin.sandbox import processes
from autoresearch_plugin.sandbox.environment import environment
from autoresearch_plugin.trial import Budget, Outcome, Profile, TrialSpec

TOY = Path(__file__).with_name("toy_command.py")
TARGET = runpy.run_path(str(TOY))["TARGET"]
quality = runpy.run_path(str(TOY))["quality"]
MODEL = {"LR": 0.1, "WIDTH": 4, "DECAY": False}  # the target's knobs

CPU = Device("cpu:0", "a core", "cpu")
COMMAND = f"{{python}} {TOY} --noise 0"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


def with_knobs(**knobs):
    """The toy's target with knobs appended; the last value counts."""
    return TARGET + "".join(f"\n{name} = {value!r}\n" for name, value in knobs.items())


def spec_for(scratch, source=TARGET, limit=20.0, **changes):
    """A spec for `source`, which is written into the scratch directory."""
    scratch.mkdir(exist_ok=True)
    path = scratch / "train.py"
    path.write_text(source)
    spec = TrialSpec(
        trial_id=f"{scratch.parent.name}-{scratch.name}",
        phase="train",
        source=str(path),
        source_sha256=hashlib.sha256(source.encode()).hexdigest(),
        profile="tiny",
        seed=1,
        budget=Budget("steps", 10),
        limits=dict.fromkeys(PHASES, limit),
        threads=1,
        device="cpu",
        data_dir=str(scratch),
        scratch=str(scratch),
        checkpoint=str(scratch / "checkpoint"),
    )
    return replace(spec, **changes)


@pytest.fixture
def run(tmp_path):
    """Run a whole trial of a toy target with the given misbehaviour."""

    def run(misbehave="", *, source=None, command=COMMAND, limits=None, **options):
        source = source or with_knobs(MISBEHAVE=misbehave)
        spec = spec_for(tmp_path / "scratch", source)
        spec = replace(spec, limits={**spec.limits, **(limits or {})})
        return LocalExecutor(command, tmp_path).trial(spec, CPU, **options)

    return run


def alive(trial_id):
    """Pids whose environment carries the mark of a trial."""
    mark = f"AUTORESEARCH_TRIAL={trial_id}.".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def wait_until(condition, seconds=10.0):
    """Ask until it is true; False if it never was."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
    return True


@pytest.fixture
def mark(tmp_path):
    """The trial id of this test's trials."""
    return f"{tmp_path.name}-scratch"


# ------------------------------------------------------------------------ good runs


def test_a_good_trial_has_the_metric_the_summary_and_the_curve(run):
    """Train, then evaluate in a new process, as one result."""
    seen = []
    result = run(on_event=lambda event: seen.append(event["event"]))
    assert result.outcome is Outcome.OK
    assert result.metrics == {"score": pytest.approx(quality(MODEL, 10))}
    assert result.summary["num_steps"] == 10
    assert result.summary["depth"] is None
    assert [step for step, _ in result.curve] == list(range(1, 11))
    assert set(result.seconds) == set(PHASES) - {"verify"}
    assert 0 < result.cpu_seconds < 20
    assert Counter(seen) == {"phase": 5, "step": 10, "summary": 1, "result": 1}


def test_a_command_that_does_not_evaluate_gives_its_result_in_train(run):
    """One process, one result, no checkpoint asked for; here higher is better."""
    options = " --no-evaluate --direction max --metric accuracy"
    result = run(command=COMMAND + options, evaluates=False)
    assert result.metrics == {"accuracy": pytest.approx(4 - quality(MODEL, 10))}
    assert "evaluate" not in result.seconds


def test_describe_returns_the_whole_description(tmp_path):
    """Its keys are more than numbers."""
    executor = LocalExecutor(COMMAND, tmp_path)
    result = executor.run(spec_for(tmp_path / "s", phase="describe"), CPU)
    assert result.ok
    assert result.description["budget"] == {"unit": "steps", "amount": 10}
    assert "event" not in result.description


def test_seconds_budgets_end_by_the_clock(tmp_path):
    """A training of 0.3 s takes 0.3 s."""
    spec = spec_for(tmp_path / "s", budget=Budget("seconds", 0.3))
    result = LocalExecutor(COMMAND, tmp_path).run(spec, CPU)
    assert result.ok
    assert 0.25 < result.seconds["train"] < 3


def test_output_without_end_does_not_block_a_run(run):
    """5 MB without a line end; colours and bells do not reach the log's reader."""
    result = run("chatter")
    assert result.ok
    assert result.log_tail.endswith("last words")
    assert len(result.log_tail) <= LOG_SIZE
    assert "\x1b" not in result.log_tail


# ------------------------------------------------------------------------- bad endings


@pytest.mark.parametrize(
    ("misbehave", "outcome", "words"),
    [
        ("crash", "error", "ValueError: broken on purpose"),
        ("refuse", "assert", "AssertionError: model and data disagree"),
        ("missing", "import", "ModuleNotFoundError: No module named 'no_such_module"),
        ("memory", "oom-train", "MemoryError: no room"),
        ("cuda-memory", "oom-train", "CUDA out of memory"),
        ("evaluate:memory", "oom-eval", "MemoryError: no room"),
        ("evaluate:crash", "error", "ValueError: broken on purpose"),
        ("diverged", "diverged", "loss 99 at step 1!"),
        ("nan", "nan", "score is nan"),
        ("huge", "nan", "score is 1e+200"),
        ("words", "nan", "score is '?'"),
        ("exit-3", "error", "exit code 3"),
        ("exit-0", "error", "ended without a result"),
        ("no-save", "error", "it saved no checkpoint"),
        ("kill", "killed", "killed by SIGKILL from outside"),
        ("segfault", "error", "ended by SIGSEGV"),
        ("forge-result", "integrity", "a result in the phase train"),
        ("forge-garbage", "integrity", "'this is not JSON'"),
        ("forge-long", "integrity", "a line of more than 64 KiB"),
        ("forge-half", "integrity", "the last one has no end"),
        ("go-back", "integrity", "phase warmup after train"),
        ("step-digits", "integrity", "forged or broken event: step {"),
        ("summary-words", "integrity", "a summary with peak_vram_mb 'lots'"),
    ],
)
def test_how_a_run_fails_is_told_apart(run, misbehave, outcome, words):
    """Each failure has its outcome and one line of words, and no metric."""
    result = run(misbehave)
    assert (result.outcome, result.metrics) == (outcome, {})
    assert words in result.message
    assert result.message.isprintable()


def test_a_target_that_is_not_python_is_a_syntax_error(run):
    """The command dies with Python's own traceback."""
    result = run(source="def train(run:\n")
    assert result.outcome is Outcome.SYNTAX
    assert "SyntaxError" in result.log_tail


def test_a_failed_evaluation_keeps_what_the_training_said(run):
    """Summary and curve stay; the metrics do not."""
    result = run("evaluate:crash")
    assert result.summary["num_steps"] == 10
    assert len(result.curve) == 10


@pytest.mark.parametrize(
    "command",
    [
        "no-such-program-anywhere",
        "/etc/hostname",
        "{python} -m no_such_module",
    ],
)
def test_a_command_that_cannot_start_is_not_the_candidates_fault(run, command):
    """Outcome `env`, with the setting to change."""
    result = run(command=command)
    assert result.outcome is Outcome.ENV
    assert not result.outcome.blames_candidate
    assert "autoresearch_command" in result.message


def test_a_missing_root_is_not_the_candidates_fault(tmp_path):
    """The runner itself cannot start there."""
    executor = LocalExecutor(COMMAND, tmp_path / "gone")
    result = executor.run(spec_for(tmp_path / "s"), CPU)
    assert (result.outcome, "gone" in result.message) == (Outcome.ENV, True)


@pytest.mark.parametrize("command", ["", "  ", "python 'train"])
def test_a_command_that_is_no_command_is_a_settings_error(command, tmp_path):
    """Refused before anything runs."""
    with pytest.raises(SettingsError, match="autoresearch_command"):
        LocalExecutor(command, tmp_path)


def test_a_link_is_not_a_checkpoint(tmp_path):
    """It could point at somebody else's model."""
    spec = spec_for(tmp_path / "s")
    (tmp_path / "other").write_text("{}")
    Path(spec.checkpoint).symlink_to(tmp_path / "other")
    source = with_knobs(MISBEHAVE="no-save")
    spec = replace(
        spec_for(tmp_path / "s", source), checkpoint=str(tmp_path / "s" / "checkpoint")
    )
    assert LocalExecutor(COMMAND, tmp_path).run(spec, CPU).outcome is Outcome.ERROR


# ------------------------------------------------------- stopping, and leaving nothing


@LINUX
@pytest.mark.parametrize(
    "misbehave", ["hang", "spin", "fork", "hydra", "repeat-phase", "evaluate:hang"]
)
def test_a_run_that_exceeds_a_deadline_is_gone(run, mark, misbehave):
    """SIGTERM is enough for most; the log shows where the run was."""
    phase = "evaluate" if misbehave.startswith("evaluate") else "train"
    began = time.monotonic()
    result = run(misbehave, limits={phase: 0.4})
    assert alive(mark) == []
    assert result.outcome == f"timeout-{phase}"
    assert result.message == f"{phase} took more than 0.4 s"
    assert result.seconds[phase] < 10
    assert time.monotonic() - began < 12
    assert "toy_command.py" in result.log_tail
    assert misbehave.split(":")[-1].replace("-", "_") in result.log_tail
    assert "Aborted" not in result.log_tail


@LINUX
def test_a_run_is_asked_to_end_once(run):
    """A second SIGTERM would cut off the stack dump that the first one asks for."""
    result = run("count-terms", limits={"train": 0.3})
    assert "SIGTERM came 1 times" in result.log_tail


@LINUX
@pytest.mark.parametrize("misbehave", ["stubborn", "daemon-hang"])
def test_what_ignores_sigterm_is_killed_with_its_daemons(run, mark, misbehave):
    """Two seconds of grace, a stack dump, SIGKILL; gone ten seconds after the limit."""
    result = run(misbehave, limits={"train": 0.3})
    assert alive(mark) == []
    assert result.outcome is Outcome.TIMEOUT_TRAIN
    assert 2.0 < result.seconds["train"] < 10
    assert "Fatal Python error: Aborted" in result.log_tail


@LINUX
def test_a_daemon_does_not_outlive_a_good_run(run, mark):
    """Forked twice, in its own session, deaf to SIGTERM: reaped, and no time lost."""
    result = run("daemon")
    assert alive(mark) == []
    assert result.ok
    assert result.wall_seconds < 10


@LINUX
def test_a_run_cannot_escape_by_killing_its_runner(run, mark):
    """What the runner left is found by its mark."""
    result = run("kill-runner")
    assert wait_until(lambda: alive(mark) == [])
    assert result.outcome is Outcome.KILLED


@LINUX
def test_a_run_cannot_escape_by_stopping_its_runner(run, mark, monkeypatch):
    """A runner that does not answer is killed, and the command dies with it."""
    monkeypatch.setattr(child, "PATIENCE", 0.3)
    monkeypatch.setattr(child, "GRACE", 0.2)
    result = run("stop-runner", limits={"train": 0.3})
    assert wait_until(lambda: alive(mark) == [])
    assert result.outcome is Outcome.TIMEOUT_TRAIN


@LINUX
def test_a_run_stops_when_asked(run, mark):
    """The reason given becomes the message, soon, whatever the run does."""
    phases = []
    began = time.monotonic()
    result = run(
        "daemon-hang",
        on_event=lambda event: phases.append(event.get("phase")),
        should_stop=lambda: "Ctrl-C" if "train" in phases else None,
    )
    assert alive(mark) == []
    assert (result.outcome, result.message) == (Outcome.STOPPED, "Ctrl-C")
    assert time.monotonic() - began < 8


@LINUX
def test_ctrl_c_reaches_the_caller_when_all_is_gone(run, mark):
    """An exception in the polling loop kills the tree first."""

    def interrupt(event):
        if event["event"] == "step":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run("fork", on_event=interrupt)
    assert alive(mark) == []


@LINUX
def test_cpu_time_has_a_limit_of_its_own(run, mark):
    """Wall clock deadlines say little on a busy machine."""
    result = run("spin", cpu_limit=0.3)
    assert alive(mark) == []
    assert result.outcome is Outcome.TIMEOUT_TRAIN
    assert "s of CPU time; the limit is 0.3 s" in result.message
    assert result.cpu_seconds > 0.3


SESSION = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_executor import *
root = Path({root!r})
spec = spec_for(root / "scratch", with_knobs(MISBEHAVE="daemon-hang"))
LocalExecutor(COMMAND, root).run(spec, CPU, on_event=lambda e: print(e, flush=True))
"""


@LINUX
def test_a_killed_session_leaves_nothing_running(tmp_path, mark):
    """SIGKILL to the process that runs trials: the trial, its daemon, all gone."""
    paths = [str(Path(__file__).parent), str(Path(child.__file__).parents[2])]
    code = SESSION.format(paths=paths, root=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as one:
        seen = next(line for line in one.stdout if b"'step'" in line)
        assert seen
        assert wait_until(lambda: len(alive(mark)) >= 3)  # runner, command, daemon
        one.kill()
    assert wait_until(lambda: alive(mark) == [])


def test_a_device_stays_leased_until_the_run_is_gone(tmp_path):
    """The lock goes to the processes of the trial, so letting go early is harmless."""
    gpu = Device("cuda:0", "H100", "cuda", visible="GPU-00")
    held = lease(gpu, directory=tmp_path)
    executor = LocalExecutor(COMMAND, tmp_path, lease=held)
    refused = []

    def let_go(event):
        held.release()
        with pytest.raises(InfrastructureError, match="is leased by"):
            lease(gpu, directory=tmp_path)
        refused.append(event)

    assert executor.run(spec_for(tmp_path / "s"), gpu, on_event=let_go).ok
    assert len(refused) > 3
    lease(gpu, directory=tmp_path).release()


# -------------------------------------------------------- what the command is given


def test_secrets_do_not_reach_a_run(tmp_path):
    """The command sees its own variables, not the user's."""
    wanted = {"PATH", "HOME", "LC_ALL", "OMP_NUM_THREADS"}
    unwanted = {"ANTHROPIC_API_KEY", "HF_TOKEN", "SSH_AUTH_SOCK", "EDITOR"}
    user = {**dict.fromkeys(wanted | unwanted, "x"), "PATH": os.environ["PATH"]}
    spec = spec_for(tmp_path / "s", with_knobs(MISBEHAVE="environment"), threads=2)
    result = LocalExecutor(COMMAND, tmp_path, environ=user).run(spec, CPU)
    names = set(result.log_tail.split())
    assert wanted | {"TMPDIR", "CUDA_VISIBLE_DEVICES"} <= names
    assert names.isdisjoint(unwanted)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        *((name, True) for name in ("PATH", "LC_TIME", "PYTHONPATH", "HF_HOME")),
        *((name, True) for name in ("CUDA_HOME", "LD_LIBRARY_PATH", "NVIDIA_TF32")),
        *((name, True) for name in ("TORCH_HOME", "PYTORCH_ALLOC_CONF")),
        *((name, False) for name in ("COVERAGE_PROCESS_CONFIG", "PYTEST_ADDOPTS")),
        *((name, False) for name in ("HF_TOKEN", "NVIDIA_API_KEY", "AWS_PROFILE")),
        *((name, False) for name in ("OPENAI_API_KEY", "GITHUB_TOKEN", "HF_KEY_FILE")),
        *((name, False) for name in ("SSH_AUTH_SOCK", "LD_PRELOAD", "http_proxy")),
    ],
)
def test_the_environment_is_an_allow_list(name, passes):
    """What a training needs passes; what looks like a secret never does."""
    assert (name in environment({name: "x"})) == passes


def test_proxies_pass_only_where_data_is_fetched():
    """`describe` downloads and runs no candidate."""
    user = {"https_proxy": "http://p", "SSL_CERT_FILE": "/c", "ANTHROPIC_API_KEY": "k"}
    assert set(environment(user, downloads=True)) == {"https_proxy", "SSL_CERT_FILE"}


def test_the_spec_is_for_the_run_alone(tmp_path):
    """In a private directory beside the scratch, where no candidate writes."""
    modes = []

    def look(event):
        path = tmp_path / "s.harness" / "train.json"
        mode = path.parent.stat().st_mode & 0o777
        modes.append((mode, json.loads(path.read_text())))

    LocalExecutor(COMMAND, tmp_path).run(spec_for(tmp_path / "s"), CPU, on_event=look)
    mode, spec = modes[0]
    assert mode == 0o700
    assert (spec["schema"], spec["phase"], spec["threads"]) == (1, "train", 1)
    assert "control_fd" not in spec


# --------------------------------------------------------------------------------- pace


@LINUX
@pytest.mark.parametrize(("cost", "low", "high"), [(4.0, 2.6, 5.4), (0.25, 0.15, 0.5)])
def test_a_dearer_step_has_a_higher_pace(tmp_path, cost, low, high):
    """Measured from outside, by CPU time; busy machines blur it, so wide bounds."""
    pace = LocalExecutor(COMMAND, tmp_path).pace(
        spec_for(tmp_path / "a", with_knobs(STEP_COST=2.0)),
        spec_for(tmp_path / "b", with_knobs(STEP_COST=2.0 * cost)),
        CPU,
        steps=4,
    )
    assert pace.failed is None
    assert low < pace.ratio < high
    assert 4 <= pace.steps <= 20
    assert pace.raw == pytest.approx(pace.candidate_seconds / pace.parent_seconds)


@LINUX
@pytest.mark.parametrize(
    ("parent", "candidate", "culprit", "outcome"),
    [
        ("", "crash", "candidate", "error"),
        ("", "exit-0", "candidate", "error"),
        ("", "forge-steps", "candidate", "integrity"),
        ("", "hang", "candidate", "timeout-train"),
        ("crash", "", "parent", "error"),
    ],
)
def test_a_pace_that_fails_says_whose_fault_it_is(
    tmp_path, mark, parent, candidate, culprit, outcome
):
    """The failing run's own result; both are gone."""
    theirs = spec_for(tmp_path / "other", with_knobs(MISBEHAVE=candidate))
    pace = LocalExecutor(COMMAND, tmp_path).pace(
        spec_for(tmp_path / "scratch", with_knobs(MISBEHAVE=parent)),
        replace(theirs, limits={**theirs.limits, "train": 0.5}),
        CPU,
        steps=2,
    )
    assert alive(mark) == []
    assert (pace.culprit, pace.failed.outcome, pace.ratio) == (culprit, outcome, 1.0)


class Stepper:
    """A child whose steps take what a list says, on a clock that all share."""

    ended = False

    def __init__(self, name, costs, world, limit=100.0):
        self.name, self.costs, self.world = name, list(costs), world
        self.transcript = Transcript(
            spec_for(Path("/tmp"), phase="pace", limits={"start": limit}),
            now=world["now"],
        )
        self.goes, self.used = 0, 1.0

    def go(self):
        self.goes += 1
        self.world["turns"] += self.name

    def pump(self):
        cost = self.costs[self.goes % len(self.costs)]
        self.used += cost
        self.world["now"] += cost
        return self.transcript.hear_events(line("step", step=1), self.world["now"])

    def cpu_seconds(self):
        return self.used

    def close(self):
        self.world["turns"] += "."

    def stop(self, stop):
        self.ended, self.reason = True, stop

    def result(self):
        return self.transcript.result(Ending(exit_code=0), self.reason, 0.0)


def pace_of(parent, candidate, steps=4, limit=100.0, **words):
    """The pace of two steppers, and the order of their turns."""
    world = {"now": 0.0, "turns": ""}
    pace = measure(
        lambda: Stepper("p", parent, world, limit),
        lambda: Stepper("c", candidate, world),
        lambda stepper: stepper.transcript.overdue(world["now"]),
        steps=steps,
        clock=lambda: world["now"],
        **words,
    )
    return pace, world["turns"]


def test_two_children_take_turns_after_a_start_that_is_not_counted():
    """Parent, candidate, candidate, parent, in two rounds with another one first."""
    pace, turns = pace_of([1.0], [2.5])
    assert turns == "ppp" + "ccc" + "pccp" + ".." + "ccc" + "ppp" + "pccp" + ".."
    assert (pace.ratio, pace.steps) == (2.5, 4)
    assert (pace.parent_seconds, pace.candidate_seconds) == (4.0, 10.0)


@pytest.mark.parametrize(
    ("cost", "ratio", "rounds"), [(1.0, 1.0, 1), (0.975, 1.0, 1), (0.96, 0.96, 2)]
)
def test_one_round_will_do_where_the_price_is_about_one(cost, ratio, rounds):
    """As long as nothing rests on it; a price that may be another one is made exact."""
    pace, _ = pace_of([1.0], [cost], rough=True)
    assert (pace.ratio, pace.rounds) == (ratio, rounds)
    assert pace.is_exact == (rounds == 2)


def test_a_rough_price_becomes_exact_with_the_round_that_is_missing():
    """The candidate first, and the steps of both rounds count."""
    rough, _ = pace_of([1.0], [0.975], rough=True)
    pace, turns = pace_of([1.0], [0.955], known=rough)
    assert turns == "ccc" + "ppp" + "pccp" + ".."
    assert (pace.steps, pace.is_exact) == (4, True)
    assert pace.raw == pace.ratio == pytest.approx(0.965)


def test_unsteady_steps_are_repeated():
    """Up to three times as many, while the standard error is large."""
    pace, _ = pace_of([1.0], [1.0, 3.0])
    assert (pace.steps, pace.is_good) == (12, False)
    assert pace.ratio == pytest.approx(2.0)


def test_while_one_steps_the_others_deadline_does_not_run():
    """A parent with a limit of 8 s outlives its candidate's slow steps."""
    assert pace_of([1.0], [4.0], limit=8.0)[0].failed is None
    failed, turns = pace_of([1.0], [4.0], limit=4.5)
    assert (failed.culprit, failed.failed.outcome) == ("parent", "timeout-start")
    assert turns.count("p") == 5


@pytest.mark.parametrize(
    ("costs", "ratio"),
    [
        ([1.01] * 20, 1.0),
        ([0.981] * 20, 1.0),
        ([1.03] * 20, 1.03),
        ([2.0] * 20, 2.0),
        ([0.5, 1.5] * 9 + [1.08, 1.0], 1.0),
        ([0.1, 2.1] * 10, 1.1),
    ],
)
def test_a_price_within_the_dead_zone_counts_as_one(costs, ratio):
    """Two percent, or two standard errors where those are more, but never over five."""
    pace = from_costs([1.0] * 20, costs)
    assert pace.ratio == pytest.approx(ratio)
    assert pace.is_good == (len(set(costs)) == 1)


@given(st.lists(st.floats(0.001, 10), min_size=2, max_size=30))
def test_a_pace_is_the_quotient_of_the_sums(costs):
    """Outside the widest dead zone it is as measured; equal costs make one."""
    assert from_costs(costs, costs).ratio == 1.0
    pace = from_costs([1.0] * len(costs), costs)
    assert pace.raw == pytest.approx(sum(costs) / len(costs))
    assert pace.ratio in (1.0, pace.raw)
    assert abs(pace.raw - 1) <= WIDEST + 1e-9 or pace.ratio == pace.raw


# ---------------------------------------------------------------- the transcript, alone


def line(event, **data):
    return json.dumps({"event": event, **data}).encode() + b"\n"


def heard(*chunks, phase="evaluate", evaluates=True, ending=None):
    """The result of a run that said just this and exited with 0."""
    spec = replace(spec_for(Path("/tmp")), phase=phase)
    transcript = Transcript(spec, evaluates=evaluates, now=0.0)
    for chunk in chunks:
        list(transcript.hear_events(chunk, 1.0))
    return transcript.result(ending or Ending(exit_code=0), None, 2.0)


STEP_NUMBERS = ("tokens", "loss", "elapsed")
DIGITS = pytest.param(10**400, id="400 digits")
NESTED = json.loads("[" * 40 + "]" * 40)


@pytest.mark.parametrize(
    "bad",
    [
        b"\n",
        b"[1]\n",
        b'"result"\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        line("phase", phase="holiday"),
        line("phase", phase=["train"]),
        line("step", step=-1),
        line("step", step=True),
        line("step", step="1"),
        line("step", step=1, loss="low"),
        line("step", step=10**400),
        line("step", step=2**63),
        *(line("step", step=1, **{key: 10**400}) for key in STEP_NUMBERS),
        line("weather", sun=[NESTED]),
        line("result", metrics=[1]),
        line("result"),
        line("summary", num_steps=1),
        line("error", outcome="ok", message=""),
        line("error", outcome=["nan"]),
        line("result", metrics={"score": 1}) * 2,
    ],
)
def test_a_bad_event_is_an_integrity_failure(bad):
    """Fixed code writes the events, so a bad one is forged or a bug."""
    result = heard(line("result", metrics={"score": 0.5}), bad)
    assert result.outcome is Outcome.INTEGRITY
    assert result.message.startswith("forged or broken event: ")
    assert result.metrics == {}


@pytest.mark.parametrize("key", SUMMARY_NUMBERS)
@pytest.mark.parametrize("value", ["lots", float("nan"), float("inf"), DIGITS, True])
def test_a_summary_holds_numbers_where_reports_calculate(key, value):
    """Anything else would stay in the ledger and break every later session."""
    result = heard(line("summary", **{key: value}), phase="train")
    assert result.outcome is Outcome.INTEGRITY
    assert f"a summary with {key} " in result.message


def test_a_summary_may_leave_a_number_open_and_add_words():
    """Null is allowed where a command cannot know, and so are keys of its own."""
    said = dict.fromkeys(SUMMARY_NUMBERS) | {"num_steps": 3, "host": "a"}
    result = heard(line("summary", **said), phase="train", evaluates=False)
    assert result.outcome is Outcome.ERROR  # only the result is missing
    assert result.summary["num_steps"] == 3
    assert result.summary["depth"] is None
    assert result.summary["host"] == "a"


def test_the_largest_metric_is_still_one():
    """The bound itself is allowed, on both sides of zero."""
    result = heard(line("result", metrics={"score": 1e100, "other": -1e100}))
    assert result.metrics == {"score": 1e100, "other": -1e100}


def test_an_event_of_an_unknown_name_is_ignored():
    """Commands may say more than the contract asks for."""
    result = heard(line("weather", sun=1), line("result", metrics={"score": 0.5}))
    assert result.metrics == {"score": 0.5}


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "1", None, True, 10**400, 1.1e100, -(10**101)]
)
def test_a_metric_that_is_no_finite_number_is_no_metric(value):
    """One bad metric spoils all."""
    result = heard(line("result", metrics={"score": value, "other": 1.0}))
    assert (result.outcome, result.metrics) == (Outcome.NAN, {})


@pytest.mark.parametrize(
    ("phase", "events"),
    [
        ("evaluate", b""),
        ("evaluate", line("result", metrics={})),
        ("describe", b""),
        ("train", line("summary", num_steps=1)),
    ],
)
def test_exit_0_without_what_is_due_is_an_error(phase, events):
    """A run without a metric has no metric: nothing stands in for it."""
    result = heard(events, phase=phase)
    assert result.outcome is Outcome.ERROR
    assert result.message.startswith("ended without a result")


def test_a_reported_failure_wins_over_the_exit_code():
    """The command knows better; a result before it does not help."""
    events = line("result", metrics={"score": 1}) + line(
        "error", outcome="diverged", message="loss\n\x1b[1m is 1e9"
    )
    for code in (0, 1, -9):
        result = heard(events, ending=Ending(exit_code=code))
        assert (result.outcome, result.message) == (Outcome.DIVERGED, "loss is 1e9")
        assert result.metrics == {}


def test_a_kill_below_a_sandbox_is_a_kill():
    """What stands before the command says it as a shell does; an own 1 is an error."""
    assert heard(ending=Ending(137)).outcome is Outcome.KILLED
    assert heard(ending=Ending(1)).outcome is Outcome.ERROR


def test_a_kill_for_want_of_memory_is_told_as_a_guess():
    """Only when the run had taken much of the machine."""
    small = heard(ending=Ending(-9, peak_mb=100, memory_mb=8000))
    large = heard(ending=Ending(-9, peak_mb=7000, memory_mb=8000))
    assert small.outcome is large.outcome is Outcome.KILLED
    assert "memory" not in small.message
    assert "used 7000 of 8000 MB" in large.message


def test_processes_that_do_not_die_are_named():
    """A process stuck in a driver call may hold its device for ever."""
    result = heard(ending=Ending(exit_code=-15, left=(77,)))
    assert result.message == "ended by SIGTERM (processes that do not die: (77,))"


@given(st.lists(st.binary(max_size=80)), st.sampled_from(["train", "evaluate", "pace"]))
def test_bytes_never_make_a_metric(chunks, phase):
    """Whatever arrives on the event pipe, there is a result, and it is not ok."""
    result = heard(*chunks, phase=phase)
    assert result.metrics == {}
    assert not result.ok or phase == "pace"


@given(st.lists(st.integers(1, 400), max_size=8))
def test_events_may_arrive_in_pieces(cuts):
    """Pipes have no respect for lines."""
    said = (
        line("phase", phase="start")
        + line("step", step=1, loss=2.5, tokens=64, elapsed=0.1)
        + line("step", step=2, loss=float("nan"))
        + line("phase", phase="evaluate")
        + line("result", metrics={"score": 1.5})
    )
    places = sorted({0, len(said), *(min(cut, len(said)) for cut in cuts)})
    pieces = [said[a:b] for a, b in pairwise(places)]
    result = heard(*pieces)
    assert result.metrics == {"score": 1.5}
    assert result.curve == ((1, 2.5),)


def test_each_phase_has_its_own_deadline():
    """The clock starts with the phase; naming it again does not start it anew."""
    spec = spec_for(Path("/tmp"), limits={"start": 5, "train": 10})
    transcript = Transcript(spec, now=100.0)
    assert transcript.overdue(105.0) is None
    assert transcript.overdue(105.1).outcome is Outcome.TIMEOUT_START
    list(transcript.hear_events(line("phase", phase="train"), 103.0))
    list(transcript.hear_events(line("phase", phase="train"), 112.0))
    assert transcript.overdue(112.9) is None
    assert transcript.overdue(113.1).outcome is Outcome.TIMEOUT_TRAIN
    transcript.pause(5.0)
    assert transcript.overdue(113.1) is None
    list(transcript.hear_events(line("phase", phase="save"), 120.0))
    assert transcript.overdue(720.0) is None
    assert transcript.overdue(720.1).outcome is Outcome.TIMEOUT_SAVE
    result = transcript.result(Ending(exit_code=0), None, 121.0)
    assert result.seconds == {"start": 3.0, "train": 12.0, "save": 1.0}


def test_a_long_curve_is_thinned():
    """Every second point goes when there are too many; order and span stay."""
    said = b"".join(line("step", step=i, loss=1.0) for i in range(1, 3 * MAX_CURVE))
    steps = [step for step, _ in heard(said).curve]
    assert MAX_CURVE // 4 < len(steps) <= MAX_CURVE
    assert steps == sorted(set(steps))
    assert steps[-1] > 3 * MAX_CURVE - 10


# ----------------------------------------------------------------------------- log text


@given(st.binary(max_size=3000) | st.text(max_size=3000).map(lambda s: s.encode()))
def test_a_log_is_printable_and_short(data):
    """Whatever a process prints, its tail can be shown anywhere."""
    text = clean_log(data)
    assert all(part.isprintable() for part in text.split("\n"))
    assert all(len(part) <= LOG_WIDTH for part in text.split("\n"))
    assert len(text) <= LOG_SIZE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x1b[1;31mred\x1b[0m\n", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"10 %\r50 %\r100 %\r\n", "100 %"),
        (b"a\tb\x00\x08c", "a    bc"),
        (b"one\n\ntwo\n\n\n", "one\n\ntwo"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x\N{ZERO WIDTH SPACE}".encode(), "\ufffdx\ufffd"),
        (b"caf\xc3\xa9 \xff", "café \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_terminals_obey_is_taken_out(data, expected):
    """Colours, titles, carriage returns; invisible characters are shown."""
    assert clean_log(data) == expected


# ------------------------------------------------------------------- scratch, processes


def test_scratch_is_private_and_removed(tmp_path):
    """Also when the run has left directories without rights, or links out of it."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    with scratch_dir(tmp_path) as scratch:
        assert list(scratch.iterdir()) == []
        assert scratch.stat().st_mode & 0o077 == 0
        (scratch / "locked" / "deep").mkdir(parents=True)
        (scratch / "link").symlink_to(outside)
        (scratch / "locked").chmod(0)
    assert not scratch.exists()
    assert outside.stat().st_mode & 0o777 == 0o755


def test_rights_are_not_taken_back_through_links(tmp_path):
    """Removing a scratch must not change the mode of what a link in it points to."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    locked = tmp_path / "scratch" / "locked"
    locked.mkdir(parents=True)
    (tmp_path / "scratch" / "link").symlink_to(outside)
    locked.chmod(0)
    take_back(tmp_path / "scratch")
    assert locked.stat().st_mode & 0o777 == 0o700
    assert outside.stat().st_mode & 0o777 == 0o755


def test_scratch_of_dead_sessions_is_removed(tmp_path):
    """What a killed session left goes; what belongs to the living, or is none of ours,
    stays. Older releases named the owner by its pid alone."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    mine = this_process().replace(":", ".")
    recycled = mine.replace(".", ".9", 1)  # our pid, another start
    living = {f"{mine}-a", f"{mine}-a.harness", f"{os.getpid()}-old", "notes", "1x-b"}
    gone = {f"{dead.pid}-old", f"{dead.pid}.77.aa-b.harness", f"{recycled}-c"}
    for name in living | gone:
        (tmp_path / "scratch" / name).mkdir(parents=True)
    with scratch_dir(tmp_path) as scratch:
        assert scratch.name.startswith(f"{mine}-")
    assert {path.name for path in (tmp_path / "scratch").iterdir()} == living


def test_a_scratch_that_cannot_be_made_names_path_and_reason(tmp_path):
    """One sentence of the machinery's, whatever stands in the way."""
    (tmp_path / "scratch").write_text("in the way")
    with pytest.raises(InfrastructureError) as caught, scratch_dir(tmp_path):
        pass
    assert str(caught.value).startswith(f"cannot write {tmp_path}/scratch: File exists")


@LINUX
def test_a_disk_that_fills_up_during_a_trial_is_the_machinerys_failure(tmp_path):
    """Whoever wrote into the scratch; other errors of the caller pass as they are."""
    with pytest.raises(InfrastructureError) as caught, scratch_dir(tmp_path) as scratch:
        Path("/dev/full").write_bytes(b"x")
    assert f"cannot write {scratch}: No space left on device" in str(caught.value)
    assert not scratch.exists()
    with pytest.raises(FileNotFoundError), scratch_dir(tmp_path) as scratch:
        (scratch / "gone").read_bytes()


def test_a_spec_that_cannot_be_written_names_path_and_reason(tmp_path):
    """A write that the kernel refuses, as on a full disk, starts no command."""
    spec = spec_for(tmp_path / "s")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(InfrastructureError) as caught:
            LocalExecutor(COMMAND, tmp_path).run(spec, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    path = tmp_path / "s.harness" / "train.json"
    assert str(caught.value).startswith(f"cannot write {path}: File too large.")


def test_a_private_directory_that_cannot_be_made_names_path_and_reason(tmp_path):
    """A file where it should be."""
    spec = spec_for(tmp_path / "s")
    (tmp_path / "s.harness").write_text("in the way")
    with pytest.raises(InfrastructureError, match=r"s\.harness: File exists"):
        LocalExecutor(COMMAND, tmp_path).run(spec, CPU)


BUSY = "sum(range(3_000_000)); print(flush=True); input()"


@LINUX
def test_cpu_time_of_a_tree_counts_the_living_and_the_dead():
    """Grandchildren too, and what has been waited for; not the asking process."""
    code = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {BUSY.split(';')[0]!r}])\n"
        f"subprocess.run([sys.executable, '-c', {BUSY!r}])\n"
    )
    before = processes.tree_cpu_seconds(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert process.pid in processes.descendants(os.getpid())
        assert len(processes.descendants(process.pid)) == 1
        both = processes.tree_cpu_seconds(os.getpid()) - before
        one = processes.tree_cpu_seconds(process.pid)
        process.stdin.write(b"\n")
    assert 0.02 < one <= both < 20
    assert processes.tree_cpu_seconds(2**22 + 1) is None


# -------------------------------------------------------------- what describe may say

DESCRIPTION = {
    "schema": 1,
    "metric": "score",
    "direction": "min",
    "budget": {"unit": "steps", "amount": 10},
}
NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "key", "seen"),
    [
        ({"schema": 99}, "schema", "is 99"),
        ({"metric": None}, "metric", "is null"),
        ({"metric": "\n"}, "metric", r'is "\n"'),
        ({"direction": ["min"]}, "direction", 'is ["min"]'),
        ({"budget": None}, "budget.unit", "is missing"),
        ({"budget": [1]}, "budget", "is [1]"),
        ({"budget": {"unit": "parsecs", "amount": 1}}, "budget.unit", 'is "parsecs"'),
        ({"budget": {"unit": "steps"}}, "budget.amount", "is missing"),
        *(
            ({"budget": {"unit": "steps", "amount": value}}, "budget.amount", seen)
            for value, seen in [
                ("x", 'is "x"'), (None, "is null"), (0, "is 0"), (NAN, "is NaN"),
                (-1, "is -1"), (True, "is true"), (10**400, "is 1000"),
            ]
        ),
        ({"noise": [1]}, "noise", "is [1]"),
        ({"noise": {"unpaired": "x"}}, "noise.unpaired", 'is "x"'),
        ({"noise": {"paired": -0.1}}, "noise.paired", "is -0.1"),
        ({"noise": {"df": -3}}, "noise.df", "is -3"),
        ({"noise": {"df": 0}}, "noise.df", "is 0"),
        ({"noise": {"df": 10**400}}, "noise.df", "is 1000"),
        ({"limits": 5}, "limits", "is 5"),
        *(
            ({"limits": {"train": value}}, "limits.train", seen)
            for value, seen in [
                (None, "is null"), ("x", 'is "x"'), (0, "is 0"), (-1, "is -1"),
                (NAN, "is NaN"), (float("inf"), "is Infinity"),
            ]
        ),
        ({"fingerprint": "x"}, "fingerprint", 'is "x"'),
        ({"lines": "x"}, "lines", 'is "x"'),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_used_names_key_and_value(change, key, seen):
    """One line, with what it must be instead."""
    with pytest.raises(InfrastructureError) as caught:
        Profile.from_data("tiny", DESCRIPTION | change)
    words = f"`describe` result cannot be used: `{key}` {seen}"
    assert words in str(caught.value)
    assert "; it must be " in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_description_may_leave_out_what_it_does_not_know():
    """The smallest one, nulls for objects, and noise that is zero."""
    least = Profile.from_data("tiny", DESCRIPTION)
    assert (least.name, least.noise_unpaired, least.noise_df) == ("tiny", None, 1.0)
    nulls = dict.fromkeys(("noise", "limits", "fingerprint", "lines"))
    assert Profile.from_data("tiny", DESCRIPTION | nulls) == least
    quiet = {"noise": {"unpaired": 0, "paired": None}, "lines": ["\x1b[1mx\ud800"]}
    profile = Profile.from_data("tiny", DESCRIPTION | quiet)
    assert (profile.noise_unpaired, profile.noise_paired) == (0, None)
    assert profile.lines == ("[1mx",)


@pytest.fixture(scope="module")
def abused(new_project):
    """A project whose training command and disk misbehave."""
    made = new_project("abused", "--noise 0.0005")
    made.commit()
    return made


def clear(ran):
    """A session's text, which must show no Python of ours."""
    text = "\n".join([*ran.outlines, *ran.errlines])
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    return text


def test_a_session_ends_with_one_line_about_its_description(abused):
    """Exit 1, the key and the value; no traceback."""
    words = f'{{python}} {TOY} --describe \'{{"limits": {{"train": null}}}}\''
    ran = abused.research("-pno:xdist", f"--autoresearch-command={words}")
    assert ran.ret == 1
    assert "`limits.train` is null; it must be a number from" in clear(ran)


def test_a_session_ends_with_one_line_about_its_scratch(abused):
    """What stands in the way of the scratch directory is named."""
    path = abused.path / ".autoresearch" / "scratch"
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rmdir()
    path.write_text("in the way")
    ran = abused.research("-pno:xdist")
    path.unlink()
    assert ran.ret == 1
    assert f"cannot write {path}: File exists" in clear(ran)


def test_wild_numbers_spoil_their_own_run_and_no_later_session(abused):
    """A metric of 1e200, a text as peak memory, a step of 400 digits: none stays."""
    for name in ("huge", "summary-words", "step-digits"):
        abused.candidate(name.replace("-", "_"), f"set('MISBEHAVE', {name!r})")
    first = abused.research("-pno:xdist")
    assert "is 1e+200" in clear(first)
    assert {row["state"] for row in abused.ledger().candidates()} <= {
        "crash",
        "discard",
    }
    second = abused.research("-pno:xdist")
    assert "autoresearch/main" in clear(second)
