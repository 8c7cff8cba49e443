"""Decoded images kept on disk, so that ten thousand files are decoded once, and a set may be larger than memory.

A cache file is named by what it was made from (the list of files with sizes and
times, the image size, the split) and lies under data/cache whatever the root. It
holds the images' bytes, written as they are decoded, then JSON (all else that is
known, and a checksum), then the JSON's length in 8 bytes. Written aside, then
renamed; a damaged or foreign file is made anew. Large sets are mapped into memory
(see `mapped`).
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, PositiveInt

from lib.data.registry import Images
from lib.files import replace_file
from lib.locks import only_one
from lib.mapped import parts, stored
from lib.paths import DATA

FOLDER = DATA / "cache"
ENDING = 8  # bytes that hold the length of the JSON before them


class Details(BaseModel):
    """All fields of Images but the images."""

    labels: list[int] | None
    classes: tuple[str, ...]
    variant: str
    sha256: str
    licence: str
    citation: str
    skipped: tuple[str, ...] = ()

    def beside(self, images: torch.Tensor) -> Images:
        labels = None if self.labels is None else torch.tensor(self.labels)
        names = ("classes", "variant", "sha256", "licence", "citation", "skipped")
        return Images(images, labels, **{name: getattr(self, name) for name in names})


class Ending(BaseModel):
    """What stands behind the images in a cache file."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]  # count, channels, height, width
    details: Details
    checksum: str  # sha256 of the bytes and of the rest of this


Keep = Callable[[np.ndarray], None]
Decode = Callable[[Keep], Details]  # hands over each image, uint8 [channels, height, width], and tells the rest


def cached(made_from: object, decode: Decode) -> Images:
    """The images that `decode` gives, from the cache where they lie there. `made_from` is JSON data."""
    name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
    file = FOLDER / f"{name}.images"
    found = read_whole(file)
    if found is not None:
        return found
    try:
        with only_one(file):  # others that ask for the same images wait for them
            if read_whole(file) is None:
                for left in FOLDER.glob(f"{file.name}.*.tmp"):  # by a kill
                    left.unlink(missing_ok=True)
                replace_file(file, lambda aside: write(aside, decode))
    except OSError as error:  # a full or read-only disk costs time and memory, not the run
        warnings.warn(f"decoded images stay in memory and are decoded again next time: {FOLDER} cannot be written ({error})", stacklevel=2)
        arrays: list[np.ndarray] = []
        return decode(arrays.append).beside(torch.from_numpy(np.stack(arrays)))
    return read(file)


def read_whole(file: Path) -> Images | None:
    """A cache file's images; None where it is absent, damaged or foreign."""
    try:
        return read(file) if file.exists() else None
    except (ValueError, RecursionError):
        return None


def write(file: Path, decode: Decode) -> None:
    """Images as they are decoded, then all else."""
    digest, count, shape = hashlib.sha256(), 0, (0, 0, 0)
    with file.open("wb") as out:

        def keep(image: np.ndarray) -> None:
            nonlocal count, shape
            content = np.ascontiguousarray(image).data
            out.write(content)
            digest.update(content)
            count, shape = count + 1, image.shape

        details = decode(keep)
        ending = Ending(shape=(count, *shape), details=details, checksum="")
        text = text_of(ending.model_copy(update={"checksum": checksum(digest, ending)}))
        out.write(text + len(text).to_bytes(ENDING, "little"))


def read(file: Path) -> Images:
    """What `write` wrote. Raises ValueError or RecursionError for anything else."""
    with file.open("rb") as opened:
        before = max(0, opened.seek(0, 2) - ENDING)
        opened.seek(before)
        length = min(before, int.from_bytes(opened.read(), "little"))
        opened.seek(before - length)
        ending = Ending.model_validate(json.loads(opened.read(length)))
    images, digest = stored(file, ending.shape), hashlib.sha256()
    for part in parts(images):
        digest.update(part.numpy())
    if checksum(digest, ending) != ending.checksum:
        raise ValueError(f"{file} does not match its own checksum")
    return ending.details.beside(images)


def checksum(digest, ending: Ending) -> str:
    """Over the images, which `digest` has seen, and all else."""
    digest.update(text_of(ending.model_copy(update={"checksum": ""})))
    return digest.hexdigest()


def text_of(ending: Ending) -> bytes:
    """As ASCII: names of files and classes need not be valid text, and pydantic's own JSON refuses those."""
    return json.dumps(ending.model_dump()).encode("ascii")
