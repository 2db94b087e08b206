"""A pytest run that does not use the plugin pays next to nothing for it."""

from __future__ import annotations

import pytest

CONFTEST = """
import sys


def pytest_unconfigure(config):
    found = sorted({name.partition(".")[0] for name in sys.modules})
    ours = (name for name in sys.modules if name.startswith("autoresearch_plugin"))
    print()
    print("packages:", *found)
    print("ours:", *sorted(ours))
"""
HEAVY = {"torch", "numpy", "anthropic", "git", "optuna", "pynvml", "tiktoken"}
LIGHT = {
    "autoresearch_plugin",
    "autoresearch_plugin.errors",
    "autoresearch_plugin.hookspecs",
    "autoresearch_plugin.plugin",
    "autoresearch_plugin.settings",
}


def modules(result) -> tuple[set[str], set[str]]:
    """Packages loaded at the end of a run, and modules of ours."""
    found = {}
    for line in result.outlines:
        name, colon, rest = line.partition(": ")
        if colon and name in ("packages", "ours"):
            found[name] = set(rest.split())
    return found["packages"], found["ours"]


@pytest.fixture
def ordinary(project):
    """A project with an ordinary test, and a conftest that tells what is loaded."""
    (project.path / "conftest.py").write_text(CONFTEST)
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_ordinary.py").write_text("def test_it(): pass\n")
    return project


@pytest.mark.parametrize("words", [(), ("-p", "no:xdist"), ("-n0",)])
def test_without_the_flag_nothing_heavy_is_imported(ordinary, words):
    """Neither a library nor a module of ours beyond options and settings."""
    result = ordinary.run(*words)

    assert result.ret == 0
    packages, ours = modules(result)
    assert not packages & HEAVY
    assert ours == LIGHT
    assert not (ordinary.path / ".autoresearch").exists()


def test_collecting_candidates_loads_no_more(ordinary):
    """`pytest --collect-only experiments` of a project with candidates."""
    ordinary.candidate("lr", 'set("LR", 0.02)')

    result = ordinary.run("--collect-only", "-q", "experiments")

    assert result.ret == 0
    packages, ours = modules(result)
    assert not packages & HEAVY
    assert ours == LIGHT


def test_help_lists_the_options_and_loads_no_more(ordinary):
    """Every option with its ini twin, whatever else is broken."""
    ordinary.configure(hours="not a number")

    result = ordinary.run("--help")

    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "training ideas as tests:",
            "*--autoresearch *",
            "*--autoresearch-target=PATH*",
            "*autoresearch_target (string):*",
        ]
    )
    assert modules(result)[1] == LIGHT


def test_a_candidate_trains_without_torch_in_the_pytest_process(ordinary):
    """What trains is another process; git is asked, no LLM or search is loaded."""
    ordinary.configure("--noise 0.0005 --no-evaluate")
    ordinary.candidate("harm", 'set("LR", 0.9)', strict=False)
    ordinary.commit()

    result = ordinary.run("experiments")

    assert result.ret == 0, str(result.stdout)
    packages, _ = modules(result)
    assert not packages & (HEAVY - {"git", "pynvml"})


@pytest.mark.parametrize("words", [("-p", "no:xdist"), ("-n0",)])
def test_a_session_needs_no_xdist(ordinary, words):
    """Without its hooks the one process is the lane."""
    ordinary.configure("--noise 0.0005 --no-evaluate")
    ordinary.candidate("harm", 'set("LR", 0.9)', strict=False)
    ordinary.commit()

    result = ordinary.research(*words)

    assert result.ret == 0, str(result.stdout)
    result.stdout.fnmatch_lines(["*1 xfailed*"])
    loaded = "autoresearch_plugin.lanes_xdist" in modules(result)[1]
    assert loaded == ("no:xdist" not in words)


def test_the_plugin_can_be_switched_off(ordinary):
    """`-p no:` takes everything away, fixtures and options too."""
    result = ordinary.run("-p", "no:autoresearch_plugin.plugin", "--fixtures", "-q")

    assert result.ret == 0
    assert "gpu_budget" not in str(result.stdout)
