"""Rows 54 to 57: generated tests. Words of a model never become code, and nothing that
lies beside them, or in their place, runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoresearch_plugin import generated, lanes
from autoresearch_plugin.candidate import (
    CATEGORIES,
    Proposal,
    file_name,
    render_test,
)
from autoresearch_plugin.errors import InfrastructureError, PatchError, SettingsError
from autoresearch_plugin.idea import Head
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.settings import GENERATED

ROOT = Path(__file__).parents[2]
CONFTEST = ROOT / "tests" / "plugin" / "conftest.py"
spec = importlib.util.spec_from_file_location("plugin_conftest", CONFTEST)
assert spec is not None
assert spec.loader is not None
plugin_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin_conftest)
project, _own_locks = plugin_conftest.project, plugin_conftest._own_locks

# ------------------------------------------------------------------ words are no code

NASTY = [
    '"""',
    "'''",
    '"""\nimport os; os.system("x")\n"""',
    "\\",
    '\\"""',
    "\x00",
    "\ud800",
    "\u202e",
    "{0.__class__}",
    "{docstring}",
    "%s",
    "# -*- coding: utf-7 -*-",
    "\n# coding: utf-7\n",
    "+AHM-",
    "\r",
    "\x0c",
    "\x85\u2028\u2029",
    "@pytest.mark.skipif('1')",
    "pytest_plugins = ['evil']",
    "../../conftest",
    "/etc/passwd",
    "sitecustomize.py",
    "__import__('os').system('x')",
    "train_module, x=__import__('os').abort()",
    "f'{1}'",
]
words = st.one_of(st.text(), st.sampled_from(NASTY), st.lists(st.sampled_from(NASTY)))
text = words.map(lambda x: x if isinstance(x, str) else "".join(x))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3)
    ),
    max_leaves=10,
)
edits = st.one_of(
    st.fixed_dictionaries({"op": st.just("set"), "knob": text, "value": values}),
    st.fixed_dictionaries({"op": st.just("replace"), "old": text, "new": text}),
    st.fixed_dictionaries(
        {"op": st.just("define"), "source": text, "within": st.none() | text}
    ),
    st.fixed_dictionaries({"op": st.just("apply"), "diff": text}),
    st.dictionaries(text, values, max_size=4),
)
proposals = st.fixed_dictionaries(
    {
        "title": text,
        "hypothesis": text,
        "category": st.sampled_from(CATEGORIES) | text,
        "edits": st.lists(edits, max_size=4),
    }
)
VERBS = {"replace", "set", "define", "apply"}


@given(proposals)
@example({"title": '"""', "hypothesis": "\\", "category": "", "edits": []})
@settings(deadline=None, max_examples=300)
def test_whatever_is_proposed_the_test_holds_only_the_template(data: Any) -> None:
    """A docstring, one function, calls of four verbs with literals, run, assert."""
    try:
        proposal = Proposal.from_data(data)
    except PatchError:
        return
    rendered = render_test(proposal, "val_bpb", "min")
    source = rendered.encode()  # no surrogates
    assert rendered.isascii() or all(c.isprintable() or c == "\n" for c in rendered)
    for tree in (ast.parse(rendered), ast.parse(source)):  # no coding cookie either
        only_the_template(tree, len(proposal.edits))
    assert Path(file_name(1, proposal.title)).name == file_name(1, proposal.title)
    assert [edit.to_data() for edit in proposal.edits] == json.loads(
        json.dumps([edit.to_data() for edit in proposal.edits])
    )


def only_the_template(tree: ast.Module, count: int) -> None:
    """Assert that a module says nothing else."""
    docstring, function = tree.body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert isinstance(function, ast.FunctionDef)
    assert function.name.startswith("test_")
    assert not function.decorator_list
    assert not function.args.defaults
    *calls, run, claim = function.body
    assert len(calls) == count
    for call in calls:
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        assert ast.unparse(call.value.func) in {f"train_module.{x}" for x in VERBS}
        for argument in (*call.value.args, *(x.value for x in call.value.keywords)):
            ast.literal_eval(argument)
        assert {x.arg for x in call.value.keywords} <= {"within"}
    assert ast.unparse(run) == "result = gpu_budget.run(train_module)"
    assert ast.unparse(claim).startswith("assert result.val_bpb <")


def nested(depth: int) -> list[Any]:
    """A list in a list in a list ..."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nested(3000), "nested"),
        (10**5000, "digits"),
        ("x" * 3000, "3 000 characters"),
        ([0.5] * 600, "600 numbers"),
        (float("nan"), "NaN"),
    ],
    ids=["nested", "digits", "text", "numbers", "nan"],
)
def test_a_value_that_is_no_knob_is_refused(value: Any, words: str) -> None:
    """In words, before anything is written or parsed."""
    edit = {"op": "set", "knob": "LR", "value": value}
    with pytest.raises(PatchError, match=words):
        Proposal.from_data({"title": "t", "edits": [edit]})


# ------------------------------------------------- strangers beside the generated test


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """What the check needs of a session: its ledger with one written candidate."""
    ledger = Ledger(tmp_path / "ledger.db")
    session = ledger.start_session("research", None, "{}")["id"]
    facts = SimpleNamespace(root=tmp_path, ledger=ledger, session=session)
    facts.profile, facts.metric = SimpleNamespace(direction="min"), "score"
    facts.head = lambda: Head("h", "LR = 0.1\n", None)
    edit = {"op": "set", "knob": "LR", "value": 0.9}
    proposal = Proposal.from_data({"title": "burn", "edits": [edit]})
    number = generated.add_generated(facts, proposal, "scripted")  # type: ignore[arg-type]
    facts.path = tmp_path / GENERATED / f"test_{number:04d}_burn.py"
    facts.row = ledger.candidate(number)
    yield facts
    ledger.close()


CODE = "raise SystemExit('PWNED')\n"


def file(name: str) -> Callable[[Path], str]:
    """A file that is not ours."""

    def plant(folder: Path) -> str:
        (folder / name).write_text(CODE)
        return name

    return plant


def subdirectory(folder: Path) -> str:
    (folder / "test_more").mkdir()
    (folder / "test_more/conftest.py").write_text(CODE)
    return "test_more"


def link(folder: Path) -> str:
    (folder / "test_0002_x.py").symlink_to("/etc/passwd")
    return "test_0002_x.py"


def dangling_link(folder: Path) -> str:
    (folder / "conftest.py").symlink_to("nowhere")
    return "conftest.py"


def own_name_as_link(folder: Path) -> str:
    path = folder / "test_0001_burn.py"
    path.rename(folder.parent / "real.py")
    path.symlink_to(folder.parent / "real.py")
    return path.name


def second_name(folder: Path) -> str:
    os.link(folder / "test_0001_burn.py", folder.parent / "other.py")
    return "test_0001_burn.py"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "test_0003_x.py")
    return "test_0003_x.py"


def own_name_as_pipe(folder: Path) -> str:
    (folder / "test_0001_burn.py").unlink()
    os.mkfifo(folder / "test_0001_burn.py")
    return "test_0001_burn.py"


def gitignore_as_link(folder: Path) -> str:
    (folder / ".gitignore").unlink()
    (folder / ".gitignore").symlink_to("/dev/zero")
    return ".gitignore"


def directory_as_link(folder: Path) -> str:
    folder.rename(folder.parent / "moved")
    folder.symlink_to(folder.parent / "moved")
    return "_generated"


def temporary_as_link(folder: Path) -> str:
    (folder / "test_0001_burn.tmp").symlink_to("/etc/passwd")
    return "test_0001_burn.tmp"


NAMES = [
    "conftest.py",
    "__init__.py",
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    "tox.ini",
    "setup.cfg",
    "pyproject.toml",
    "setup.py",
    "sitecustomize.py",
    "test_0001_burn.pyi",
    "evil.pth",
    "x.so",
    "notes",
]
PLANTS = [
    *map(file, NAMES),
    subdirectory,
    link,
    dangling_link,
    own_name_as_link,
    second_name,
    pipe,
    own_name_as_pipe,
    gitignore_as_link,
    directory_as_link,
    temporary_as_link,
]


@pytest.mark.parametrize(
    "plant", PLANTS, ids=[*NAMES, *(x.__name__ for x in PLANTS[len(NAMES) :])]
)
@pytest.mark.timeout(20)
def test_a_stranger_is_refused_by_name(
    facts: Any, plant: Callable[[Path], str]
) -> None:
    """Each lane asks before each test; a pipe does not make it wait."""
    assert generated.check_generated(facts, facts.path)
    name = plant(facts.path.parent)
    with pytest.raises(InfrastructureError) as error:
        generated.check_generated(facts, facts.path)
    assert f"{name} was not written by this session" in str(error.value)


def test_nothing_is_written_or_removed_through_a_link(facts: Any) -> None:
    """_generated as a link to a folder of the user's: its files stay what they are."""
    folder, users = facts.path.parent, facts.root / "users"
    users.mkdir()
    (users / facts.path.name).write_text("mine\n")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(users)

    with pytest.raises(SettingsError, match="_generated is a symbolic link to"):
        generated.write_generated(facts.root, facts.path.name, "ours")
    generated.clear_generated(facts.root, {facts.path.name})
    assert [(x.name, x.read_text()) for x in users.iterdir()] == [
        (facts.path.name, "mine\n")
    ]


def test_a_temporary_name_is_not_followed(facts: Any) -> None:
    """A link in the place of what is about to be written is replaced."""
    victim = facts.root / "victim"
    victim.write_text("mine")
    facts.path.with_suffix(".tmp").symlink_to(victim)
    generated.write_generated(facts.root, facts.path.name, facts.row["test"])

    assert victim.read_text() == "mine"
    assert generated.check_generated(facts, facts.path)


def test_what_runs_is_the_ledgers_text_and_no_file(facts: Any) -> None:
    """Swapped after the check, or with bytecode beside it: neither is imported."""
    evil = facts.root / "evil.py"
    evil.write_text(CODE)
    cache = importlib.util.cache_from_source(str(facts.path))
    py_compile.compile(str(evil), cache)
    facts.path.write_text(CODE)
    module = lanes._module_of(facts.row["test"], facts.path)

    assert module.__doc__ == "burn"
    assert module.test_burn.__code__.co_filename == str(facts.path)


# -------------------------------------------------------------------- at the terminal

# A hand-written test plays the attacker: it waits for the first generated test, swaps
# it or leaves strangers, and lets the lanes go on.
PLANTER = """
import os, pathlib, time

def test_planter(tmp_path):
    folder = pathlib.Path(__file__).parent / "_generated"
    while not list(folder.glob("test_*.py")):
        time.sleep(0.02)
    {attack}
"""
MARK = "__import__('pathlib').Path({mark!r}).touch()"
CACHE = """
    import importlib.util as u, inspect, marshal, sys, pytest
    from _pytest.assertion import rewrite
    hashed = "source_hash" in inspect.getsource(rewrite._read_pyc)
    (folder / "__pycache__").mkdir(exist_ok=True)
    for path in folder.glob("test_*.py"):
        key = (3).to_bytes(4, "little") + u.source_hash(path.read_bytes())
        if not hashed:  # pytest before it hashed sources: their time and size
            found = (0, int(path.stat().st_mtime), path.stat().st_size)
            key = b"".join(x.to_bytes(4, "little") for x in found)
        code = compile({code!r}, str(path), "exec")
        name = path.stem + rewrite.PYC_TAIL
        data = u.MAGIC_NUMBER + key + marshal.dumps(code)
        (folder / "__pycache__" / name).write_bytes(data)
"""


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n1"])
def test_bytecode_beside_a_generated_test_never_runs(
    project: Any, lanes: str, tmp_path: Path
) -> None:
    """The __pycache__ that pytest itself would read: nobody reads it."""
    mark = tmp_path / "PWNED"
    attack = CACHE.format(code=MARK.format(mark=str(mark))).strip()
    planter = project.path / "experiments/test_planter.py"
    planter.write_text(PLANTER.format(attack=attack))
    project.commit()
    ran = project.research(
        project.script(burn={"LR": 0.9}), lanes, "--autoresearch-experiments=1"
    )
    assert ran.ret == 0, ran.stdout.str()
    assert "1 passed" in ran.stdout.str()  # the planter did its work
    assert not mark.exists()
    assert project.states()["burn"] in ("discard", "keep")


@pytest.mark.parametrize("lanes", ["-pno:xdist", "-n1"])
def test_strangers_between_two_collections_end_the_session(
    project: Any, lanes: str, tmp_path: Path
) -> None:
    """A conftest.py, a package, a configuration: named, and not executed."""
    mark = tmp_path / "PWNED"
    code = MARK.format(mark=str(mark))
    attack = f'(folder / "conftest.py").write_text({code!r})'
    planter = project.path / "experiments/test_planter.py"
    planter.write_text(PLANTER.format(attack=attack))
    project.commit()
    ran = project.research(
        project.script(burn={"LR": 0.9}), lanes, "--autoresearch-experiments=1"
    )
    assert ran.ret == 1, ran.stdout.str()
    assert "conftest.py was not written by this session" in ran.stdout.str()
    assert not mark.exists()


@pytest.mark.parametrize(
    "words",
    [
        "experiments/_generated",
        "experiments/_generated/test_0001_x.py",
        "experiments/_generated/test_0001_x.py::test_x",
        "--pyargs experiments._generated.test_0001_x",
        "-c experiments/_generated/pytest.ini",
        "--autoresearch experiments/_generated",
        "--doctest-modules experiments/_generated",
    ],
)
def test_nobody_names_a_generated_test(
    project: Any, words: str, tmp_path: Path
) -> None:
    """The conftest.py, package and module there would run before any check."""
    mark = tmp_path / "PWNED"
    plant_everything(project.path / GENERATED, mark)
    ran = project.run(*words.split())

    assert ran.ret == 4, ran.stdout.str() + ran.stderr.str()
    assert "_generated/ belongs to autoresearch" in ran.stderr.str()
    assert not mark.exists()


def plant_everything(folder: Path, mark: Path) -> None:
    """Python files that leave a mark when they are imported, and a configuration."""
    folder.mkdir()
    for name in ("conftest.py", "__init__.py", "test_0001_x.py"):
        (folder / name).write_text(MARK.format(mark=str(mark)) + "\n")
    (folder / "pytest.ini").write_text("[pytest]\n")


@pytest.mark.parametrize(
    "words",
    [
        "experiments",
        "--doctest-modules experiments",
        "--doctest-modules --doctest-glob=*.py .",
        "--import-mode=importlib --collect-only .",
        "--noconftest .",
        "--autoresearch --autoresearch-proposer=none -pno:xdist",
        "--autoresearch --autoresearch-proposer=none -n1",
    ],
)
def test_no_collector_executes_what_is_there(
    project: Any, words: str, tmp_path: Path
) -> None:
    """Neither a plain run nor one with doctests, with or without the flag."""
    mark = tmp_path / "PWNED"
    plant_everything(project.path / GENERATED, mark)
    (project.path / "experiments/test_it.py").write_text("def test_it(): pass\n")
    project.git("init", "-q", "-b", "main")
    project.git("add", "train.py")
    project.git("commit", "-qm", "start")
    ran = project.run(*words.split())

    assert ran.ret == 0, ran.stdout.str() + ran.stderr.str()
    assert not mark.exists()


def test_without_any_configuration_the_folder_is_ignored_too(tmp_path: Path) -> None:
    """pytest then takes another rootdir; it is the name that counts."""
    folder = tmp_path / GENERATED
    folder.parent.mkdir()
    plant_everything(folder, tmp_path / "PWNED")
    (folder / "pytest.ini").unlink()
    (folder.parent / "test_it.py").write_text("def test_it(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "experiments"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "PWNED").exists()
