"""The score: bits per byte of a sealed checkpoint, lower is better, whatever the vocabulary.

This process is trusted, so it never loads a candidate: children (producer.py) do, and claim a loss for every scored
token. What becomes of these numbers is decided here and in verify.py, with numpy alone.
"""

import contextlib
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nanochat_core import wire
from nanochat_core.data import bits_per_byte, scoring_windows
from nanochat_core.errors import TOLD, Failure, told_failure
from nanochat_core.isolate import Isolated, stage
from nanochat_core.producer import KNOWN

SLACK = 40.0  # nats above an even guess: worse than that is not told apart
REST = 2.0  # seconds in which a process that has answered everything may still say something


class Scored:
    """What is scored: the windows of a split, how many bytes each target stands for, and which of them count."""

    def __init__(self, profile, prepared, split):
        self.windows = scoring_windows(prepared.stream(split), profile.config.sequence_len, profile.eval_tokens)
        self.lengths = prepared.token_bytes()[self.windows[:, 1:]]  # (N, T); windows are (N, T + 1)

    def bits_per_byte(self, nll):
        return bits_per_byte(nll, self.lengths)


class Producer:
    """A process with the candidate and the checkpoint in it; each is asked a few things and then ended."""

    def __init__(self, profile, spec, show=False):
        job = {"profile": asdict(profile), "threads": spec["threads"], "checkpoint": str(spec["checkpoint"])}
        source = stage(spec["scratch"], spec["source"], spec["source_sha256"])
        self._config, self._name = profile.config, Path(spec["source"]).name
        self._child = Isolated("producer", {**job, "source": str(source)}, source, spec.get("sandbox"),
                               read=(spec["checkpoint"],), quiet=not show)  # fmt: skip
        self._answers = wire.Reader(self._child.stdout)

    def __enter__(self):
        try:
            told = self._receive()
            if told.get("ready") is not True:
                raise self._failure(told, spoken=True)
        except BaseException:
            self._child.__exit__()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._hang_up()
        finally:
            self._child.__exit__()

    def claims(self, rows):
        """What the candidate says its loss is on every target of rows (B, T + 1): (B, T) nats, in bounds."""
        found = self._ask({"ask": "claims", "rows": len(rows), "width": rows.shape[1]}, (rows,), rows[:, 1:].shape)
        return within(found, self._config.vocab_size)

    def logits(self, rows, at):
        """Logits at position `at` (B,) of rows (B, T): (B, V)."""
        words = {"ask": "logits", "rows": len(rows), "width": rows.shape[1]}
        return self._ask(words, (rows, at.astype(np.int32)), (len(rows), self._config.vocab_size))

    def _ask(self, words, arrays, shape):
        with contextlib.suppress(BrokenPipeError):  # it has said why
            wire.send(self._child.stdin, words, *(x.astype(np.uint16) if x.ndim == 2 else x for x in arrays))
        told = self._receive()
        if told != {"rows": shape[0]}:
            raise self._failure(told)
        try:
            return self._answers.array(np.float32, shape).astype(np.float64)
        except wire.Ended:
            raise self._gone() from None

    def _receive(self):
        try:
            return self._answers.receive()
        except ValueError:  # without its words: it may have seen the scored text
            raise Failure("integrity", "the scoring process does not keep to its protocol") from None
        except wire.Ended:
            raise self._gone() from None

    def _hang_up(self):
        """Whoever has been asked everything has nothing more to say."""
        self._child.stdin.close()
        if self._answers.rest(REST):
            raise Failure("integrity", "the scoring process said more than it was asked")

    def _failure(self, told, spoken=False):
        """Its own account of a failure: in its words before it saw the scored text, from a list afterwards."""
        outcome, kind, line = (told.get(key) for key in ("outcome", "kind", "line"))
        if spoken and outcome in TOLD:
            return told_failure(outcome, told.get("message"))
        if outcome not in ("assert", "oom-eval") or type(kind) is not int or not 0 <= kind < len(KNOWN):
            return Failure("integrity", "the scoring process does not keep to its protocol")
        where = f" in line {line} of {self._name}" if type(line) is int and 0 < line < 100_000 else ""
        return Failure(outcome, f"{KNOWN[kind]}{where} while the checkpoint was scored. Its words stay there: that "
                                "process has seen the scored text. A run by hand shows them.")  # fmt: skip

    def _gone(self):
        code, message, why = self._child.wait()
        if why == "setup":
            return Failure("env", f"The sandbox cannot be set up: {message}.")
        if why == "memory" or code == -9:
            return Failure("oom-eval", message or "The scoring process was killed, as a system short of memory does.")
        return Failure("assert", message or f"The scoring process ended with exit code {code}.")


def score(profile, prepared, spec, show=False):
    """Return (bits per byte, claims) of the sealed checkpoint. Out of memory: once more with half the batch.

    claims: (N, T) nats, as the candidate's process says.
    """
    if not Path(spec["checkpoint"]).is_file():
        raise Failure("env", f"There is no checkpoint at {spec['checkpoint']} to score.")
    scored = Scored(profile, prepared, spec.get("split") or "val")
    size = profile.eval_batch_size
    try:
        claims = claim(profile, spec, scored, size, show)
    except Failure as failure:
        if failure.outcome != "oom-eval" or size == 1:
            raise
        print(f"scoring ran out of memory; once more with {size // 2} sequences a pass", flush=True)
        claims = claim(profile, spec, scored, size // 2, show)
    return scored.bits_per_byte(claims), claims


def claim(profile, spec, scored, batch_size, show=False):
    """The claims of one fresh process, (N, T)."""
    with Producer(profile, spec, show) as producer:
        parts = [producer.claims(rows) for rows in batches(scored.windows, batch_size)]
    return np.concatenate(parts)


def batches(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def within(nll, vocab_size):
    """Losses as they can be: finite, no probability above 1, none worse than an even guess by more than SLACK."""
    if not np.isfinite(nll).all():
        raise Failure("nan", f"{int((~np.isfinite(nll)).sum())} of {nll.size} token losses are not finite.")
    if nll.min() < -1e-4:
        raise Failure("integrity", f"a token loss is {nll.min():.4g}: no probability is above 1.")
    return np.clip(nll, 0.0, math.log(vocab_size) + SLACK)
