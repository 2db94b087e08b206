"""Trials as real processes: how each one can end, and that nothing outlives it."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch_plugin.devices import Device, lease
from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.executors import child
from autoresearch_plugin.executors.local import LocalExecutor, scratch_dir, take_back
from autoresearch_plugin.executors.transcript import PHASES
from autoresearch_plugin.executors.words import LOG_SIZE
from autoresearch_plugin.ledger import this_process
from autoresearch_plugin.sandbox import processes
from autoresearch_plugin.sandbox.environment import environment
from autoresearch_plugin.trial import Budget, Outcome
from tests.plugin.toy_trials import (
    COMMAND,
    CPU,
    LINUX,
    MODEL,
    alive,
    quality,
    spec_for,
    wait_until,
    with_knobs,
)


@pytest.fixture
def run(tmp_path):
    """Run a whole trial of a toy target with the given misbehaviour."""

    def run(misbehave="", *, source=None, command=COMMAND, limits=None, **options):
        source = source or with_knobs(MISBEHAVE=misbehave)
        spec = spec_for(tmp_path / "scratch", source)
        spec = replace(spec, limits={**spec.limits, **(limits or {})})
        return LocalExecutor(command, tmp_path).trial(spec, CPU, **options)

    return run


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
        "''",
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
