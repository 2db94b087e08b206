"""The checkpoint as the fixed side sees it: a header to be checked and bytes to be copied, never objects to be loaded.

Format: https://huggingface.co/docs/safetensors (8 bytes length, a JSON header, the tensors one after the other).
"""

import json
import math
import os
import stat
import struct
from pathlib import Path

from nanochat_core.errors import Failure

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
         "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
MOST_BYTES = 8 << 30
MOST_HEADER = 4 << 20
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 16
CHUNK = 1 << 20


def seal(found, sealed):
    """Copy the checkpoint that a training left at `found` to `sealed`; return how many numbers it holds.

    Raises Failure("integrity") for a file that is anything but plain tensors.
    """
    sealed = Path(sealed)
    partial = sealed.with_name(sealed.name + ".partial")
    try:
        fd = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refused(f"it cannot be opened ({error.strerror})") from None
    try:
        count = values(fd)
        with open(partial, "wb") as file:
            while chunk := os.read(fd, CHUNK):
                file.write(chunk)
        partial.replace(sealed)
    except OSError as error:
        raise Failure("env", f"The checkpoint cannot be sealed: {error.strerror or error}.") from None
    finally:
        os.close(fd)
        partial.unlink(missing_ok=True)
    return count


def values(fd):
    """Check the header of an open safetensors file; return the number of values in it."""
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
        raise refused("it is not a plain file")
    if not 8 <= about.st_size <= MOST_BYTES:
        raise refused(f"it has {about.st_size} bytes")
    (length,) = struct.unpack("<Q", os.read(fd, 8))
    if length > MOST_HEADER or 8 + length > about.st_size:
        raise refused(f"its header claims {length} bytes")
    try:
        header = json.loads(os.read(fd, length), object_pairs_hook=without_repeats, parse_constant=no_number)
        header.pop("__metadata__", None)
        if len(header) > MOST_TENSORS:
            raise refused(f"it has {len(header)} tensors")
        spans = sorted(span(tensor) for tensor in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refused("its header cannot be read") from None
    end = 0
    for start, stop, _ in spans:
        if start != end:
            raise refused("its tensors overlap or leave gaps")
        end = stop
    if 8 + length + end != about.st_size:
        raise refused("there are bytes in it that belong to no tensor")
    os.lseek(fd, 0, os.SEEK_SET)
    return sum(count for _, _, count in spans)


def span(tensor):
    start, stop = tensor["data_offsets"]
    shape, size = tensor["shape"], SIZES[tensor["dtype"]]
    if len(shape) > MOST_DIMENSIONS or not all(type(x) is int and 0 <= x <= 1 << 40 for x in (start, stop, *shape)):
        raise ValueError(shape)
    count = math.prod(shape)
    if stop - start != count * size:
        raise ValueError(tensor)
    return start, stop, count


def without_repeats(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def no_number(word):
    raise ValueError(word)


def refused(why):
    return Failure("integrity", f"the checkpoint is not what run.save writes: {why}. Save with run.save(model) only.")
