"""The model's side of the score: load the candidate and its checkpoint, write the nll of every scored token.

Started by evaluate.py as `python -m nanochat_core.producer JOB`; nothing it says is believed beyond those numbers.
"""

import json
import sys
from pathlib import Path


def main(job):
    try:
        produce(job)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        from nanochat_core.target import blame

        failure = blame(error, job["source"], "eval")
        words = json.dumps({"outcome": failure.outcome, "message": failure.message})
        Path(job["error"]).write_text(words, encoding="utf-8")
        return 1
    return 0


def produce(job):
    import numpy as np
    import torch
    from safetensors.torch import load_file

    from nanochat_core import run, target
    from nanochat_core.profiles import Config, Profile

    profile = Profile(**{**job["profile"], "config": Config(**job["profile"]["config"])})
    run.set_up(profile, job["threads"], seed=0)
    device, dtype = torch.device(profile.device), getattr(torch, profile.dtype)
    module = target.load(job["source"], job["source_sha256"])
    model = module.build_model(profile.config)
    # assign: the parameters take the checkpoint's dtypes, so the model computes as it did in training
    model.load_state_dict(load_file(job["checkpoint"]), assign=True)
    model.to(device).eval()
    windows, batch_size = np.load(job["tokens"]), job["batch_size"]  # (N, T + 1)
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with torch.no_grad(), autocast, open(job["nll"], "wb") as file:
        for start in range(0, len(windows), batch_size):
            rows = torch.from_numpy(windows[start : start + batch_size].astype(np.int64)).to(device)
            idx, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
            nll = token_nll(model(idx), targets, profile.config.vocab_size)
            file.write(nll.cpu().numpy().astype(np.float32).tobytes())


def token_nll(logits, targets, vocab_size):
    """Cross-entropy of each target in nats, (B, T): by this code, not by the candidate's."""
    import torch
    import torch.nn.functional as F

    expected = (*targets.shape, vocab_size)
    assert torch.is_tensor(logits) and tuple(logits.shape) == expected, (
        f"forward(idx) must return logits of shape {expected}, not {tuple(getattr(logits, 'shape', ()))}"
    )
    with torch.autocast(logits.device.type, enabled=False):
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view_as(targets)


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
