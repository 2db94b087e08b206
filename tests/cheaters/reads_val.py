"""Looks for the scored text while it trains.

row: 22
expect: same checkpoint
phase: train
needs: sandbox
"""

from pathlib import Path

honest = train


def train(run):
    for place in ("/tmp", "/home", "/root", "/var/tmp"):
        for path in Path(place).rglob("val.bin"):
            print("LEAK", path)
    honest(run)
