"""A score in mid-run, on rows that are cut from the training text: whoever loses badly by then need not finish.

It is taken in the candidate's own process, so it may be a lie. A lie makes no keep: it avoids a stop.
"""

import random

import numpy as np
import torch

from nanochat_core.data import bits_per_byte
from nanochat_core.producer import token_nll


def score(profile, model, windows, lengths):
    """Bits per byte of the model as it is, which is left as it was; None if it cannot be had, NaN included.

    windows: (N, T + 1) tokens; lengths: (N, T) bytes of each target.
    """
    model = getattr(model, "_orig_mod", model)  # compiled for training: another shape would compile it again
    before = RandomState()
    training = [(module, module.training) for module in model.modules()]
    buffers = [(x, x.detach().clone()) for x in model.buffers()]
    model.eval()
    try:
        return bits_per_byte(np.concatenate(list(_nll(profile, model, windows))), lengths)
    except Exception as error:  # the candidate's forward; training may well work without
        print(f"no interim score: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return None
    finally:
        for module, was in training:
            module.training = was
        with torch.no_grad():
            for x, kept in buffers:
                x.copy_(kept)
        before.restore()


@torch.no_grad()
def _nll(profile, model, windows):
    device, dtype = torch.device(profile.device), getattr(torch, profile.dtype)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for start in range(0, len(windows), profile.eval_batch_size):
            rows = torch.from_numpy(windows[start : start + profile.eval_batch_size].astype(np.int64)).to(device)
            nll = token_nll(model(rows[:, :-1].contiguous()), rows[:, 1:].contiguous(), profile.config.vocab_size)
            yield nll.float().cpu().numpy()


class RandomState:
    """All random generators that a training may draw from, to be put back."""

    def __init__(self):
        self.python, self.numpy, self.torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self):
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
