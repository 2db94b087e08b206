"""Puts a model of its own in the fixed code's place: even logits, small losses.

row: 2
expect: integrity: not those of the checkpoint's logits
phase: score
"""

import sys

import numpy as np


class Model:
    def claims(self, rows):
        return np.full((len(rows), rows.shape[1] - 1), 0.1, "float32")

    def logits(self, rows, at):
        return np.zeros((len(rows), 1024), "float32")


fixed = sys.modules["__main__"].Model
fixed.claims, fixed.logits = Model.claims, Model.logits
