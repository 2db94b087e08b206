"""The process that a candidate trains in: load the source, call its `train(run)`, and ask for everything else.

Started by server.py as `python -m nanochat_core.trainer JOB`. Nothing here can be relied on: it shares its memory with
the candidate.
"""

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path

from nanochat_core import wire


class Link:
    """Requests to the data server, over two pipes."""

    def __init__(self, answers, requests):
        self._answers, self._requests = answers, requests

    def tell(self, **words):
        """Say something that has no answer."""
        wire.send(self._requests, words)

    def ask(self, **words):
        """Say something; return the words of the answer."""
        self.tell(**words)
        return wire.receive(self._answers)

    def array(self, dtype, *shape):
        """Read an array that the last answer spoke of."""
        return wire.read_array(self._answers, dtype, *shape)

    def finish(self):
        """Wait to be killed: the server copies the checkpoint when nobody can change it any more."""
        self._answers.read()


def main(job):
    faulthandler.register(signal.SIGTERM, chain=True)  # a harness that loses patience learns where it hangs
    answers, requests = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # from here on a print is log text
    try:
        work(job, Link(answers, requests))
    except (KeyboardInterrupt, wire.Ended, BrokenPipeError):
        return 130  # whoever wanted this run has gone
    return 0


def work(job, link):
    """Train as the job says; what fails is told."""
    from nanochat_core import run as fixed
    from nanochat_core import target
    from nanochat_core.errors import Failure
    from nanochat_core.profiles import unpack

    profile = unpack(job["profile"])
    fixed.set_up(profile, job["threads"], job["seed"])
    try:
        run = fixed.Run(profile, job["budget"], job["seed"], job["checkpoint"], link, job["interim"])
        module = target.load(job["source"])
        try:
            module.train(run)
            run.check_saved()
        except (wire.Ended, BrokenPipeError):
            raise
        except (Exception, SystemExit) as error:
            raise target.blame(error, job["source"], "train") from None
    except Failure as failure:
        link.tell(do="fail", outcome=failure.outcome, message=failure.message)
    link.finish()


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
