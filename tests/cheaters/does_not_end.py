"""Ignores every signal and waits for ever when it should end.

row: 30
expect: same checkpoint
phase: train
"""

import signal
import time

honest = train


def train(run):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    run._link.finish = lambda: time.sleep(600)
    honest(run)
