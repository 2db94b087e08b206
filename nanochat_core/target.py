"""Load the file that candidates change, and say in one sentence what is wrong with it."""

import hashlib
import sys
import traceback
import types
from pathlib import Path

from nanochat_core.errors import Failure, is_out_of_memory


def load(source, sha256=None):
    """Run the target as a module and return it. What is hashed is what runs: the file is read once."""
    path = Path(source)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Failure("env", f"{path} cannot be read: {error.strerror}.") from None
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256:
        raise Failure("env", f"{path} has sha256 {found[:12]}, the spec says {sha256[:12]}: it changed meanwhile.")
    try:
        code = compile(raw, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        raise Failure("syntax", f"{path.name}: {where}{getattr(error, 'msg', error)}") from None
    module = types.ModuleType("nanochat_target")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise Failure("import", describe(error, path)) from None
    for name in ("build_model", "train"):
        if not callable(getattr(module, name, None)):
            raise Failure("import", f"{path.name} defines no function {name}.")
    return module


def blame(error, source, phase):
    """Turn what the target raised in `phase` ("train" or "eval") into a Failure; prints the traceback to the log."""
    if isinstance(error, Failure):
        return error
    traceback.print_exception(error)
    message = describe(error, Path(source))
    if is_out_of_memory(error):
        return Failure(f"oom-{phase}", message)
    return Failure("import" if isinstance(error, ImportError) else "assert", message)


def describe(error, path):
    """`RuntimeError: shapes differ (train.py:120, forward)`: the innermost line of the target itself."""
    first = " ".join(line.strip() for line in str(error).strip().splitlines()[:3])[:500]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    where = f" ({path.name}:{frames[-1].lineno}, {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}{': ' if first else ''}{first}{where}"
