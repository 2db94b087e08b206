"""How busy lanes are while a model takes its time to propose.

    python tests/busy_lanes.py [--lanes 1 8] [--threads 64] [--scale 30] [--rounds 6]

An answer of the model takes 60 s for each proposal in it, a run of a candidate 300 s,
both divided by --scale. The model is a server on this machine that speaks the Messages
API, the runs only sleep; all else is as in any session. Lanes under --threads are
threads of one process that do without pytest and without a training process: for more
lanes than a small machine can start. Counted from the end of the first run to the start
of the last candidate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

PLUGIN = Path(__file__).resolve().parent / "plugin"
sys.path.insert(0, str(PLUGIN))

THINKS, TRAINS = 60.0, 300.0  # seconds, not scaled


class Model:
    """Answers requests with clear losers, after `seconds` for each proposal."""

    def __init__(self, seconds):
        self.seconds, self.numbers = seconds, itertools.count(1)

    def __call__(self, body):
        from messages_server import proposal

        asked = re.findall(r"Propose (\d+) different", json.dumps(body["messages"]))
        count = int(asked[-1]) if asked else 1
        time.sleep(self.seconds * count)
        return proposal(*(self.idea(next(self.numbers)) for _ in range(count)))

    def idea(self, number):
        edits = [{"op": "set", "knob": "LR", "value": 0.9 + number / 1e5}]
        title = f"burn {number}"
        return {"title": title, "hypothesis": "h", "category": "other", "edits": edits}


def make_project(root: Path) -> None:
    import runpy

    target = runpy.run_path(str(PLUGIN / "toy_command.py"), run_name="toy")["TARGET"]
    sleeping = target.replace('"""The', '"""Sleeps. The').replace(
        "run.work(STEP_COST)", "__import__('time').sleep(0.1)"
    )
    (root / "train.py").write_text(sleeping)
    (root / "experiments").mkdir()
    (root / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:hypothesispytest -p no:anyio\n"
        "autoresearch_target = train.py\nautoresearch_command = "
        f"{{python}} {PLUGIN / 'toy_command.py'} --noise 0.0005 --no-evaluate\n"
    )
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"]):
        name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *name, *words], cwd=root, check=True)


def with_workers(root, environ, lanes, seconds, candidates):
    """The whole plugin: pytest, workers, training processes."""
    words = ["--autoresearch", f"-n{lanes}", f"--autoresearch-budget={seconds:g}s"]
    words += [f"--autoresearch-experiments={candidates}", "--autoresearch-devices=cpu"]
    command = [sys.executable, "-m", "pytest", *words]
    ran = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    print(next(x for x in ran.stdout.splitlines() if x.startswith("busy")))


def with_threads(root, environ, lanes, seconds, candidates):
    """Ledger, queue, proposer and judge as they are; lanes are threads that sleep."""
    from autoresearch_plugin.executors.local import LocalExecutor
    from autoresearch_plugin.proposing import ProposerThread
    from autoresearch_plugin.session import open_session
    from autoresearch_plugin.settings import resolve
    from autoresearch_plugin.trial import Outcome, TrialResult

    class Sleeps(LocalExecutor):
        def trial(self, spec, device, **more):
            time.sleep(seconds)
            value = 2.1 if "0.9" in Path(spec.source).read_text() else 2.0
            value += spec.seed % 7 / 1e4
            took = {"train": seconds}
            return TrialResult(Outcome.OK, "", {"score": value}, seconds=took)

    values = {
        "autoresearch_target": "train.py",
        "autoresearch_command": f"{{python}} {PLUGIN / 'toy_command.py'} --no-evaluate",
        "autoresearch_budget": f"{seconds:g}s",
        "autoresearch_experiments": str(candidates),
        "autoresearch_devices": "cpu",
    }
    settings = resolve(values.get, lambda name: None, environ)
    opened = open_session(root, settings, environ, "research")
    research = opened.research
    research.executor = Sleeps(settings.command, root)
    asking = ProposerThread(research, environ, lanes)
    research.ledger.set_proposing(research.session, "yes")
    asking.start()
    alone = threading.Lock()  # the ledger tells processes apart, not threads
    names = [f"lane{number}" for number in range(lanes)]
    threads = [
        threading.Thread(target=lane, args=(replace(research, lane=name), alone))
        for name in names
    ]
    for thread in [*threads, asking]:
        if thread is not asking:
            thread.start()
    for thread in [*threads, asking]:
        thread.join()
    opened.close("finished", "done")
    research.ledger.close()


def lane(research, alone):
    """What lanes.py does, without pytest."""
    from autoresearch_plugin.candidate import Edit
    from autoresearch_plugin.idea import Idea

    ledger, session = research.ledger, research.session
    device = replace(research.device, id=research.lane)
    research = replace(research, device=device)
    while True:
        state = ledger.session(session)["proposing"]
        if state != "no" and research.calibrate(late=state == "late"):
            continue
        unit = ledger.claim_unit(session, research.lane, device.id)
        if unit is None and state == "no":
            break
        if unit is None:
            research.idle("a proposal")
            continue
        research.end_wait()
        row = ledger.candidate(unit["candidate"])
        edits = tuple(Edit.from_data(edit) for edit in row["edits"])
        words = row["title"], row["hypothesis"], row["category"]
        research.decide(Idea("generated", *words, edits, number=row["id"]))
        ledger.finish_unit(unit["id"])
    research.end_wait()
    ledger.close()


def measure(lanes, scale, rounds, run):
    """One session; what its ledger says."""
    from messages_server import MessagesServer

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_project(root)
        with MessagesServer([Model(THINKS / scale)], repeat=True) as server:
            environ = {
                **os.environ,
                "ANTHROPIC_API_KEY": "nobody's",
                "ANTHROPIC_BASE_URL": server.url,
                "AUTORESEARCH_RUNTIME_DIR": scratch,
            }
            run(root, environ, lanes, TRAINS / scale, lanes * rounds)
            return read(root, lanes, len(server.requests))


def read(root, lanes, requests):
    """Shares of lane time between the first run's end and the last one's begin."""
    from autoresearch_plugin.session import open_ledger

    ledger = open_ledger(root)
    runs, waits = ledger.session_trials(1), ledger.waits(1)
    units = ledger._query("SELECT * FROM units ORDER BY id")
    since = min(row["finished"] for row in runs)
    until = max(unit["started"] for unit in units)  # the queue is dry from here on
    kinds = [("busy", runs), *((row["reason"], [row]) for row in waits)]
    spent: dict[str, float] = {}
    for kind, rows in kinds:
        inside = [(max(since, x["started"]), min(until, x["finished"])) for x in rows]
        seconds = sum(max(0.0, end - begin) for begin, end in inside)
        spent[kind] = spent.get(kind, 0.0) + seconds
    gone = lanes * (until - since)
    queue = [
        sum(x["created"] <= at < x["started"] for x in units)
        for at in (unit["created"] for unit in units)
    ]
    filled = sum(row["proposer"] == "tpe" for row in ledger.candidates(1))
    ledger.close()
    shares = {kind: f"{100 * x / gone:.1f} %" for kind, x in spent.items() if x}
    return (
        f"{shares}, {len(units)} candidates ({filled} of tpe), {requests} requests, "
        f"queue at most {max(queue)}, {until - since:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--threads", type=int, nargs="*", default=[64])
    parser.add_argument("--scale", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    ways = [(n, "workers", with_workers) for n in options.lanes]
    ways += [(n, "threads", with_threads) for n in options.threads]
    for lanes, name, run in ways:
        found = measure(lanes, options.scale, options.rounds, run)
        print(f"{lanes} lanes ({name}): {found}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
