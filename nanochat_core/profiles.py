"""Sizes of the experiment. A profile says how big the model starts, how long a run is, and what is scored.

`tiny` proves that everything works, `cpu` is for finding something without a GPU, `gpu` is autoresearch's own size with
`gpu24`, `gpu12` and `gpu8` below it for smaller cards; `auto` takes the largest that fits.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nanochat_core.errors import Failure


@dataclass(frozen=True)
class Config:
    """What a candidate may know about the experiment: `run.config`, and the argument of `build_model`."""

    vocab_size: int
    sequence_len: int
    depth: int  # layers; width follows: depth * aspect_ratio, rounded up to whole heads
    aspect_ratio: int
    head_dim: int
    total_batch_size: int  # tokens per optimizer step
    device_batch_size: int  # sequences per forward pass
    compile: bool = False  # whether torch.compile pays here


@dataclass(frozen=True)
class Profile:
    name: str
    config: Config
    device: str
    budget: dict  # {"unit": "steps" | "seconds", "amount": number}
    eval_tokens: int
    eval_batch_size: int
    noise: dict  # prior: sd / metric of one run and of one paired difference, and its weight in degrees of freedom
    limits: dict  # wall-clock seconds by phase
    interim_tokens: int = 0  # of the training text: kept for scores in mid-run
    charged: bool = False  # candidates pay for slower steps
    warm_up_steps: int = 2
    dtype: str = "float32"
    backend: str = "sdpa"  # attention
    device_name: str = "cpu"
    words: list = field(default_factory=list)  # how the profile was chosen, for a human


LIMITS = {"start": 120, "prepare": 600, "warmup": 120, "train": 600, "save": 60, "evaluate": 300, "verify": 600}

# 20 steps. The noise of one run is the spread of 8 seeds, rounded up.
TINY = Profile(
    "tiny", Config(1024, 64, depth=2, aspect_ratio=16, head_dim=16, total_batch_size=512, device_batch_size=8), "cpu",
    {"unit": "steps", "amount": 20}, eval_tokens=4096, eval_batch_size=32, interim_tokens=2048,
    noise={"unpaired": 0.015, "paired": 0.005, "df": 4}, limits=LIMITS, warm_up_steps=1,
)  # fmt: skip

# About 30 CPU-seconds of training. The prior of the noise comes from 6 seeds and 19 changes x 4 seeds.
CPU = Profile(
    "cpu", Config(1024, 128, depth=3, aspect_ratio=21, head_dim=32, total_batch_size=1024, device_batch_size=8), "cpu",
    {"unit": "steps", "amount": 700}, eval_tokens=65_536, eval_batch_size=32, interim_tokens=16_384,
    noise={"unpaired": 0.005, "paired": 0.0016, "df": 4}, limits=LIMITS, charged=True,
)  # fmt: skip

# autoresearch's own size: five minutes, 2**19 tokens a step, at most 128 sequences of 2048 in one forward pass.
GPU = Profile(
    "gpu", Config(8192, 2048, depth=8, aspect_ratio=64, head_dim=128, total_batch_size=2**19, device_batch_size=128,
                  compile=True), "cuda",
    {"unit": "seconds", "amount": 300}, eval_tokens=40 * 2**19, eval_batch_size=16, interim_tokens=2**20,
    noise={"unpaired": 3.5e-4, "paired": 5e-4, "df": 4},  # pairing by seed gains nothing under a clock: sqrt(2) larger
    limits={"start": 120, "prepare": 7200, "warmup": 600, "train": 330, "save": 60, "evaluate": 300, "verify": 300},
    warm_up_steps=10,
)  # fmt: skip


def _smaller(name, **changes):
    return replace(GPU, name=name, config=replace(GPU.config, **changes), eval_tokens=2**21, interim_tokens=2**18)


FAMILY = {  # profile: GiB of free memory that it needs
    "gpu": (GPU, 36),
    "gpu24": (_smaller("gpu24", total_batch_size=2**17, device_batch_size=32), 20),
    "gpu12": (_smaller("gpu12", sequence_len=1024, depth=6, total_batch_size=2**16, device_batch_size=32), 10),
    "gpu8": (_smaller("gpu8", sequence_len=512, depth=4, total_batch_size=2**15, device_batch_size=32), 0),
}
NAMES = ("auto", "tiny", "cpu", *FAMILY)

PEAK_FLOPS = {  # dense bf16, by the vendor's data sheets; a card that is not here has no MFU
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
    "NVIDIA GeForce RTX 3090": 71e12,
}


def resolve(name, device=None):
    """Return the profile called `name`, measured on this machine where it depends on the machine. Imports torch for a
    GPU only."""
    if name not in NAMES:
        raise Failure("env", f"There is no profile {name!r}; choose one of {', '.join(NAMES)}.")
    if name in ("tiny", "cpu"):
        return replace(TINY if name == "tiny" else CPU, device_name=_cpu_name())
    import torch

    if not torch.cuda.is_available():
        if name == "auto":
            return resolve("cpu")
        raise Failure("env", f"Profile {name!r} needs a CUDA device and torch sees none; use --profile cpu.")
    if device == "cpu":
        if name == "auto":
            return resolve("cpu")
        raise Failure("env", f"Profile {name!r} cannot run with device 'cpu'; use --profile cpu.")
    return _on_cuda(name)


def _on_cuda(name):
    import torch

    from nanochat_core import attention

    free = torch.cuda.mem_get_info()[0] / 2**30
    if name == "auto":
        name = next(n for n, (_, needed) in FAMILY.items() if free >= needed)
    profile = FAMILY[name][0]
    c = profile.config
    # autoresearch reports 44 GiB for 128 x 2048 tokens at width 512; logits and activations both grow with the tokens.
    per_sequence = 0.36 * (c.sequence_len / 2048) * (c.depth / 8)
    fits = max(1, int((0.9 * free - 2.0) / per_sequence))
    batch = min(c.device_batch_size, 1 << (fits.bit_length() - 1))
    dtype = _usable_dtype()
    backend = attention.probe("cuda", getattr(torch, dtype), c.sequence_len, c.head_dim)
    return replace(
        profile, config=replace(c, device_batch_size=batch), dtype=dtype, backend=backend,
        eval_batch_size=max(1, min(profile.eval_batch_size, batch)), device_name=torch.cuda.get_device_name(),
        words=[f"{free:.1f} GiB free: {batch} sequences a pass, {dtype}, attention {backend}"],
    )  # fmt: skip


def _usable_dtype():
    """bfloat16 if a small real training step works in it and is not slower than float32: no list of card names."""
    import time

    import torch

    def seconds(dtype):
        x = torch.randn(2048, 2048, device="cuda", dtype=dtype, requires_grad=True)
        (x @ x).float().square().mean().backward()  # once for the libraries to load
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(5):
            y = (x @ x).float().square().mean()
            y.backward()
        torch.cuda.synchronize()
        assert bool(torch.isfinite(y))
        return time.perf_counter() - start

    try:
        return "bfloat16" if seconds(torch.bfloat16) <= 1.1 * seconds(torch.float32) else "float32"
    except (RuntimeError, AssertionError):
        return "float32"


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


def store(profile, path):
    """Write a resolved profile down, so that every trial of a session runs the same one."""
    path = Path(path)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(asdict(profile), indent=1), encoding="utf-8")
    partial.replace(path)


def load(path):
    """Read what `store` wrote."""
    return unpack(json.loads(Path(path).read_text(encoding="utf-8")))


def unpack(fields):
    """The profile that `dataclasses.asdict` took apart."""
    return Profile(**{**fields, "config": Config(**fields["config"])})
