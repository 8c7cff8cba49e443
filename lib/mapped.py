"""Images larger than memory: bytes of a file, mapped into memory.

A mapped tensor is read like any other (never written); the system fetches its pages when
they are touched and may forget them. Pages that were touched count as this process's memory
until `release` gives them back: whoever reads a set calls it now and then, `parts` does by
itself. Sets up to IN_MEMORY bytes are read and not mapped. All processes of a machine share
the pages of a mapped file.
"""

import math
import mmap
import warnings
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import torch
from jaxtyping import UInt8
from torch import Tensor

from lib.shapes import Bytes

IN_MEMORY = 512 * 2**20  # bytes of a set that is read as a whole
PART = 32 * 2**20  # bytes that are looked at in one go

mappings: WeakSet[mmap.mmap] = WeakSet()  # those in use


def stored(file: Path, shape: tuple[int, ...]) -> UInt8[Tensor, "..."]:
    """The first bytes of a file as a tensor of `shape`, mapped where they are many.

    Raises ValueError where there are too few, or OSError.
    """
    count = math.prod(shape)
    size = file.stat().st_size
    if count > size:
        raise ValueError(f"{file} has {size} bytes, and images {shape} take {count}")
    with file.open("rb") as opened:
        if count <= IN_MEMORY:
            content = bytearray(count)
            if opened.readinto(content) < count:
                raise ValueError(f"{file} became shorter while it was read: wait for who writes it")
            return torch.frombuffer(content, dtype=torch.uint8).view(shape)
        memory = mmap.mmap(opened.fileno(), count, access=mmap.ACCESS_READ)
    mappings.add(memory)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(memory, dtype=torch.uint8).view(shape)


def release() -> None:
    """Give back the memory of what was read from mapped files; a next touch reads it again."""
    for memory in mappings:
        if hasattr(memory, "madvise"):
            memory.madvise(mmap.MADV_DONTNEED)


def parts(images: Bytes) -> Iterator[UInt8[Tensor, "part channels height width"]]:
    """A set piece by piece, in order, each forgotten after it was used."""
    rows = max(1, PART // max(1, images[:1].nbytes))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]
        release()
