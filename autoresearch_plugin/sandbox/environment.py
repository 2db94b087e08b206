"""The environment variables a training command gets: an allow-list, never the user's.

A candidate's code can print what it sees, and its log goes into prompts, reports and
the ledger. So a variable passes only when a training needs it, and never when its name
looks like a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ALWAYS = re.compile(
    r"""PATH | HOME | USER | LOGNAME | LANG | LANGUAGE | LC_\w+ | TZ
    | PYTHONPATH | VIRTUAL_ENV | CONDA_PREFIX | LD_LIBRARY_PATH | DYLD_LIBRARY_PATH
    | CUDA_\w+ | CUBLAS_\w+ | CUDNN_\w+ | NVIDIA_\w+ | NCCL_\w+
    | ROCR_\w+ | HSA_\w+ | MIOPEN_\w+
    | TORCH_\w+ | TORCHINDUCTOR_\w+ | PYTORCH_\w+ | TRITON_\w+
    | OMP_\w+ | MKL_\w+ | KMP_\w+ | GOMP_\w+ | OPENBLAS_\w+
    | HF_\w+ | XDG_CACHE_HOME | TIKTOKEN_CACHE_DIR""",
    re.VERBOSE,
)

_DOWNLOADS = re.compile(
    r"(?:HTTPS?|ALL|NO)_PROXY | SSL_CERT_(?:FILE|DIR) | \w+_CA_BUNDLE",
    re.VERBOSE | re.IGNORECASE,
)

_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|(?:^|_)KEYS?(?:_|$)|APIKEY",
    re.IGNORECASE,
)

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
        if not _SECRET.search(name)
        and (_ALWAYS.fullmatch(name) or (downloads and _DOWNLOADS.fullmatch(name)))
    }


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
