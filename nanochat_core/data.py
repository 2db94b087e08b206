"""Prepared data: one uint16 stream of tokens per split, BOS before every document, and the windows cut from it."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from nanochat_core.errors import Failure


class Prepared:
    """A directory that prepare.py finished."""

    def __init__(self, home):
        self.home = Path(home)
        self.meta = json.loads((self.home / "meta.json").read_text(encoding="utf-8"))

    def stream(self, split):
        """All tokens of `split`, memory-mapped."""
        return np.memmap(self.home / f"{split}.bin", dtype=np.uint16, mode="r")

    def token_bytes(self):
        return np.load(self.home / "token_bytes.npy")


def digest(path):
    """sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def window_count(stream, sequence_len):
    """Windows of sequence_len inputs each; the last target is the token after the window."""
    return max(0, (len(stream) - 1) // sequence_len)


def cut(stream, windows, sequence_len):
    """Rows of T + 1 tokens, (B, T + 1); the first T are inputs, the last T are targets."""
    starts = np.asarray(windows, dtype=np.int64) * sequence_len
    return np.stack([stream[start : start + sequence_len + 1] for start in starts])


def hold_out(stream, sequence_len, tokens):
    """A training stream without its end, and that end: about `tokens` of it, a twentieth at most, never trained on."""
    held = min(tokens, len(stream) // 20) // sequence_len * sequence_len
    cut_at = len(stream) - held
    return stream[:cut_at], stream[cut_at:]


class Shuffled:
    """Training windows in an order that depends on the seed and the data alone, whatever the batch size.

    Each epoch is one permutation. The generator is numpy's own PCG64: how often a candidate asks torch for random
    numbers does not move a single window.
    """

    def __init__(self, stream, sequence_len, seed, data_sha256):
        self.stream, self.sequence_len = stream, sequence_len
        self.count = window_count(stream, sequence_len)
        if self.count == 0:
            raise Failure("env", f"The training text has {len(stream)} tokens, less than one window of {sequence_len}.")
        self.random = np.random.Generator(np.random.PCG64([seed, int(data_sha256[:16], 16)]))
        self.left = np.empty(0, dtype=np.int64)

    def take(self, batch_size):
        """The next batch, (B, T + 1) int64."""
        while len(self.left) < batch_size:
            self.left = np.concatenate((self.left, self.random.permutation(self.count)))
        windows, self.left = self.left[:batch_size], self.left[batch_size:]
        return cut(self.stream, windows, self.sequence_len).astype(np.int64)


def bits_per_byte(nll, lengths):
    """nll: nats of each scored token; lengths: bytes of text it stands for, 0 (special tokens) leaves it out."""
    nll, lengths = np.asarray(nll, dtype=np.float64).ravel(), np.asarray(lengths, dtype=np.int64).ravel()
    assert nll.shape == lengths.shape, (nll.shape, lengths.shape)
    return float(nll[lengths > 0].sum() / (math.log(2) * lengths.sum()))


def scoring_windows(stream, sequence_len, tokens):
    """About `tokens` tokens in windows evenly spread over the stream, none overlapping: always the same ones."""
    available = window_count(stream, sequence_len)
    if available == 0:
        raise Failure("env", f"The scored text has {len(stream)} tokens, less than one window of {sequence_len}.")
    wanted = min(available, max(1, tokens // sequence_len))
    return cut(stream, np.arange(wanted) * available // wanted, sequence_len)
