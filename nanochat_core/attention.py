"""One attention for every candidate: causal, with an exact window, on the fastest kernel that works here.

A window of w means what FlashAttention means by window_size=(w, 0): a query sees itself and up to w tokens before it.
Backends differ in speed, so the chosen one belongs to the fingerprint and numbers of two backends are never compared.
"""

from functools import cache

import torch
import torch.nn.functional as F


def attention(q, k, v, window):
    """Attend from q over k and v, all (B, T, H, D); k and v may have fewer heads."""
    q, k = q.to(v.dtype), k.to(v.dtype)  # QK-norm may have left float32 behind under autocast
    return _BACKENDS[_chosen](q, k, v, window)


def use(backend):
    """Take `backend` for the rest of this process."""
    global _chosen
    assert backend in _BACKENDS, f"unknown attention backend {backend!r}; known: {', '.join(_BACKENDS)}"
    _chosen = backend


def probe(device, dtype, sequence_len, head_dim):
    """Return the first backend that agrees with the plain one, forward and backward, on this very machine."""
    if torch.device(device).type != "cuda":
        return "sdpa"
    for backend in ("fa3", "fa4", "flex"):
        try:
            if _agrees(backend, device, dtype, sequence_len, head_dim):
                return backend
        except Exception as error:  # a missing wheel, a missing kernel, a compiler that is not there: try the next one
            print(f"attention: {backend} is not usable here ({type(error).__name__})")
    return "sdpa"


def _agrees(backend, device, dtype, sequence_len, head_dim):
    for window in (sequence_len, sequence_len // 2):
        generator = torch.Generator(device).manual_seed(0)
        qkv = [
            torch.randn(2, sequence_len, 2, head_dim, device=device, dtype=dtype, generator=generator) for _ in range(3)
        ]
        results = []
        for function in (_BACKENDS[backend], _sdpa):
            leaves = [x.clone().requires_grad_() for x in qkv]
            y = function(*leaves, window)
            y.float().square().sum().backward()
            results.append([y, *(x.grad for x in leaves)])
        for ours, plain in zip(*results, strict=True):
            if not torch.allclose(ours.float(), plain.float(), atol=5e-2, rtol=5e-2):
                return False
    return True


# ----------------------------------------------------------------------------------------------------------------------
# Backends: (B, T, H, D) in, (B, T, H, D) out


def window_mask(T, window, device):
    """(T, T), true where row i may look at column j: i - window <= j <= i."""
    i = torch.arange(T, device=device)
    distance = i[:, None] - i[None, :]
    return (distance >= 0) & (distance <= window)


_cached_mask = cache(window_mask)


def _sdpa(q, k, v, window):
    T = q.size(1)
    full = window >= T - 1
    if full:
        mask = None
    elif torch.compiler.is_compiling():
        mask = window_mask(T, window, q.device)  # folded into a constant by the compiler
    else:
        mask = _cached_mask(T, window, q.device)
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),  # (B, H, T, D)
        attn_mask=mask, is_causal=full, enable_gqa=q.size(2) != k.size(2),
    )  # fmt: skip
    return y.transpose(1, 2)


def _flex(q, k, v, window):
    from torch.nn.attention.flex_attention import flex_attention

    function = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    y = function(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
        block_mask=_block_mask(q.size(1), window, str(q.device)), enable_gqa=q.size(2) != k.size(2),
    )  # fmt: skip
    return y.transpose(1, 2)


@cache
def _compiled_flex():
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@cache
def _block_mask(T, window, device):
    from torch.nn.attention.flex_attention import create_block_mask

    def visible(b, h, i, j):
        return (i >= j) & (i - j <= window)

    return create_block_mask(visible, None, None, T, T, device=device)


def _flash(function, q, k, v, window):
    left = -1 if window >= q.size(1) - 1 else window
    y = function(q, k, v, causal=True, window_size=(left, 0 if left >= 0 else -1))
    return y[0] if isinstance(y, tuple) else y


def _fa3(q, k, v, window):
    from flash_attn_interface import flash_attn_func

    return _flash(flash_attn_func, q, k, v, window)


def _fa4(q, k, v, window):
    from flash_attn.cute import flash_attn_func

    left = None if window >= q.size(1) - 1 else window
    y = flash_attn_func(q, k, v, causal=True, window_size=(left, None if left is None else 0))
    return y[0] if isinstance(y, tuple) else y


_BACKENDS = {"sdpa": _sdpa, "flex": _flex, "fa3": _fa3, "fa4": _fa4}
_chosen = "sdpa"
