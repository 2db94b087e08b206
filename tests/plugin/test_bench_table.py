"""What the simulator tells: figures, tables, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from autoresearch_plugin.bench import power, table
from autoresearch_plugin.cli import main
from autoresearch_plugin.errors import SettingsError

# ------------------------------------------------------------------------- the figures


def test_greedy_keeps_noise_and_the_judge_does_not():
    """The published figures, roughly, on few sessions (docs/benchmarks/judge.md)."""
    place = table.Place()
    tallies = {
        rule: table.simulate(place, rule, range(40)) for rule in ("default", "greedy")
    }
    rates = {rule: t.false_keeps / t.keeps for rule, t in tallies.items()}
    assert 0.19 < rates["greedy"] < 0.29
    assert rates["default"] < 0.08
    assert tallies["default"].gain_per_hour > 0.6 * tallies["greedy"].gain_per_hour


def test_power_grows_with_the_gain():
    """From little at one sigma to nearly all at four."""
    small, large = power.power(1.0, tries=300), power.power(4.0, tries=300)
    assert small.proven < 0.6 < 0.95 < large.proven
    assert large.runs < 3.5


# ------------------------------------------------------------------------- the command


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    code = "import sys; from autoresearch_plugin.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True
    )


def test_the_table_can_be_read_by_programs():
    """`--json` prints a list of objects with every column."""
    few = ("--sessions", "4", "--gpu-hours", "3", "--json")
    done = bench("bench", "judge", "--rule", "default", "--rule", "greedy", *few)
    cells = json.loads(done.stdout)
    assert [cell["rule"] for cell in cells] == ["default", "greedy"]
    assert set(cells[0]) == {
        *("world", "gpus", "gpu_hours", "rule", "sessions", "gain_vs_greedy"),
        *("gain_vs_greedy_early_stop", "false_keep_rate", "miss_rate"),
        *("decisions_per_gpu_hour", "reported_minus_true"),
    }
    assert cells[1]["gain_vs_greedy"] == 1.0


def test_the_table_can_be_read_by_people():
    """A heading, and a line for each world and rule."""
    few = ("--sessions", "2", "--gpu-hours", "2", "--rule", "default")
    done = bench("bench", "judge", "--world", "no-ops only", *few)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("no-ops only")
    assert " default " in last


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "judge", "--world", "mars"), "no world 'mars'"),
        (("bench", "judge", "--rule", "luck"), "no rule 'luck'"),
        (("bench", "judge", "--sessions", "0"), "must be above 0"),
        (("power", "-0.1", "--sigma", "1"), "a gain above 0 is needed"),
        (("power", "nan", "--sigma", "1"), "a gain above 0 is needed"),
        (("power", "0.1", "--sigma", "0"), "must be above 0"),
    ],
)
def test_what_cannot_be_measured_is_said(words, message, capsys):
    """One line and no table."""
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_power_is_told_in_words(capsys):
    """With a noise of the user's own."""
    assert main(["power", "0.0005", "--sigma", "0.00034"]) == 0
    words = capsys.readouterr().out
    assert "0.0005 is 1.5 of it" in words
    assert "device-hours a try" in words


def test_power_without_a_ledger_says_what_is_missing(tmp_path, capsys):
    """There is no noise to go by."""
    assert main(["--root", str(tmp_path), "power", "0.1"]) == 1
    assert "there is no ledger" in capsys.readouterr().err


def test_an_unknown_rule_is_a_settings_error():
    """Also for those who call it from Python."""
    with pytest.raises(SettingsError, match="no rule"):
        list(table.measure([table.Place()], ["x"], 1))


def test_the_table_can_be_interrupted():
    """Ctrl-C ends it at once, without a traceback of any worker."""
    code = "import sys; from autoresearch_plugin.cli import main; sys.exit(main())"
    few = ("--sessions", "10", "--rule", "default")
    words = ("bench", "judge", "--world", "all", *few)
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "reference" not in process.stdout.readline():
        pass  # the workers are at work
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, "")
