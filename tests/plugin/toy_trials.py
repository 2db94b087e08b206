"""Trials of the toy command: their specs, their events, their processes."""

import hashlib
import json
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch_plugin.devices import Device
from autoresearch_plugin.executors.transcript import PHASES
from autoresearch_plugin.trial import Budget, TrialSpec

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


def line(event, **data):
    """An event as a command writes it."""
    return json.dumps({"event": event, **data}).encode() + b"\n"
