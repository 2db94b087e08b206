"""The environment variables a training command gets: an allow-list, never the user's.

A candidate's code can print what it sees, and its log goes into prompts, reports and
the ledger. So a variable passes only when a training needs it, and never when its name
looks like a secret. (No regular expressions here: the sandbox starts in the time that
importing them takes.)
"""

from __future__ import annotations

from autoresearch_plugin.sandbox.quick import MYPY

if MYPY:
    from collections.abc import Mapping

_NAMES = """
    PATH HOME USER LOGNAME LANG LANGUAGE TZ PYTHONPATH VIRTUAL_ENV CONDA_PREFIX
    LD_LIBRARY_PATH DYLD_LIBRARY_PATH XDG_CACHE_HOME TIKTOKEN_CACHE_DIR
"""
_PREFIXES = """
    LC_ CUDA_ CUBLAS_ CUDNN_ NVIDIA_ NCCL_ HIP_ ROCR_ HSA_ MIOPEN_ TORCH_
    TORCHINDUCTOR_ PYTORCH_ TRITON_ OMP_ MKL_ KMP_ GOMP_ OPENBLAS_ HF_
"""
_DOWNLOADS = "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR"
_SECRETS = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH", "COOKIE", "APIKEY")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)


def environment(
    environ: Mapping[str, str], *, downloads: bool = False
) -> dict[str, str]:
    """The variables of `environ` that a training command may see.

    With `downloads` (the `describe` phase, which fetches the data and runs no
    candidate) proxies and certificates pass too. API keys, tokens and the like never
    do, whatever else their names match.
    """
    return {
        name: value
        for name, value in environ.items()
        if not _is_secret(name.upper())
        and (_is_known(name) or (downloads and _is_for_downloads(name.upper())))
    }


def _is_known(name: str) -> bool:
    return name in _NAMES.split() or (
        name.startswith(tuple(_PREFIXES.split()))
        and not name.endswith("_")
        and name.replace("_", "").isalnum()
    )


def _is_for_downloads(name: str) -> bool:
    return name in _DOWNLOADS.split() or name.endswith("_CA_BUNDLE")


def _is_secret(name: str) -> bool:
    return any(word in name for word in _SECRETS) or bool(
        {"KEY", "KEYS"}.intersection(name.split("_"))
    )


def fixed(threads: int, private: str) -> dict[str, str]:
    """What is set for each run, whatever the user has set.

    `private` is a directory of this run alone: temporary files and compile caches go
    there, because caches shared by parallel lanes race. A fixed hash seed keeps the
    order of sets, and so the run, repeatable.
    """
    return {
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "TMPDIR": private,
        "TORCHINDUCTOR_CACHE_DIR": f"{private}/inductor",
        "TRITON_CACHE_DIR": f"{private}/triton",
        "CUDA_CACHE_PATH": f"{private}/cuda",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONHASHSEED": "0",
    }
