"""The score: bits per byte of a sealed checkpoint, lower is better, whatever the vocabulary.

This process is trusted, so it never loads a candidate: a child (producer.py) does, and leaves one float32 number per
scored token in a file. What becomes of these numbers is decided here, with numpy alone.
"""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nanochat_core.data import scoring_windows
from nanochat_core.errors import OUTCOMES, Failure


def bits_per_byte(nll, lengths):
    """nll: nats of each scored token; lengths: bytes of text it stands for, 0 (special tokens) leaves it out."""
    nll, lengths = np.asarray(nll, dtype=np.float64).ravel(), np.asarray(lengths, dtype=np.int64).ravel()
    assert nll.shape == lengths.shape, (nll.shape, lengths.shape)
    return float(nll[lengths > 0].sum() / (math.log(2) * lengths.sum()))


def score(profile, prepared, source, source_sha256, checkpoint, split, scratch, threads):
    """Return bits per byte of `checkpoint` on `split`. Out of memory: once more with half the batch."""
    if not Path(checkpoint).is_file():
        raise Failure("env", f"There is no checkpoint at {checkpoint} to score.")
    windows = scoring_windows(prepared.stream(split), profile.config.sequence_len, profile.eval_tokens)  # (N, T + 1)
    lengths = prepared.token_bytes()[windows[:, 1:]]  # (N, T)
    try:
        nll = produce(profile, windows, source, source_sha256, checkpoint, scratch, threads, profile.eval_batch_size)
    except Failure as failure:
        if failure.outcome != "oom-eval" or profile.eval_batch_size == 1:
            raise
        print(f"scoring ran out of memory; once more with {profile.eval_batch_size // 2} sequences a pass", flush=True)
        half = profile.eval_batch_size // 2
        nll = produce(profile, windows, source, source_sha256, checkpoint, scratch, threads, half)
    return bits_per_byte(nll, lengths)


def produce(profile, windows, source, source_sha256, checkpoint, scratch, threads, batch_size):
    """Run the producer and return its nll, (N, T), after checking that it is one."""
    scratch = Path(scratch)
    tokens, nll, job, reason = (scratch / f"score-{x}" for x in ("tokens.npy", "nll.bin", "job.json", "error.json"))
    for path in (nll, reason):
        path.unlink(missing_ok=True)
    np.save(tokens, windows)
    job.write_text(
        json.dumps({
            "profile": asdict(profile), "source": str(source), "source_sha256": source_sha256, "threads": threads,
            "checkpoint": str(checkpoint), "batch_size": batch_size, "tokens": str(tokens), "nll": str(nll),
            "error": str(reason),
        }),
        encoding="utf-8",
    )  # fmt: skip
    # The package that runs here runs there. Open files stay here: the child could otherwise write results itself.
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "nanochat_core.producer", str(job)]
    sys.stdout.flush()
    code = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, close_fds=True).returncode
    if code:
        raise why(reason, code)
    T = windows.shape[1] - 1
    values = np.fromfile(nll, dtype=np.float32) if nll.is_file() else np.empty(0, dtype=np.float32)
    if values.size != len(windows) * T:
        raise Failure("assert", f"The model scored {values.size} tokens of {len(windows) * T}.")
    if not np.isfinite(values).all():
        raise Failure("nan", f"{int((~np.isfinite(values)).sum())} of {values.size} token losses are not finite.")
    if values.min() < -1e-4:
        raise Failure("assert", f"A token loss is {values.min():.4g}: no probability is above 1.")
    return values.reshape(-1, T)


def why(reason, code):
    """The producer's own reason, if it left a believable one."""
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    try:
        told = json.loads(reason.read_text(encoding="utf-8"))
        if told["outcome"] in OUTCOMES:
            return Failure(told["outcome"], str(told["message"])[:2000])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if code == -signal.SIGKILL:
        return Failure("oom-eval", "The scoring process was killed, as a system short of memory does.")
    return Failure("assert", f"The scoring process ended with exit code {code}.")
