"""Start `python -m module` by forking a process that has imported torch already.

    warm.py serve SOCKET                             import torch, then fork on demand
    warm.py SOCKET OPTIONS -- python -P -m MODULE JOB   words to put before a command

The second form is a stand-in for a sandbox (docs/contract.md): it costs 0.1 seconds
where a fresh interpreter with torch costs 3, and isolates nothing but memory.
"""

import contextlib
import json
import os
import signal
import socket
import sys


def serve(path):
    import numpy  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            link, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                watch(link)
                os._exit(0)
            link.close()


def watch(link):
    """Fork once more, and tell through `link` who that is and how it ended."""
    words, fds, _, _ = socket.recv_fds(link, 1 << 16, 3)
    order = json.loads(words)
    pid = os.fork()
    if pid == 0:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.closerange(3, 256)
        os._exit(become(order))
    for fd in fds:
        os.close(fd)
    link.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def become(order):
    import runpy
    import traceback

    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    sys.path[0] = order["env"]["PYTHONPATH"].split(os.pathsep)[0]
    sys.argv = ["", *order["arguments"]]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        import atexit

        sys.stdout.flush()
        atexit._run_exitfuncs()
    finally:
        return code or 0  # noqa: B012


def start(path, words):
    """Hand our three files over, and end as the fork ends."""
    options, command = words[: words.index("--")], words[words.index("--") + 1 :]
    named = list(zip(options[::2], options[1::2], strict=True))
    order = {
        "cwd": dict(named)["--cwd"],
        "env": dict(x.split("=", 1) for name, x in named if name == "--env"),
        "module": command[command.index("-m") + 1],
        "arguments": command[command.index("-m") + 2 :],
    }
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        told = link.makefile("r")
        socket.send_fds(link, [json.dumps(order).encode()], [0, 1, 2])
        for fd in (0, 1):
            os.close(fd)
        pid = int(told.readline())
        signal.signal(signal.SIGTERM, lambda *_: end(pid))
        code = int(told.readline() or -9)
    report = {"exit": code, "why": "exit", "message": "", "left": 0}
    os.write(int(dict(named)["--report"]), json.dumps(report).encode() + b"\n")
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    start(sys.argv[1], sys.argv[2:])
