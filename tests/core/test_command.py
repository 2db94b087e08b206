"""The command as others start it: by spec, by hand, and what a trial loads. Golden files: tests/contract."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "tests" / "contract"


def golden(name):
    return json.loads((CONTRACT / name).read_text(encoding="utf-8"))


def kind(value):
    """What may not change about a value: its type, numbers being numbers, and the keys of an object."""
    if isinstance(value, dict):
        return {key: kind(inner) for key, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return type(value)
    return float


def without_repeats(events):
    """Shapes of the events in order, a run of steps counting as one."""
    found = []
    for event in events:
        shape = (event["event"], event.get("phase"), {k: kind(v) for k, v in event.items()})
        if not found or found[-1] != shape:
            found.append(shape)
    return found


def test_train_and_evaluate_keep_the_contract(make_spec, command):
    """The golden specs of train and evaluate, run for real, answer with the golden events' keys and types."""
    for phase in ("train", "evaluate"):
        spec = make_spec(phase)
        assert set(golden(f"spec-{phase}.json")) == set(spec)
        returncode, events, log = command(spec)

        assert returncode == 0, log
        assert without_repeats(events) == without_repeats(golden(f"events-{phase}.json"))
    assert 3 < events[-1]["metrics"]["val_bpb"] < 10


def test_describe_keeps_the_contract(make_spec, in_process):
    """The result of describe has every key of the contract, and no metric."""
    events = in_process(make_spec("describe"))
    expected = golden("events-describe.json")

    assert without_repeats(events) == without_repeats(expected[1:])
    assert events[-1]["metrics"] == {}
    assert all(isinstance(mark, str) for mark in events[-1]["fingerprint"].values())


def test_the_fingerprint_ignores_the_target(make_spec, in_process):
    """Two targets are comparable, two profiles are not."""

    def fingerprint(**changes):
        return in_process(make_spec("describe", **changes))[-1]["fingerprint"]

    assert fingerprint() == fingerprint(code="another = 'target'\n")
    assert fingerprint() != fingerprint(profile="cpu")
    assert "threads" in fingerprint(budget={"unit": "seconds", "amount": 3})


def test_pace_steps_when_told(make_spec, command):
    """One step and one answer for each `go`; when the harness hangs up, the run ends well and saves nothing."""
    control, ours = os.pipe()
    os.write(ours, b"go\n" * 4)
    os.close(ours)
    spec = make_spec("pace", budget={"unit": "steps", "amount": 2})
    returncode, events, log = command(spec, control=control)
    os.close(control)

    assert returncode == 0, log
    assert without_repeats(events) == without_repeats(golden("events-pace.json"))
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    assert not Path(spec["checkpoint"]).exists()


def test_a_failed_run_says_so(make_spec, tmp_path, capfd):
    """One error event, exit code 1, and a traceback in the log."""
    from nanochat_core.__main__ import main

    events_out, events_in = os.pipe()
    code = "def build_model(config): pass\n\ndef train(run):\n    1 / 0\n"
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(make_spec("train", code=code, events_fd=events_in)), encoding="utf-8")
    returncode = main(["--spec", str(path)])
    os.close(events_in)
    with open(events_out, encoding="utf-8") as stream:
        events = [json.loads(line) for line in stream]

    assert returncode == 1
    assert without_repeats(events) == without_repeats(golden("events-failed.json"))
    assert events[-1]["outcome"] == "assert"
    assert events[-1]["message"] == "ZeroDivisionError: division by zero (train.py:4, train)"
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "speaks schema 1"),
        ({"phase": "guess"}, "there are describe, train, pace, evaluate"),
        ({"seed": None}, "lacks seed"),
        ({"checkpoint": None}, "lacks checkpoint"),
        ({"profile": "huge"}, "choose one of auto, tiny, cpu"),
        ({"budget": {"unit": "weeks", "amount": 1}}, "neither a number of steps nor of seconds"),
        ({"data_dir": "/nowhere"}, "run the describe phase first"),
    ],
)
def test_a_spec_that_cannot_be_done(make_spec, tmp_path, capsys, changes, message):
    """The log names what is wrong with it."""
    from nanochat_core.__main__ import main

    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**make_spec("train"), **changes}), encoding="utf-8")

    assert main(["--spec", str(path)]) == 1
    assert message in capsys.readouterr().err


def test_the_data_server_never_loads_torch(make_spec, tmp_path):
    """The process that owns the text and the clock imports numpy alone, and not the candidate."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec("train")), encoding="utf-8")
    script = """
import json, sys
import numpy.random
before = {name.split(".")[0] for name in sys.modules}
from nanochat_core.__main__ import main
code = main(["--spec", sys.argv[1]])
after = {name.split(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)
print(json.dumps([code, sorted(after)]))
"""
    out = subprocess.run([sys.executable, "-c", script, str(spec)], cwd=ROOT, capture_output=True, text=True)

    assert json.loads(out.stdout.splitlines()[-1]) == [0, ["nanochat_core"]], out.stderr


def test_a_trainer_loads_nothing_beyond_its_libraries(make_spec, command, target):
    """Training imports torch, numpy, safetensors and the standard library: no hub, no pytest, no compiler, no
    tokenizer."""
    told = """
    import sys
    names = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    print("LOADED", sorted(name for name in names if name[0] != "_"), "torch._dynamo" in sys.modules)
    run.save(model)
"""
    _, _, log = command(make_spec("train", code=target(("\n    run.save(model)\n", told))))
    (line,) = [line for line in log.splitlines() if line.startswith("LOADED")]

    found, compiler = line.removeprefix("LOADED ").rsplit(" ", 1)
    assert compiler == "False"
    assert not {"tiktoken", "pytest", "huggingface_hub", "pyarrow", "sympy"} & set(json.loads(found.replace("'", '"')))


def test_evaluate_never_loads_torch(make_spec, command, tmp_path):
    """The process that knows the score imports numpy alone; the candidate's code runs in its child."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec("evaluate", checkpoint="/nowhere")), encoding="utf-8")
    script = """
import sys
from nanochat_core.__main__ import main
import nanochat_core.evaluate
main(["--spec", sys.argv[1]])
print({"torch", "nanochat_target"} & set(sys.modules))
"""
    out = subprocess.run([sys.executable, "-c", script, str(spec)], cwd=ROOT, capture_output=True, text=True)

    assert "There is no checkpoint at /nowhere to score" in out.stderr
    assert out.stdout.splitlines()[-1] == "set()"


def test_by_hand(by_hand, tmp_path, data_dir):
    """A run by hand prints autoresearch's summary, and keeps its data out of git."""
    links = tmp_path / ".autoresearch" / "data"
    links.parent.mkdir()
    links.symlink_to(data_dir)
    returncode, out, err = by_hand("--profile", "tiny", "--seconds", "0.5", cwd=tmp_path)

    assert returncode == 0, err
    assert (tmp_path / ".autoresearch" / ".gitignore").read_text() == "*\n"
    summary = dict(line.split(":") for line in out.split("---\n")[1].splitlines())
    assert list(summary) == [
        "val_bpb", "training_seconds", "total_seconds", "peak_vram_mb", "mfu_percent", "total_tokens_M", "num_steps",
        "num_params_M", "depth",
    ]  # fmt: skip
    assert 2 < float(summary["val_bpb"]) < 8
    assert int(summary["num_steps"]) >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nowhere.py"], "error: --source nowhere.py: there is no such file."),
        (["--profile", "tiny", "--dataset", "folder:/nowhere"], "there is no such folder"),
        (["--profile", "tiny", "--seed", "-1"], "a seed is at least 0"),
    ],
)
def test_errors_by_hand_are_one_line(options, message, tmp_path, monkeypatch, capsys):
    """No traceback: what is wrong, and the way out."""
    from nanochat_core.__main__ import main

    monkeypatch.chdir(tmp_path)

    assert main(options) == 1
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err


def test_a_gpu_profile_without_a_gpu(tmp_path, monkeypatch, capsys):
    """Asking for a GPU where torch sees none names the profile that needs none."""
    import torch

    from nanochat_core.__main__ import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)

    assert main(["--profile", "gpu8"]) == 1
    assert "use --profile cpu" in capsys.readouterr().err


def test_auto_is_measured_once(make_spec, in_process, monkeypatch, tmp_path):
    """Describe writes down what `auto` means here; trials read it, without asking torch again."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    in_process(make_spec("describe", profile="auto", device="cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: 1 / 0)
    events = in_process(make_spec("train", profile="auto", device="cpu", budget={"unit": "steps", "amount": 1}))

    assert events[-1]["tokens_per_step"] == 1024


def test_interrupted_by_hand(by_hand, tmp_path, data_dir):
    """Ctrl-C ends a run with exit code 130 and no traceback."""
    returncode, _, err = by_hand(
        "--profile", "cpu", "--data-dir", str(data_dir), cwd=tmp_path, interrupt_at="step 00001"
    )

    assert returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
