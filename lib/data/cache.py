"""Decoded images on disk: ten thousand files are decoded once, and a set may exceed memory.

A cache file is named by what it was made from (a listing of files, the image size, the
split) and lies under data/cache whatever the root. It holds the images' bytes, written as
they are decoded, then JSON (all else that is known, and a checksum), then the JSON's length
in 8 bytes. It is written aside, then renamed; a damaged or foreign file is made anew. Large
sets are mapped into memory (see `lib.mapped`).

A cache may cost time, never a run: where it cannot be read, written or locked (a full disk,
a folder without permission), the images are decoded into memory, with a warning.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, PositiveInt

from lib.data.registry import Images
from lib.files import DATA, only_one, replace_file
from lib.mapped import parts, stored
from lib.shapes import Bytes

FOLDER = DATA / "cache"
ENDING = 8  # bytes that hold the length of the JSON before them


class Details(BaseModel):
    """What is known of a set that was decoded, beside its images."""

    labels: list[int] | None
    classes: tuple[str, ...]
    variant: str
    sha256: str
    licence: str
    citation: str
    skipped: tuple[str, ...] = ()

    def beside(self, images: Bytes) -> Images:
        """The set, of these details and its images."""
        known = {name: getattr(self, name) for name in type(self).model_fields}
        labels = None if self.labels is None else torch.tensor(self.labels)
        return Images(images=images, **(known | {"labels": labels}))


class Ending(BaseModel):
    """What stands behind the images in a cache file."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]  # as Images.images
    details: Details
    checksum: str  # sha256 of the bytes and of the rest of this


Keep = Callable[[np.ndarray], None]  # takes each image, uint8 [channels, height, width]
Decode = Callable[[Keep], Details]  # hands over the images one by one, and tells the rest


def cached(made_from: object, decode: Decode) -> Images:
    """The images that `decode` gives, from the cache where they lie there.

    `made_from` is JSON data. Raises what `decode` raises.
    """
    name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
    file = FOLDER / f"{name}.images"
    found = read_whole(file)
    if found is not None:
        return found
    try:
        return make(file, decode)
    except OSError as error:
        warnings.warn(
            f"decoded images stay in memory and are decoded again next time: "
            f"the cache {FOLDER} cannot be used ({error})",
            stacklevel=2,
        )
        return in_memory(decode)


def make(file: Path, decode: Decode) -> Images:
    """Write a cache file and read it. Raises OSError where the disk refuses."""
    with only_one(file):  # others that ask for the same images wait for them
        found = read_whole(file)
        if found is not None:
            return found
        for left in FOLDER.glob(f"{file.name}.*.tmp"):  # by a kill
            left.unlink(missing_ok=True)
        replace_file(file, lambda aside: write(aside, decode))
        found = read_whole(file)
    if found is None:
        raise OSError("what was written there is not what is read")
    return found


def in_memory(decode: Decode) -> Images:
    """The images without a cache."""
    arrays: list[np.ndarray] = []
    details = decode(arrays.append)
    return details.beside(torch.from_numpy(np.stack(arrays)))


def read_whole(file: Path) -> Images | None:
    """A cache file's images; None where it is absent, out of reach, damaged or foreign."""
    try:
        return read(file)
    except (OSError, ValueError, RecursionError):
        return None


def write(file: Path, decode: Decode) -> None:
    """Images as they are decoded, then all else."""
    digest = hashlib.sha256()
    count = 0
    shape = (0, 0, 0)
    with file.open("wb") as out:

        def keep(image: np.ndarray) -> None:
            nonlocal count, shape
            content = np.ascontiguousarray(image).data
            out.write(content)
            digest.update(content)
            count += 1
            shape = image.shape

        details = decode(keep)
        ending = Ending(shape=(count, *shape), details=details, checksum="")
        text = text_of(ending.model_copy(update={"checksum": checksum(digest, ending)}))
        out.write(text + len(text).to_bytes(ENDING, "little"))


def read(file: Path) -> Images:
    """What `write` wrote. Raises OSError, and ValueError or RecursionError for anything else."""
    with file.open("rb") as opened:
        before = max(0, opened.seek(0, 2) - ENDING)
        opened.seek(before)
        length = min(before, int.from_bytes(opened.read(), "little"))
        opened.seek(before - length)
        ending = Ending.model_validate(json.loads(opened.read(length)))
    images = stored(file, ending.shape)
    digest = hashlib.sha256()
    for part in parts(images):
        digest.update(part.numpy())
    if checksum(digest, ending) != ending.checksum:
        raise ValueError(f"{file} does not match its own checksum")
    return ending.details.beside(images)


def checksum(digest: Any, ending: Ending) -> str:
    """Over the images, which `digest` (of hashlib) has seen, and all else."""
    digest.update(text_of(ending.model_copy(update={"checksum": ""})))
    return digest.hexdigest()


def text_of(ending: Ending) -> bytes:
    """As ASCII, since names of files need not be valid text, which pydantic's JSON refuses."""
    return json.dumps(ending.model_dump()).encode("ascii")
