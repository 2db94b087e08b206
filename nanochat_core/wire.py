"""What fixed code and a process with a candidate in it say to each other: JSON lines, and rows of tokens after some.

Both directions are input from outside for the fixed side: it reads no line beyond LONGEST and believes no key.
"""

import json
import os
import select
import time

import numpy as np

LONGEST = 8192  # bytes of a line


class Ended(Exception):
    """The other side is gone, or says what cannot be understood."""


class Silent(Exception):
    """The other side said nothing in the time that it had."""


def send(file, words, *arrays):
    """Write one line, and the bytes of arrays that it speaks of."""
    file.write(json.dumps(words).encode() + b"\n")
    for array in arrays:
        file.write(np.ascontiguousarray(array).tobytes())
    file.flush()


def receive(file):
    """Read one line: a dictionary."""
    line = file.readline(LONGEST)
    if not line.endswith(b"\n"):
        raise Ended(line)
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        raise Ended(line) from None
    if not isinstance(words, dict):
        raise Ended(line)
    return words


def read_array(file, dtype, *shape):
    """Read an array of that shape."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = bytearray()
    while len(raw) < size:
        chunk = file.read(size - len(raw))
        if not chunk:
            raise Ended(f"{len(raw)} bytes of {size}")
        raw += chunk
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


class Reader:
    """The reading end of a pipe whose other end is not trusted: lines have an end, and so has waiting.

    `seconds` of its methods is None for "as long as it takes". They raise Silent after that time and Ended when the
    other side is gone.
    """

    def __init__(self, file):
        self._fd, self._waiting = file.fileno(), bytearray()

    def receive(self, seconds=None):
        """The next line, a dictionary. Raises ValueError for anything else."""
        end = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._waiting:
            if len(self._waiting) > LONGEST:
                raise ValueError("a line without an end")
            self._more(end)
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting = bytearray(rest)
        try:
            words = json.loads(line) if len(line) <= LONGEST else None
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, dict):
            raise ValueError(repr(line[:60].decode(errors="replace")))
        return words

    def array(self, dtype, shape, seconds=None):
        """The next bytes, as an array of that shape."""
        end = None if seconds is None else time.monotonic() + seconds
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        while len(self._waiting) < size:
            self._more(end)
        raw, self._waiting = self._waiting[:size], self._waiting[size:]
        return np.frombuffer(raw, dtype=dtype).reshape(shape)

    def rest(self, seconds):
        """Whether the other side says anything else before it ends."""
        try:
            end = time.monotonic() + seconds
            while not self._waiting:
                self._more(end)
        except (Ended, Silent):
            return False
        return True

    def _more(self, end):
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([self._fd], [], [], left)[0]:
            raise Silent
        chunk = os.read(self._fd, 1 << 20)
        if not chunk:
            raise Ended(bytes(self._waiting[:100]))
        self._waiting += chunk
