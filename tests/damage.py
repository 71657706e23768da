"""What can happen to a file while nobody looks: for the tests of damaged checkpoints, one of each or thousands."""

import numpy as np


def cut_off(path, rng):
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(1, len(data))])


def emptied(path, rng):
    path.write_bytes(b"")


def one_bit(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def a_part_overwritten(path, rng):
    """With zeros or with noise, as a disk may; never with what was there."""
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    before = data.copy()
    while (data == before).all():
        start = int(rng.integers(len(data)))
        part = data[start : start + int(rng.integers(1, 4097))]
        part[:] = rng.integers(256, size=part.size) if rng.random() < 0.5 else 0
    path.write_bytes(data.tobytes())


def all_overwritten(path, rng):
    path.write_bytes(rng.bytes(path.stat().st_size))


def another_file(path, rng):
    path.write_text("hello")


def lengthened(path, rng):
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 100))))


def missing(path, rng):
    path.unlink()


DAMAGES = {f.__name__.replace("_", " "): f for f in (
    cut_off, emptied, one_bit, a_part_overwritten, all_overwritten, another_file, lengthened, missing,
)}  # fmt: skip
