"""The checkpoint that a candidate left, and the pipe that it writes to: bytes from outside, never objects."""

import contextlib
import json
import os
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nanochat_core import checkpoint, wire
from nanochat_core.errors import Failure

STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "none": torch.zeros(0)}


def built(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(start, stop, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


ONE = {"a": tensor(0, 8, [2])}
HOSTILE = {
    "empty": (b"", "it has 0 bytes"),
    "seven bytes": (b"1234567", "it has 7 bytes"),
    "pickle": (pickle.dumps({"a": print}) * 9, "its header claims"),
    "zip": (b"PK\x03\x04" + bytes(100), "its header claims"),
    "header of 2**60": (built(ONE, bytes(8), 2**60), "its header claims 1152921504606846976 bytes"),
    "header longer than the file": (built(ONE, b"", 99), "its header claims 99 bytes"),
    "no JSON": (built(b"{'a': 1}"), "cannot be read"),
    "not UTF-8": (built(b"\xff\xfe\xff\xff\xff"), "cannot be read"),
    "200,000 deep": (built(b"[" * 200_000), "cannot be read"),
    "deep objects": (built(b'{"a":' * 50_000), "cannot be read"),
    "a list": (built([ONE]), "cannot be read"),
    "a number": (built(b"3"), "cannot be read"),
    "a name twice": (built(b'{"a": {}, "a": {}}'), "cannot be read"),
    "NaN": (built({"a": tensor(0, float("nan"), [2])}, bytes(8)), "cannot be read"),
    "fractions": (built({"a": tensor(0, 8.0, [2])}, bytes(8)), "cannot be read"),
    "True": (built({"a": tensor(0, 4, [True])}, bytes(4)), "cannot be read"),
    "negative": (built({"a": tensor(-8, 0, [2])}, bytes(8)), "cannot be read"),
    "negative shape": (built({"a": tensor(0, 8, [-1, -2])}, bytes(8)), "cannot be read"),
    "shape overflows": (built({"a": tensor(0, 8, [2**40, 2**40, 2**40])}, bytes(8)), "cannot be read"),
    "shape without end": (built({"a": tensor(0, 8, [2**40] * 100_000)}, bytes(8)), "cannot be read"),
    "shape of words": (built({"a": tensor(0, 8, "22")}, bytes(8)), "cannot be read"),
    "unknown dtype": (built({"a": tensor(0, 8, [2], "OBJECT")}, bytes(8)), "cannot be read"),
    "dtype is a list": (built({"a": tensor(0, 8, [2], [])}, bytes(8)), "cannot be read"),
    "size and shape differ": (built({"a": tensor(0, 8, [3])}, bytes(8)), "cannot be read"),
    "three offsets": (built({"a": {**ONE["a"], "data_offsets": [0, 4, 8]}}, bytes(8)), "cannot be read"),
    "overlap": (built({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)), "overlap or leave gaps"),
    "gap": (built({"a": tensor(0, 8, [2]), "b": tensor(12, 20, [2])}, bytes(20)), "overlap or leave gaps"),
    "bytes after": (built(ONE, bytes(9)), "belong to no tensor"),
    "bytes missing": (built(ONE, bytes(7)), "belong to no tensor"),
    "20,001 tensors": (built({str(i): tensor(0, 0, [0]) for i in range(20_001)}), "20001 tensors"),
}  # fmt: skip


@pytest.fixture
def sealed(tmp_path):
    """Seal `found`; whatever happens leaves nothing half done."""

    def seal(found):
        target = tmp_path / "sealed" / "model.safetensors"
        target.parent.mkdir(exist_ok=True)
        count_before = len(list(Path("/proc/self/fd").iterdir()))
        try:
            count = checkpoint.seal(found, target)
        except Failure:
            assert list(target.parent.iterdir()) == []
            raise
        finally:
            assert len(list(Path("/proc/self/fd").iterdir())) == count_before
        assert [path.name for path in target.parent.iterdir()] == [target.name]
        return count, target

    return seal


def refused(seal, found):
    with pytest.raises(Failure) as caught:
        seal(found)
    assert caught.value.outcome == "integrity"
    return caught.value.message


def test_plain_tensors_are_copied(tmp_path, sealed):
    """Byte for byte, and counted."""
    save_file(STATE, tmp_path / "found", {"format": "pt"})
    count, target = sealed(tmp_path / "found")
    assert count == 10
    assert target.read_bytes() == (tmp_path / "found").read_bytes()
    assert set(load_file(target)) == set(STATE)


@pytest.mark.parametrize(("raw", "why"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused(tmp_path, sealed, raw, why):
    """With a reason, in no time, and without loading anything."""
    (tmp_path / "found").write_bytes(raw)
    assert why in refused(sealed, tmp_path / "found")


def test_what_is_no_plain_file_is_refused(tmp_path, sealed):
    """A link of either kind, a pipe, a socket, a directory, a device, nothing at all: none of them is waited for."""
    good = tmp_path / "good"
    save_file(STATE, good)
    (tmp_path / "symbolic").symlink_to(good)
    assert "cannot be opened" in refused(sealed, tmp_path / "symbolic")
    assert "cannot be opened" in refused(sealed, tmp_path / "missing")
    os.link(good, tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
        assert "cannot be opened" in refused(sealed, tmp_path / "socket")
    for path in (tmp_path / "hard", tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/null"):
        assert "not a plain file" in refused(sealed, path)


def test_a_full_disk_is_not_the_candidates_fault(tmp_path, sealed):
    """A checkpoint that cannot be sealed is `env`."""
    save_file(STATE, tmp_path / "found")
    with pytest.raises(Failure) as caught:
        checkpoint.seal(tmp_path / "found", tmp_path / "missing" / "model")
    assert caught.value.outcome == "env"


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_or_refused(tmp_path_factory, raw):
    """Whatever a file holds, nothing but Failure is raised."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(raw)
    with contextlib.suppress(Failure):
        checkpoint.seal(path, path.with_name("sealed"))


# ----------------------------------------------------------------------------------------------------------------------
# wire.Reader


def reading(raw, use):
    """Have a Reader read `raw` from a pipe whose other end is closed."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as file:
        os.write(theirs, raw)
        os.close(theirs)
        return use(wire.Reader(file))


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"{}\n", b"[1]\n", b'{"a": NaN}\n', b"9" * 5000 + b"\n"]))
    )
)
def test_any_bytes_are_words_or_refused(parts):
    """Whatever is written to the pipe: dictionaries, or one of three errors."""

    def use(reader):
        while True:
            assert isinstance(reader.receive(1.0), dict)

    with pytest.raises((wire.Ended, ValueError)):
        reading(b"".join(parts), use)


@given(st.binary(max_size=100), st.integers(0, 5), st.integers(0, 5))
def test_any_bytes_are_an_array_if_they_are_enough(raw, rows, columns):
    """Of the size that the reader expects, never of the size that the writer names."""
    if len(raw) >= 4 * rows * columns:
        found = reading(raw, lambda reader: reader.array(np.float32, (rows, columns), 1.0))
        assert found.tobytes() == raw[: 4 * rows * columns]
    else:
        with pytest.raises(wire.Ended):
            reading(raw, lambda reader: reader.array(np.float32, (rows, columns), 1.0))


@pytest.mark.parametrize(
    "raw", [b"x" * 20_000, b"{" + b" " * 9000 + b"}\n", b"[" * 8000 + b"\n", b"\xff\n", b"3\n", b"\n"]
)
def test_lines_that_are_no_words_are_value_errors(raw):
    """Too long with and without an end, too deep, no UTF-8, no object, nothing."""
    with pytest.raises(ValueError):
        reading(raw, lambda reader: reader.receive(1.0))


def test_who_says_nothing_is_silent():
    """When its time is over; and it has said nothing more, when it is asked for the rest."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as file, open(theirs, "wb"):
        reader = wire.Reader(file)
        with pytest.raises(wire.Silent):
            reader.receive(0.0)
        with pytest.raises(wire.Silent):
            reader.array(np.uint8, (1,), 0.0)
        assert not reader.rest(0.0)


def test_what_comes_together_is_read_apart():
    """Words, an array and words in one write."""

    def use(reader):
        return reader.receive(), reader.array(np.uint8, (3,)).tolist(), reader.receive(), reader.rest(0.0)

    assert reading(b'{"a": 1}\n\n\x01\x02{"b": 2}\nz', use) == ({"a": 1}, [10, 1, 2], {"b": 2}, True)
