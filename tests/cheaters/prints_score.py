"""Prints a score as autoresearch prints it, and leaves before anybody asks.

row: 1
expect: died: 0
phase: train
"""

import os


def train(run):
    print("val_bpb: 0.1", flush=True)
    os._exit(0)
