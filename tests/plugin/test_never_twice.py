"""Whole sessions: a proposer that repeats itself, a retest on purpose, a repair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin.cli import main

STUB = '''"""Says the same ten times; the third time it could know the result."""
import json, sqlite3, sys, time
request = json.load(sys.stdin)
with open("told.jsonl", "a+") as file:
    file.write(json.dumps(request) + "\\n")
    file.seek(0)
    asked = len(file.readlines())
ledger = sqlite3.connect(".autoresearch/ledger.db")
while asked == 2 and ledger.execute("SELECT * FROM verdicts").fetchone() is None:
    time.sleep(0.02)
if asked <= 10:
    edits = [{"op": "set", "knob": "LR", "value": 0.9}]
    category = "learning-rate"
    print(json.dumps({"title": "burn", "category": category, "edits": edits}))
'''
MENDER = '''"""Crashes first; mends when it is asked to, else it takes small steps."""
import json, sys
request = json.load(sys.stdin)
with open("told.jsonl", "a") as file:
    file.write(json.dumps(request["mend"]) + "\\n")
number, mend = request["number"], request["mend"]
old, more = "model = build_model(run.config)", {}
edits = [{"op": "set", "knob": "LR", "value": 0.5 + number / 100}]
if not number:
    edits = [{"op": "replace", "old": old, "new": old.replace("run.", "rnu.")}]
if mend:
    edits = [{"op": "replace", "old": old, "new": old + "; model['LR'] = 0.02"}]
    more = {"repairs": mend["candidate"]}
print(json.dumps({"title": "mended" if mend else "step", "edits": edits, **more}))
'''
PROMPT = "from autoresearch_plugin.cli import main; raise SystemExit(main(['prompt']))"


def session(project: Any, program: str, *words: str) -> Any:
    """A session with a program as proposer; what it was told, request by request."""
    (project.path / "stub.py").write_text(program)
    project.commit()
    proposer = f"--autoresearch-proposer=command:{sys.executable} stub.py"
    ran = project.research("-pno:xdist", proposer, *words)
    assert ran.ret == 0, ran.stdout.str() + ran.stderr.str()
    told = (project.path / "told.jsonl").read_text().splitlines()
    ran.told = [json.loads(line) for line in told]
    return ran


@pytest.fixture(scope="module")
def repeated(new_project: Any) -> Any:
    """A session whose proposer has one idea, ten times."""
    project = new_project("repeated")
    project.ran = session(project, STUB)
    return project


def test_the_same_idea_ten_times_is_one_training_run(repeated: Any) -> None:
    """Nine answers are refused, and cost nothing."""
    runs = repeated.ledger().session_trials(1)
    assert len([row for row in runs if row["candidate"]]) == 1
    assert repeated.states() == {"burn": "discard"}
    assert len(repeated.ledger().told(1, "refused")) == 9


def test_the_earlier_result_is_quoted_in_the_next_request(repeated: Any) -> None:
    """Each further request says what is known already; from three on, what to do."""
    told = repeated.ran.told[1:]
    assert [len(request["refused"]) for request in told] == list(range(10))
    last = told[-1]["refused"][-1]
    assert last.startswith("already tried as #1: discard, score +0.")
    assert "Propose something else." in last
    wanted = [request["wanted"] for request in told]
    assert wanted[:4] == ["", "", "", "architecture"]
    assert len(set(wanted[3:])) == 7


def test_a_fresh_process_writes_the_same_prompt(repeated: Any) -> None:
    """Byte for byte, whatever the hash seed, from what is on disk alone."""
    texts = {
        subprocess.run(
            [sys.executable, "-c", PROMPT],
            cwd=repeated.path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert b"already tried as #1" in texts.pop()


def test_an_idea_may_be_tried_again_on_purpose(new_project: Any) -> None:
    """On another baseline, if the proposal says which one it repeats, and only once."""
    project = new_project("retest")
    project.commit()
    burn = {"edits": [{"op": "set", "knob": "WIDTH", "value": 1}]}
    project.research(project.script(burn=burn), "-pno:xdist")
    keep = project.candidate("cool", 'set("LR", 0.02)')
    project.commit()
    project.research("-pno:xdist")
    keep.unlink()
    project.commit()
    again = {"retest": 1, **burn}
    script = project.script(unsaid=burn, again=again, third=again)
    ran = project.research(script, "-pno:xdist")

    assert ran.ret == 0, ran.stdout.str()
    assert list(project.states()) == ["burn", "cool", "again"]
    row = project.ledger().candidates()[-1]
    assert (row["retests"], row["state"]) == (1, "discard")
    assert len(project.ledger().candidate_trials(row["id"])) == 1
    unsaid, third = project.ledger().told(3, "refused")
    assert "That was on an earlier baseline. Propose something else" in unsaid
    assert '"retest": 1.' in unsaid
    assert f"already tried as #{row['id']}" in third


def test_a_crash_is_mended_once(
    new_project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One request shows the traceback; the repair says which crash it mends."""
    project = new_project("mended")
    ran = session(project, MENDER, "--autoresearch-experiments=6")

    (mend,) = filter(None, ran.told)
    assert mend["candidate"] == 1
    assert "AttributeError" in mend["printed"][-1] or "NameError" in mend["printed"][-1]
    assert any("Traceback" in line for line in mend["printed"])
    assert str(Path.home()) not in json.dumps(mend)
    rows = project.ledger().candidates()
    assert [row["state"] for row in rows if row["repairs"] == 1] == ["keep"]
    assert [row["repairs"] for row in rows].count(None) == len(rows) - 1
    assert "#001 crashed; asking once for a mended version" in ran.stdout.str()
    number = next(row["id"] for row in rows if row["repairs"])
    assert main(["--root", str(project.path), "show", str(number)]) == 0
    assert "  repairs    #001\n" in capsys.readouterr().out
