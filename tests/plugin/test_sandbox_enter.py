"""A program inside the sandbox: what it gets, what it may not, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper lies beside the tests
from boxes import KINDS, TIMEOUT, Box, sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux'")

STRONG = ("full", "no namespaces", "no Landlock")  # level 3 and more where root tests
ENTER = Path(__file__).parents[2] / "autoresearch_plugin" / "sandbox" / "enter.py"


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of sandbox in turn."""
    return request.param


@pytest.fixture
def box(kind, tmp_path):
    """A box of that kind."""
    return Box(sandbox(kind), tmp_path)


@pytest.fixture
def full(tmp_path):
    """The strongest box there is."""
    return Box(sandbox("full"), tmp_path)


# --------------------------------------------------------------- what a program gets


def test_the_exit_code_and_the_report(box):
    """A program's own exit code comes back, and the report says that it was its own."""
    run = box.run("raise SystemExit(7)")
    assert (run.code, run.report["exit"], run.report["why"]) == (7, 7, "exit")
    assert run.report["left"] == 0
    assert run.report["cpu"] > 0
    assert run.report["peak_mb"] > 1


def test_a_signal(box):
    """Death by a signal is 128 + n outside, -n in the report."""
    run = box.run("import os; os.kill(os.getpid(), 11)")
    assert (run.code, run.report["exit"], run.report["why"]) == (139, -11, "exit")


def test_the_three_streams_are_the_callers(box):
    """Bytes go in and out as they are; enter adds none."""
    run = box.run(
        "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.stderr.write('e')",
        stdin="abc",
    )
    assert (run.code, run.out, run.err) == (0, "cba", "e")


def test_only_named_descriptors_are_passed(box):
    """Of two open pipes the one named by --pass arrives, and nothing else."""
    (a, b), (c, d) = os.pipe(), os.pipe()
    try:
        run = box.run(
            f"import os; os.write({b}, b'hello'); print(os.listdir('/proc/self/fd'))",
            "--pass",
            str(b),
            keep=[b, d],
        )
        os.set_blocking(a, False)
        assert os.read(a, 9) == b"hello"
    finally:
        for fd in (a, b, c, d):
            os.close(fd)
    found = json.loads(run.out.replace("'", '"'))
    assert set(found) - {"0", "1", "2", str(b)} in ({"3"}, {"4"})  # listdir's own


def test_the_watcher_keeps_no_end_of_a_passed_pipe(full):
    """The pipe ends when the program closes it, though the program goes on."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        full.words(f"import os; os.close({writer}); input()", "--pass", str(writer)),
        stdin=subprocess.PIPE,
        pass_fds=[writer],
    )
    try:
        os.close(writer)
        assert os.read(reader, 1) == b""
        assert process.poll() is None
    finally:
        os.close(reader)
        process.communicate(b"\n", timeout=TIMEOUT)
    assert process.returncode == 0


def test_variables(box):
    """The allow-list, then values of the run's own, then --env."""
    run = box.run(
        "import os, json; print(json.dumps(dict(os.environ)))",
        "--env",
        "TZ=there",
        env={"MY_API_KEY": "k", "SHELL": "s", "TZ": "here", "PYTHONHASHSEED": "0"},
    )
    values = json.loads(run.out)
    assert values["TZ"] == "there"
    assert values["PYTHONHASHSEED"] == "0"
    assert values["HOME"] != os.environ.get("HOME")
    assert values["HF_HUB_OFFLINE"] == "1"
    assert not {"MY_API_KEY", "SHELL"} & set(values)
    alone = "namespaces" not in box.sandbox.words
    assert ("TORCHINDUCTOR_COMPILE_THREADS" in values) == alone


def test_private_directories_work_and_vanish(box):
    """HOME, TMPDIR and caches can be written; nothing of them is left."""
    run = box.run(
        "import os\n"
        "for name in ('HOME', 'TMPDIR', 'XDG_CACHE_HOME'):\n"
        "    open(os.environ[name] + '/file', 'w').close()\n"
        "deep = os.environ['TMPDIR']\n"
        "for _ in range(1500):\n"
        "    os.chdir(deep); os.mkdir('d' * 9); deep = 'd' * 9\n"
    )
    assert (run.code, run.err) == (0, "")
    assert list((box.folder / "box").iterdir()) == []


@pytest.mark.parametrize("given", [True, False])
def test_the_working_directory(box, given):
    """It is the first --write directory, or the private one."""
    run = box.run("import os; print(os.getcwd())", write=given)
    private = box.run("import os; print(os.environ['TMPDIR'])").out
    assert (run.out.strip() == str(box.out)) == given
    if not given:
        name = os.path.basename
        assert name(run.out.strip()) == name(private.strip())
    assert box.run("import os; print(os.getcwd())", "--cwd", "/usr").out == "/usr\n"


# ------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", STRONG)
def test_files(kind, tmp_path):
    """--read is read, --write is written, all else is closed or does not exist."""
    box = Box(sandbox(kind), tmp_path)
    given, hidden = tmp_path / "given", tmp_path / "hidden"
    for folder in (given, hidden):
        folder.mkdir()
        (folder / "text").write_text("words")
    hidden.chmod(0o700)
    run = box.run(
        f"""
import os
print(open({str(given / "text")!r}).read())
open("made", "w").write("made")
os.mkdir("folder")
open("folder/inner", "w").close()
for path in ({str(given / "new")!r}, {str(hidden / "new")!r}, "/usr/new"):
    try:
        open(path, "w")
    except OSError:
        print("closed")
try:
    print(open({str(hidden / "text")!r}).read())
except OSError:
    print("closed")
""",
        "--read",
        str(given),
    )
    assert run.out == "words\n" + 4 * "closed\n", run.err
    made = box.out / "made"
    assert made.read_text() == "made"
    assert made.stat().st_uid == os.geteuid()
    made.unlink()
    (box.out / "folder" / "inner").unlink()


@pytest.mark.parametrize("kind", STRONG)
def test_the_users_files_stay_as_they_are(kind, tmp_path):
    """Neither content, mode, times nor attributes of files outside change."""
    box = Box(sandbox(kind), tmp_path)
    mine = tmp_path / "mine"
    mine.write_text("x")
    mine.chmod(0o644)
    before = mine.stat()
    run = box.run(
        f"""
import os
for act in (
    lambda p: os.chmod(p, 0o777),
    lambda p: os.utime(p, (1, 1)),
    lambda p: os.setxattr(p, "user.a", b"b"),
    lambda p: os.chown(p, 1, 1),
    lambda p: os.truncate(p, 0),
    os.unlink,
    lambda p: os.rename(p, p + "2"),
    lambda p: os.link(p, "here"),
):
    try:
        act({str(mine)!r})
    except OSError:
        pass
"""
    )
    assert run.code == 0, run.err
    after = mine.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid, after.st_nlink) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_uid,
        1,
    )
    assert mine.read_text() == "x"
    assert os.listxattr(mine) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")
def test_giving_does_not_follow_links(tmp_path):
    """What a link in a --write directory points to keeps its owner."""
    box = Box(sandbox("full"), tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("x")
    os.link(outside, box.out / "hard")
    (box.out / "soft").symlink_to(outside)
    run = box.run(
        f"import os, time; os.symlink({str(outside)!r}, 'another'); print(os.getuid())"
    )
    assert int(run.out) != 0
    assert outside.stat().st_uid == 0


@pytest.mark.parametrize("option", ["--read", "--write"])
def test_a_link_is_not_followed(full, option):
    """A candidate may have put a link where a directory was: nothing is run."""
    link = full.folder / "link"
    link.symlink_to("/root")
    run = full.run("print('ran')", option, str(link))
    assert (run.code, run.out, run.report["why"]) == (125, "", "setup")
    assert "is a symbolic link" in run.err


def test_a_secret_is_found_nowhere(tmp_path):
    """A key in our environment is in no variable, process, file or memory inside."""
    key = "sk-" + os.urandom(12).hex()
    code = """
import glob, os, sys
seen = []
def look(where, read):
    try:
        data = read()
    except (OSError, ValueError, OverflowError):
        return
    if b"sk-" + HEX in data:
        seen.append(where)
look("own", lambda: repr(dict(os.environ)).encode())
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    look(path, lambda: open(path, "rb").read())
for path in glob.glob("/proc/*/fd/*"):
    if path.split("/")[2] not in ("self", "thread-self", str(os.getpid())):
        look(path, lambda: open(path, "rb", 0).read(9999))
for top in (os.environ["TMPDIR"], os.environ["HOME"], "/tmp", "/dev/shm"):
    for folder, _, names in os.walk(top):
        for name in names:
            look(name, lambda: open(os.path.join(folder, name), "rb").read(99999))
for pid in {1, os.getppid(), PARENT}:
    try:
        for line in open(f"/proc/{pid}/maps"):
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            memory = open(f"/proc/{pid}/mem", "rb", 0)
            memory.seek(low)
            look("memory", lambda: memory.read(high - low))
    except (OSError, ValueError, OverflowError):
        pass
print(seen)
"""
    # The key is in hex there, so that the program does not find itself.
    head = f"HEX = bytes.fromhex('{key[3:].encode().hex()}'); PARENT = {{parent}}\n"
    for kind in STRONG:
        folder = tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        box = Box(sandbox(kind), folder)
        words = box.words(head.format(parent=os.getpid()) + code)
        done = subprocess.run(
            words,
            env={**os.environ, "OPENAI_API_KEY": key, "HARMLESS": key},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert (done.stdout, done.stderr) == ("[]\n", ""), kind


# -------------------------------------------------------------------------- the end

DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
reader, writer = os.pipe()
if not os.fork():
    os.setsid()
    for _ in range(3):
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(writer, b"1")
            while True:
                time.sleep(60)
    os._exit(0)
os.wait()
for _ in range(3):
    os.read(reader, 1)
print("daemons", flush=True)
"""


def test_daemons_end_with_their_program(box):
    """Double fork, setsid, SIGTERM ignored: nothing is left when enter returns."""
    run = box.run(DAEMON)
    assert (run.code, run.out) == (0, "daemons\n"), run.err
    assert run.report["left"] == 0
    assert box.survivors() == []


def test_the_death_of_the_parent(box):
    """SIGKILL of the process that started enter ends everything within two seconds."""
    middle = subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-c",
            "import subprocess, sys; subprocess.run(sys.argv[1:])",
            *box.words(DAEMON + "time.sleep(60)"),
        ],
        stdout=subprocess.PIPE,
    )
    assert middle.stdout is not None
    with middle.stdout:
        assert middle.stdout.readline() == b"daemons\n"
        middle.kill()
        middle.wait(TIMEOUT)
    assert box.wait_for_the_end(2.0) == []


def test_the_death_of_the_watcher(full):
    """In namespaces SIGKILL of enter itself leaves nothing either."""
    if "namespaces" not in full.sandbox.words:
        pytest.skip("this machine allows no namespaces")
    process = subprocess.Popen(
        full.words(DAEMON + "time.sleep(60)"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"daemons\n"
        process.kill()
        process.wait(TIMEOUT)
    assert full.wait_for_the_end(2.0) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_watcher(full, number):
    """It kills all and says why."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        full.words(DAEMON + "time.sleep(60)", "--report", str(writer)),
        stdout=subprocess.PIPE,
        pass_fds=[writer],
    )
    os.close(writer)
    assert process.stdout is not None
    with process.stdout, os.fdopen(reader) as lines:
        assert process.stdout.readline() == b"daemons\n"
        process.send_signal(number)
        report = json.loads(lines.readline())
    assert process.wait(TIMEOUT) == 128 + signal.SIGKILL
    assert (report["why"], report["exit"], report["left"]) == ("signal", -9, 0)
    assert number.name in report["message"]
    assert full.survivors() == []


def test_grace_lets_a_program_end_by_itself(box):
    """With --grace a signalled program may still say its last words."""
    process = subprocess.Popen(
        box.words(
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit('last words'))\n"
            "print('ready', flush=True)\n"
            "signal.pause()",
            "--grace",
            "30",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)  # as to each process of a tree ...
    inner = [pid for pid in box.survivors() if _is_inside(pid)]
    os.kill(inner[0], signal.SIGTERM)  # ... by the runner
    _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (1, b"last words\n")


def _is_inside(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[1:3] == [b"-I", b"-c"]


def test_sigabrt_reaches_the_program(box):
    """So that a Python program can print where it hangs."""
    process = subprocess.Popen(
        box.words(
            "import faulthandler, time\n"
            "faulthandler.enable()\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGABRT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + signal.SIGABRT
    assert b"Fatal Python error: Aborted" in err


def test_under_the_harness_runner(box):
    """The outer runner sees the tree, gets the exit code and has nothing left."""
    runner = ENTER.parents[1] / "executors" / "run.py"
    status, told = os.pipe()
    lifeline, hold = os.pipe()
    order = {
        "command": box.words(DAEMON + "raise SystemExit(3)"),
        "lifeline": lifeline,
        "status": told,
        "grace": 1.0,
        "cpu": None,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(runner), json.dumps(order)],
        pass_fds=[lifeline, told],
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT,
    )
    for fd in (told, lifeline, hold):
        os.close(fd)
    with os.fdopen(status) as lines:
        report = json.loads(lines.readline())
    assert done.returncode == 0
    assert (report["exit"], report["left"]) == (3, "")
    assert box.survivors() == []


# ---------------------------------------------------------------------------- limits


def test_wall(box):
    """A program that runs too long is killed, and its CPU time is known."""
    run = box.run("while True: pass", "--wall", "0.8")
    assert (run.code, run.report["why"], run.report["exit"]) == (137, "wall", -9)
    assert 0.05 < run.report["cpu"] < 5
    assert "0.8 s" in run.report["message"]
    assert box.survivors() == []


HELPERS = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(40):
    if not os.fork():
        while time.process_time() < 0.025: pass
        os._exit(0)
    try: os.wait()
    except ChildProcessError: pass
"""


def test_the_time_of_short_lived_children_counts(kind, tmp_path):
    """Who ignores the end of its children does not have their CPU time for nothing."""
    found = sandbox(kind)
    if kind == "nothing":
        pytest.skip("without seccomp a program may ignore its children")
    run = Box(found, tmp_path).run(HELPERS)
    assert run.code == 0, run.err
    assert run.report["cpu"] > 0.9


BOMBS = {
    "anonymous": "a = bytearray(400 << 20); time.sleep(60)",
    "shared": "m = mmap.mmap(-1, 400 << 20)\n"
    "for i in range(0, 400 << 20, 4096): m[i] = 1\n"
    "time.sleep(60)",
    "children": "for _ in range(6):\n"
    "    if not os.fork():\n"
    "        a = bytearray(70 << 20); time.sleep(60)\n"
    "time.sleep(60)",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory(kind, bomb, tmp_path):
    """Anonymous, shared, or in many children: over the limit all are killed."""
    box = Box(sandbox(kind), tmp_path, memory_mb=300)
    run = box.run(f"import mmap, os, time\n{BOMBS[bomb]}", "--wall", "40")
    assert (run.code, run.report["why"]) == (137, "memory"), run.err
    assert run.report["peak_mb"] > 300
    assert box.survivors() == []


def test_children_that_share_their_memory_count_once(kind, tmp_path):
    """Six forks that write nothing need no more than their parent."""
    box = Box(sandbox(kind), tmp_path, memory_mb=300)
    run = box.run(
        "import os, time\n"
        "a = bytearray(120 << 20)\n"
        "for _ in range(6):\n"
        "    if not os.fork():\n"
        "        time.sleep(1)\n"
        "        os._exit(0)\n"
        "for _ in range(6): os.wait()\n"
    )
    assert (run.code, run.report["why"]) == (0, "exit"), run.report


def test_a_fork_bomb(kind, tmp_path):
    """Processes that fork as fast as they can are all gone when enter returns."""
    box = Box(sandbox(kind), tmp_path, processes=50)
    run = box.run(
        "import os, time\n"
        "for _ in range(12):\n"
        "    try:\n"
        "        os.fork()\n"
        "    except OSError:\n"
        "        pass\n"
        "time.sleep(60)",
        "--wall",
        "40",
    )
    assert (run.code, run.report["why"], run.report["left"]) == (137, "processes", 0)
    assert box.survivors() == []


def test_a_hydra(box):
    """Children that fork and die for ever do not outrun the watcher."""
    run = box.run(
        "import os\n"
        "for _ in range(8):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        while True:\n"
        "            if os.fork():\n"
        "                os._exit(0)\n"
        "import time; time.sleep(0.3)"
    )
    assert (run.code, run.report["left"]) == (0, 0)
    assert box.survivors() == []


def test_disk(kind, tmp_path):
    """Files, or the open but deleted file, beyond the limit end the run."""
    box = Box(sandbox(kind), tmp_path)
    path = tmp_path / "policy.json"
    policy = json.loads(path.read_text())
    path.write_text(json.dumps({**policy, "disk_mb": 40}))
    run = box.run(
        "import os, time\n"
        "f = open('big', 'wb')\n"
        "os.unlink('big')\n"
        "g = open('other', 'wb')\n"
        "for _ in range(30):\n"
        "    f.write(bytes(1 << 20)); g.write(bytes(1 << 20))\n"
        "f.flush(); g.flush(); os.fsync(f.fileno()); os.fsync(g.fileno())\n"
        "time.sleep(60)",
        "--wall",
        "40",
    )
    assert (run.code, run.report["why"]) == (137, "disk"), run.report
    assert "40 MB" in run.report["message"]


def test_one_file_cannot_grow_for_ever(full):
    """A limit of the kernel stops a single file between two looks at the disk."""
    run = full.run(
        "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE)[1])"
    )
    assert int(run.out) == 4 << 30


def test_the_watcher_stays_small(full):
    """It keeps nothing of what passes: its memory does not grow with the run."""
    process = subprocess.Popen(
        full.words(
            "import os\n"
            "print('ready', flush=True)\n"
            "for _ in range(300):\n"
            "    if not os.fork(): os._exit(0)\n"
            "    os.wait()\n"
            "print(input(), flush=True)\n"
            "input()"
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    before = _resident_mb(process.pid)
    process.stdin.write("done\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"
    after = _resident_mb(process.pid)
    process.communicate("\n", timeout=TIMEOUT)
    assert after < before + 4
    assert after < 40


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# -------------------------------------------------------------------- what goes wrong


def _enter(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(ENTER), *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "there is no command"),
        (("POLICY", "--"), "there is no command"),
        (("POLICY", "--wall", "soon", "--", "true"), "--wall 'soon' is not a number"),
        (("POLICY", "--pass"), "--pass needs a value"),
        (("POLICY", "--pass", "77", "--", "true"), "descriptor 77 is not open"),
        (("POLICY", "--fast", "1", "--", "true"), "there is no option --fast"),
        (("POLICY", "--read", "usr", "--", "true"), "not an absolute, normal path"),
        (("POLICY", "--read", "/usr/../root", "--", "true"), "normal path"),
        (("POLICY", "--write", "/nowhere", "--", "true"), "/nowhere does not exist"),
        (("POLICY", "--cwd", "/nowhere", "--", "true"), "/nowhere"),
        (("POLICY", "--", "/bin/nowhere"), "/bin/nowhere cannot be started"),
        (("/nowhere.json", "--", "true"), "/nowhere.json cannot be read"),
    ],
)
def test_set_up_fails_closed(full, words, expected):
    """One line on stderr, nothing on stdout, exit code 125, nothing run."""
    policy = full.prefix[-1]
    done = _enter(*(policy if word == "POLICY" else word for word in words))
    assert (done.returncode, done.stdout) == (125, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"processes": None},
        {"processes": True},
        {"processes": "9"},
        {"landlock": 7.5},
        {"namespaces": 1},
        {"read": "/usr"},
        {"read": ["/usr", 3]},
        {"read": ["usr"]},
        {"box": "../box"},
        {"memory_mb": "1"},
    ],
)
def test_a_policy_is_read_strictly(full, change):
    """Another key, type or form of path: nothing is run."""
    path = full.folder / "policy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    run = full.run("print('ran')")
    assert (run.code, run.out, run.report["why"]) == (125, "", "setup")


def test_a_part_that_has_gone_fails_closed(full):
    """A policy that asks for more Landlock than there is starts nothing."""
    path = full.folder / "policy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "landlock": 99}))
    run = full.run("print('ran')")
    assert (run.code, run.out) == (125, "")
    assert "Landlock 99" in run.err


def test_the_directory_of_the_box_is_not_listed(full):
    """Another user may pass through the box, not look into it."""
    mode = (full.folder / "box").stat().st_mode
    assert stat.S_IMODE(mode) == 0o711
