"""Starts one command inside a sandbox and watches it from outside.

    python -I -S enter.py POLICY.json [--read PATH]... [--write PATH]... [--hide DIR]...
        [--pass FD]... [--cwd DIR] [--env NAME=VALUE]... [--report FD] [--wall SECONDS]
        [--grace SECONDS] -- COMMAND...

POLICY.json is written by `sandbox.policy`. The command gets our stdin, stdout and
stderr and no other descriptor but those of --pass. It may read (and execute) --read
and change --write beside what the policy says, without what is below --hide; the paths
mean the same inside.

The exit code is the command's, 128 + n after signal n, and 125 where the sandbox could
not be set up: then nothing was run and stderr says why. The report, one JSON line on
--report, tells `exit` (negative for a signal), `why` it ended (exit, wall, memory,
processes, disk, parent, signal or setup), `message`, `cpu` seconds, `peak_mb` and how
many processes are `left`. On SIGTERM all is killed, after --grace seconds (default 0).
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # -I and -S leave us nothing but the standard library, which keeps precedence.
    sys.path.append(os.path.abspath(f"{__file__}/../../.."))

    if sys.argv[1:2] == ["--try"]:  # for `sandbox.probe`
        from autoresearch_plugin.sandbox.attempts import main

        sys.exit(main(sys.argv[2:]))

    from autoresearch_plugin.sandbox.watcher import main

    sys.exit(main(sys.argv[1:]))
