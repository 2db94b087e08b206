"""The process that a candidate is scored in: load the source and a sealed checkpoint, and answer two questions.

    claims    rows of T + 1 tokens -> the loss of each of their T targets, in nats
    logits    rows of T tokens, and one position of each -> the logits there

Started by evaluate.py as `python -m nanochat_core.producer JOB`. It shares its memory with the candidate, so what it
answers is a claim; verify.py finds out whether it is true. It sees the scored text, so from the first question on it
says in no words of its own what went wrong: only which of a few known things, and in which line.
"""

import json
import os
import sys
from pathlib import Path

from nanochat_core import wire
from nanochat_core.errors import is_out_of_memory

KNOWN = ("RuntimeError", "ValueError", "TypeError", "IndexError", "KeyError", "AttributeError", "AssertionError",
         "NameError", "ZeroDivisionError", "NotImplementedError", "StopIteration", "RecursionError", "ImportError",
         "OSError", "OverflowError", "SystemExit", "Exception")  # fmt: skip


def main(job):
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        model = Model(job)
        model.rehearse()
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        from nanochat_core.target import blame

        failure = blame(error, job["source"], "eval")
        wire.send(answers, {"outcome": failure.outcome, "message": failure.message[:2000]})
        return 1
    wire.send(answers, {"ready": True})
    try:
        while True:
            question = wire.receive(questions)
            rows = wire.read_array(questions, "uint16", question["rows"], question["width"])
            at = wire.read_array(questions, "int32", question["rows"]) if question["ask"] == "logits" else None
            found = model.claims(rows) if at is None else model.logits(rows, at)
            wire.send(answers, {"rows": len(found)}, found)
    except wire.Ended:
        return 0
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        wire.send(answers, without_words(error, job["source"]))
        return 1


def without_words(error, source):
    """What went wrong, as far as it can be said without a word that the candidate chose."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    kind = type(error).__name__
    return {
        "outcome": "oom-eval" if is_out_of_memory(error) else "assert",
        "kind": KNOWN.index(kind if kind in KNOWN else "Exception"),
        "line": frames[-1].lineno if frames else 0,
    }


class Model:
    """The candidate's model with the sealed weights, on its device."""

    def __init__(self, job):
        import torch
        from safetensors.torch import load_file

        from nanochat_core import run, target
        from nanochat_core.profiles import unpack

        profile = unpack(job["profile"])
        run.set_up(profile, job["threads"], seed=0)
        self.config = profile.config
        self.device, self.dtype = torch.device(profile.device), getattr(torch, profile.dtype)
        model = target.load(job["source"]).build_model(profile.config)
        # assign: the parameters take the checkpoint's dtypes, so the model computes as it did in training
        model.load_state_dict(load_file(job["checkpoint"]), assign=True)
        self.model = model.to(self.device).eval()

    def rehearse(self):
        """Answer once on tokens that mean nothing, while there is nothing to give away in an error's words."""
        import numpy as np

        T = self.config.sequence_len
        self.claims((np.arange(2 * (T + 1), dtype=np.uint16) % self.config.vocab_size).reshape(2, T + 1))

    def claims(self, rows):
        """Loss of each target in nats, (B, T) float32; rows: (B, T + 1)."""
        idx, targets = self._tensor(rows[:, :-1]), self._tensor(rows[:, 1:])
        with self._computing():
            nll = token_nll(self.model(idx), targets, self.config.vocab_size)
        return nll.cpu().numpy().astype("float32")

    def logits(self, rows, at):
        """Logits at one position of each row, (B, V) float32; rows: (B, T), at: (B,)."""
        import torch

        with self._computing():
            logits = self.model(self._tensor(rows))
        check_shape(logits, rows.shape, self.config.vocab_size)
        chosen = logits[torch.arange(len(rows), device=self.device), self._tensor(at)]
        return chosen.float().cpu().numpy()

    def _computing(self):
        import contextlib

        import torch

        stack = contextlib.ExitStack()
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32))
        return stack

    def _tensor(self, array):
        import torch

        return torch.from_numpy(array.astype("int64")).to(self.device)


def token_nll(logits, targets, vocab_size):
    """Cross-entropy of each target in nats, (B, T)."""
    import torch
    import torch.nn.functional as F

    check_shape(logits, targets.shape, vocab_size)
    with torch.autocast(logits.device.type, enabled=False):
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view_as(targets)


def check_shape(logits, shape, vocab_size):
    import torch

    expected = (*shape, vocab_size)
    assert torch.is_tensor(logits) and tuple(logits.shape) == expected, (
        f"forward(idx) must return logits of shape {expected}, not {tuple(getattr(logits, 'shape', ()))}"
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
