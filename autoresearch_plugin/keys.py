"""The keys of the process that asks a model, kept from the code that it runs.

A process of the same user may read another's environment and memory through /proc, also
what `del os.environ[...]` has removed. So a process that starts candidates makes itself
unreadable, and lanes, which ask no model, are started without the keys.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import MutableMapping

from autoresearch_plugin.proposers.base import KEYS

PR_SET_DUMPABLE = 4


def hide_process() -> bool:
    """Make this process' /proc entries unreadable for its user's other processes.

    Children are readable again from their exec on. False where the system has no such
    thing; nothing depends on it then but the secrecy of the environment.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # a libc without prctl
        return False


def take(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Remove the keys from `environ`, so that no process started later has them."""
    return {name: environ.pop(name) for name in KEYS if name in environ}
