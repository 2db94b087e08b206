"""Rows 38, 61 and 65: the ledger's files, the keys of the harness, dangerous calls."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin import paths
from autoresearch_plugin.errors import LedgerError, SettingsError
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.session import open_ledger

ROOT = Path(__file__).parents[2]
CONFTEST = ROOT / "tests" / "plugin" / "conftest.py"
found = importlib.util.spec_from_file_location("plugin_conftest", CONFTEST)
assert found is not None
assert found.loader is not None
plugin_conftest = importlib.util.module_from_spec(found)
found.loader.exec_module(plugin_conftest)
project, _own_locks = plugin_conftest.project, plugin_conftest._own_locks
HOSTILE = "'); DROP TABLE candidates; --\x00\"\u202e"


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


# ------------------------------------------------------------------------ its files


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_the_ledger(tmp_path: Path, umask: int) -> None:
    """The database, its log and index are 0600; nobody else can list the directory."""
    before = os.umask(umask)
    try:
        ledger = open_ledger(tmp_path)
        ledger.start_session("research", None, "{}")
        files = {
            path.name: mode(path) for path in ledger.path.parent.glob("ledger.db*")
        }
        ledger.close()
    finally:
        os.umask(before)
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
    assert files == dict.fromkeys(names, 0o600)
    assert mode(tmp_path / ".autoresearch") == 0o711


def test_what_was_open_is_closed_again(tmp_path: Path) -> None:
    """A directory and a file that somebody has opened to all are ours again."""
    open_ledger(tmp_path).close()
    (tmp_path / ".autoresearch").chmod(0o777)
    (tmp_path / ".autoresearch/ledger.db").chmod(0o666)
    open_ledger(tmp_path).close()

    assert mode(tmp_path / ".autoresearch") == 0o711
    assert mode(tmp_path / ".autoresearch/ledger.db") == 0o600


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-shm"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_a_file(
    tmp_path: Path, name: str, dangling: bool
) -> None:
    """Refused by name; what it points to stays as it was, or stays away."""
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"mine")
    paths.state_dir(tmp_path)
    (tmp_path / ".autoresearch" / name).symlink_to(victim)

    with pytest.raises(LedgerError, match=rf"{name} is a symbolic link to .*remove"):
        open_ledger(tmp_path)
    assert (victim.read_bytes() == b"mine") if not dangling else not victim.exists()


def test_a_link_in_the_place_of_the_directory(tmp_path: Path) -> None:
    """Neither a session nor a look into the ledger follows it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    Ledger(elsewhere / "ledger.db").close()
    (tmp_path / ".autoresearch").symlink_to(elsewhere)

    with pytest.raises(SettingsError, match=r"\.autoresearch is a symbolic link to"):
        open_ledger(tmp_path)
    with pytest.raises(LedgerError, match=r"\.autoresearch is a symbolic link to"):
        Ledger(tmp_path / ".autoresearch/ledger.db")
    assert mode(elsewhere) == 0o755
    assert sorted(x.name for x in elsewhere.iterdir()) == ["ledger.db"]


@pytest.mark.parametrize("name", [".gitignore", "controller.lock"])
def test_no_small_file_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    """The lock of a session would empty what a link in its place points to."""
    from autoresearch_plugin import session

    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".autoresearch").mkdir()
    (tmp_path / ".autoresearch" / name).symlink_to(victim)
    refuses: Any = contextlib.nullcontext()
    if name == "controller.lock":
        refuses = pytest.raises(LedgerError, match=r"cannot open .*controller\.lock")
    with refuses:
        session.controller_lock(tmp_path).close()
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["kept.xml.part", "kept.xml"])
def test_no_report_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    """A link in a report's place is replaced."""
    from autoresearch_plugin import report_files

    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / name).symlink_to(victim)
    report_files._write(tmp_path / "kept.xml", "report")

    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "kept.xml").read_text() == "report"
    assert not (tmp_path / "kept.xml").is_symlink()


# ------------------------------------------------------------------------ its content


def test_hostile_words_are_values_and_no_sql(tmp_path: Path) -> None:
    """Every text column gives back what it was given."""
    ledger = open_ledger(tmp_path)
    session = ledger.start_session("research", HOSTILE, HOSTILE)["id"]
    fields = dict.fromkeys(("title", "hypothesis", "category", "signature"), HOSTILE)
    number = ledger.add_candidate(session, "generated", {**fields, "edits": "[]"})
    ledger.update_candidate(number, nodeid=HOSTILE, state="running")
    row = ledger.candidate(number)
    ledger.close()

    assert {row[name] for name in (*fields, "nodeid")} == {HOSTILE}


def test_a_planted_view_calls_no_function(tmp_path: Path) -> None:
    """SQLite does not trust the schema: what it holds may be somebody else's."""
    open_ledger(tmp_path).close()
    path = tmp_path / ".autoresearch/ledger.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE VIEW planted AS SELECT load_extension('/tmp/evil.so') AS x")
    db.close()
    ledger = open_ledger(tmp_path)
    try:
        assert ledger._one("PRAGMA trusted_schema") == {"trusted_schema": 0}
        with pytest.raises(LedgerError, match="unsafe use of load_extension"):
            ledger._query("SELECT * FROM planted")
    finally:
        ledger.close()


def test_statements_are_built_from_our_own_words_alone() -> None:
    """An f-string in SQL holds names of columns and of conditions, never a value."""
    allowed = {"names", "marks", "changes", "where", "order", "_READ", "undone"}
    allowed |= {"version", "VERSION", "AUDITS", "IDEAS", "WAITS", "_OLD_OUTPUT"}
    allowed |= {"INDEXES", "AGENTS", "ANSWERS", "PLACES", "_SESSIONS", "_POOL"}
    allowed |= {"table", "column", "kind", "name", "first"}  # of our own schema
    for path in (ROOT / "autoresearch_plugin/ledger").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr) or not _is_sql(node):
                continue
            found = [x for x in node.values if isinstance(x, ast.FormattedValue)]
            assert {ast.unparse(x.value) for x in found} <= allowed, path


def _is_sql(node: ast.JoinedStr) -> bool:
    first = node.values[0]
    text = str(first.value) if isinstance(first, ast.Constant) else ""
    words = ("SELECT", "INSERT", "UPDATE", "DELETE", "WHERE", "PRAGMA", "CREATE")
    return text.strip().startswith(words)


# --------------------------------------------------------------------------- keys

# An ordinary user's process with a key; what SIBLING, of the same user, can see of it.
# Switching the user has made it unreadable, so it first becomes as readable as any.
HOLDER = """
import ctypes, os, sys
from autoresearch_plugin import keys
user = int(sys.argv[1])
if os.getuid() != user:
    os.setgid(user), os.setuid(user)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
os.environ.pop("ANTHROPIC_API_KEY")
if sys.argv[2] == "hide":
    assert keys.hide_process()
print("ready", flush=True)
sys.stdin.read()
"""
SIBLING = """
import os, sys
user, pid = int(sys.argv[1]), sys.argv[2]
if os.getuid() != user:
    os.setgid(user), os.setuid(user)
for name in ("environ", "mem"):
    try:
        data = open(f"/proc/{pid}/{name}", "rb").read(100_000) if name == "environ" \\
            else str(os.open(f"/proc/{pid}/{name}", os.O_RDWR)).encode()
        print(name, "KEY" if b"sk-ant-secret" in data else "open")
    except OSError as error:
        print(name, type(error).__name__)
"""


@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("show", "environ KEY"),
        ("hide", "environ PermissionError\nmem PermissionError\n"),
    ],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc, no prctl")
def test_a_sibling_cannot_read_the_key(how: str, seen: str) -> None:
    """Environment and memory of the process that holds it; unless hidden, it can."""
    user = str(os.getuid() or 12345)
    environ = {**os.environ, "ANTHROPIC_API_KEY": "sk-ant-secret"}
    environ["PYTHONPATH"] = str(ROOT)
    words = [sys.executable, "-c", HOLDER, user, how]
    with subprocess.Popen(
        words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            done = subprocess.run(
                [sys.executable, "-c", SIBLING, user, str(holder.pid)],
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            holder.kill()
    assert done.stdout.startswith(seen), done.stderr


# A hand-written test tells what the process that runs it was started with.
TELLER = """
import os, pathlib

def test_teller():
    said = pathlib.Path("/proc/self/environ").read_bytes() + repr(os.environ).encode()
    pathlib.Path({place!r}).write_bytes(said)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_lanes_are_started_without_the_key(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller alone asks a model: a lane's environment never held the key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    monkeypatch.setenv("OF_NO_INTEREST", "so-it-works")
    told = tmp_path / "told"
    teller = project.path / "experiments/test_teller.py"
    teller.write_text(TELLER.format(place=str(told)))
    project.commit()
    ran = project.research("-n1")

    assert ran.ret == 0, ran.stdout.str()
    assert b"so-it-works" in told.read_bytes()
    assert b"sk-ant-secret" not in told.read_bytes()


# What a program that proposes prints when it has the key, and when it has not.
ASKER = """
import json, os
title = "with key" if os.environ.get("ANTHROPIC_API_KEY") else "without"
edit = dict(op="set", knob="LR", value=0.9)
print(json.dumps(dict(title=title, edits=[edit])))
"""


def test_a_program_that_proposes_has_the_key(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what asks the model; taking the key from lanes is not to hinder it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    (tmp_path / "asker.py").write_text(ASKER)
    project.commit()
    command = f"command:{{python}} {tmp_path / 'asker.py'}"
    ran = project.research(
        f"--autoresearch-proposer={command}", "-n1", "--autoresearch-experiments=1"
    )
    assert ran.ret == 0, ran.stdout.str()
    assert list(project.states()) == ["with key"]


# ------------------------------------------------------------------- dangerous calls

# Where a call is that would run what it reads, and why that is all right.
EXCEPTIONS = {
    ("nanochat_core/target.py", "exec"),  # the target itself, in the run's process
}
NAMES = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
CALLS |= {"pty.spawn", "runpy.run_path", "runpy.run_module"}
FINE = {("autoresearch_plugin/loop.py", "__import__")}  # the user's own decision rule
FINE |= {("nanochat_core/target.py", "compile")}  # what its exec runs


def dangers(source: str) -> Iterator[str]:
    """What in a source could run code that it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {x.name for x in node.names if x.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            yield from _dangerous_call(node)


def _dangerous_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name.removeprefix("builtins.") in NAMES or name in CALLS:
        yield name.removeprefix("builtins.")
    if any(x.arg == "shell" for x in node.keywords) and not _says(node, "shell", False):
        yield "shell=True"
    pickles = any(x.arg == "allow_pickle" for x in node.keywords)
    if pickles and not _says(node, "allow_pickle", False):
        yield "allow_pickle"


def _says(node: ast.Call, name: str, value: object) -> bool:
    said = {x.arg: getattr(x.value, "value", None) for x in node.keywords}
    return name in said and said[name] is value


@pytest.mark.parametrize("package", ["autoresearch_plugin", "nanochat_core"])
def test_nothing_that_is_read_can_run(package: str) -> None:
    """No pickle, eval, exec, torch.load, yaml.load or shell, but for named places."""
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in dangers(path.read_text())
    }
    assert found <= EXCEPTIONS | FINE


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(p)",
        "torch.load(p, weights_only=True)",
        "eval('1')",
        "builtins.exec(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=y)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(x)",
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    """Each of these lines would be refused."""
    assert list(dangers(line))
