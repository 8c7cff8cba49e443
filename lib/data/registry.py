"""What a data set is, the register of them, and the one call that reads them.

To add a set, write a reader `read(split, root, size, path) -> Images` in a file of this
folder and decorate it with `@dataset(name)`. It returns the images of one split; `load`
refuses what cannot be asked for, checks what was read and cuts the subset, and resizes
nothing by itself. Where a source has no validation split of its own, one is carved from its
training set by a fixed permutation. Files are imported when a set is first looked for; a
reader imports what takes seconds to load when it is called.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from lib.config import unknown
from lib.files import resolve
from lib.mapped import parts, release
from lib.register import Register
from lib.shapes import Bytes

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
SMALLEST = 3  # pixels of a side: SSIM looks at windows of 3x3 at least
FEW = 100  # images, of which nothing can be learned in a notebook's minute
LARGEST = 4096  # pixels of a side: 50 MB for each image, more than anything here can train on


class DataError(ValueError):
    """Data that is missing, damaged or unusable; the message says what to do."""


@dataclass(frozen=True)
class Images:
    """One split of a data set. Names of files are relative to the set's folder."""

    images: Bytes  # held or mapped: never written
    labels: Int64[Tensor, " batch"] | None
    classes: tuple[str, ...]
    variant: str  # what was read, such as cifar10-jpeg
    sha256: str  # of what was read: its bytes, and whatever gives them order, labels and split
    licence: str
    citation: str
    skipped: tuple[str, ...] = ()  # files of this split that could not be read
    loose: tuple[str, ...] = ()  # pictures beside the folders that were read; of all splits
    deep: tuple[str, ...] = ()  # pictures a level too deep to be read; of all splits

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """Six digits of the sha256 of these very images and labels, in order."""
        digest = hashlib.sha256()
        for part in parts(self.images):
            digest.update(part.contiguous().numpy())
        if self.labels is not None:
            digest.update(self.labels.numpy())
        return digest.hexdigest()[:6]

    def some(self, count: int | None) -> "Images":
        """The first `count` images of a fixed permutation; all, in order, if that is no fewer."""
        if count is None or count >= len(self):
            return self
        return self.take(permutation(len(self))[:count])

    def take(self, index: Int64[Tensor, " chosen"]) -> "Images":
        """The images at `index`, copied into memory."""
        labels = None if self.labels is None else self.labels[index]
        chosen = replace(self, images=self.images[index], labels=labels)
        release()
        return chosen


Reader = Callable[[Split, Path, int | None, str], Images]  # (split, root, size, path)


@dataclass(frozen=True)
class DataSet:
    """A registered data set."""

    name: str
    read: Reader
    embedded: bool  # True: comes with an installed package, needs no root and no network
    version: int  # raise it when images, splits or sha256 change: old records are then stale
    variant: Callable[[Path], str] | None  # which registered variant lies under a root, if any


DATASETS: Register[DataSet] = Register("lib.data")


def dataset(
    name: str,
    *,
    embedded: bool = False,
    version: int = 1,
    variant: Callable[[Path], str] | None = None,
) -> Callable[[Reader], Reader]:
    """Register a reader `read(split, root, size, path)`; `path` follows a colon in the name."""

    def register(read: Reader) -> Reader:
        DATASETS.add(name, DataSet(name, read, embedded, version, variant), read.__module__)
        return read

    return register


def find(name: str) -> tuple[DataSet, str]:
    """The data set and the part of `name` after a colon. Raises DataError for an unknown one."""
    base, _, path = name.partition(":")
    if base not in DATASETS or (base == "folder") != bool(path):
        known = ["folder:PATH" if known == "folder" else known for known in DATASETS]
        raise DataError(unknown("data set", name, known))
    return DATASETS[base], path


def settle_variant(name: str, root: str | Path) -> str:
    """The name of the variant that lies under the root.

    It is part of a run's identity, so it is settled before a key is made. Raises DataError
    for an unknown set; a variant that is not registered is refused when it is read.
    """
    entry, _ = find(name)
    found = entry.variant(resolve(root)) if entry.variant else name
    return found if found in DATASETS else name


def check_size(size: int | None) -> None:
    """Raises DataError for a side in pixels that no measure or no memory can take."""
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise DataError(
            f"image_size {size} is out of range: give {SMALLEST} to {LARGEST} pixels, "
            f"or none to keep the images as they are"
        )


def load(
    name: str,
    split: str,
    root: str | Path = "data",
    size: int | None = None,
    subset: int | None = None,
) -> Images:
    """Read one split of a data set.

    name    a registered name, or `folder:PATH` for your own images
    split   train, validation or test
    root    folder that holds or receives downloads; relative to the repository
    size    side in pixels to which images are resized (the shorter side, then the centre
            square), 3 to 4096; None keeps them as they are
    subset  the first n images of a seeded permutation; None keeps all, in order

    Raises DataError where the set is unknown, absent and out of reach, or damaged, and
    before anything is read where the split, the size or the subset is impossible.
    """
    if split not in SPLITS:
        raise DataError(unknown("split", split, SPLITS))
    check_size(size)
    if subset is not None and subset < 1:
        raise DataError(f"a subset of {subset} images is empty: give at least 1")
    entry, path = find(name)
    return read_once(entry, split, resolve(root), size, path).some(subset)


@lru_cache(maxsize=8)  # a notebook of many experiments reads its data once
def read_once(entry: DataSet, split: Split, root: Path, size: int | None, path: str) -> Images:
    images = entry.read(split, root, size, path)
    if len(images) == 0:
        raise DataError(f"{entry.name}: no image in the {split} split")
    if images.images.dtype != torch.uint8 or images.images.ndim != 4:
        found = f"{images.images.dtype} {list(images.images.shape)}"
        raise DataError(
            f"{entry.name}: its reader gives {found}, not uint8 [count, channels, height, width]"
        )
    check_native(tuple(images.images.shape[2:]), entry.name)
    return images


def check_native(sides: tuple[int, int], what: str) -> None:
    """Raises DataError where images that are to be kept as they are have no 3 pixels a side."""
    if min(sides) < SMALLEST:
        raise DataError(
            f"{what} has images of {sides[0]}x{sides[1]} pixels, fewer than {SMALLEST} a side: "
            f"give image_size, to which they are resized"
        )


def image_digests(images: Images) -> Iterator[bytes]:
    for part in parts(images.images):
        for image in part.contiguous():
            yield hashlib.sha256(image.numpy()).digest()


def shared_images(splits: dict[str, Images]) -> int:
    """How many different images lie, byte for byte, in more than one split, by pairs of splits."""
    seen = [set(image_digests(images)) for images in splits.values()]
    return sum(len(first & second) for first, second in combinations(seen, 2))


def describe(splits: dict[str, Images]) -> str:
    """What was read: counts with fingerprints, size, classes, source; and what was left out."""
    train = splits["train"]
    counts = [f"{len(images)} {name} ({images.fingerprint})" for name, images in splits.items()]
    sides = "x".join(map(str, train.images.shape[1:]))
    lines = [
        f"{train.variant}: {', '.join(counts)}; in more than one split: {shared_images(splits)}",
        f"images of {sides} (channels, height, width), {len(train.classes)} classes",
        f"licence: {train.licence}",
        f"source: {train.citation}",
    ]
    if len(train) < FEW:
        lines.append(
            f"only {len(train)} images to train on: whatever learns from them will be poor; to see "
            "what a trained model makes of your pictures, take notebook 08"
        )
    return "\n".join(lines + left_out(splits))


def left_out(splits: dict[str, Images]) -> list[str]:
    """One line for each reason why files were left out, with their number and one of them."""
    every = splits.values()
    skipped = [name for images in every for name in images.skipped]
    loose = {name for images in every for name in images.loose}  # each split tells of all
    deep = {name for images in every for name in images.deep}
    reasons = {
        "that cannot be read": skipped,
        "beside the folders that are read": sorted(loose),
        "in folders a level too deep": sorted(deep),
    }
    return [
        f"left out: {len(names)} {reason}, such as {safe(names[0])}"
        for reason, names in reasons.items()
        if names
    ]


def safe(name: str) -> str:
    """A file's name as a message gives it: short, and quoted, as it may move a cursor."""
    return repr(name[:200])


def permutation(count: int, seed: int = 0) -> Int64[Tensor, " count"]:
    """A fixed order of `count` images."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def carve(split: Split, count: int, validation: int) -> Int64[Tensor, " chosen"]:
    """Indices of the train or validation part of a training set of `count` images.

    The last `validation` of a fixed permutation validate.
    """
    order = permutation(count)
    chosen = order[-validation:] if split == "validation" else order[:-validation]
    return chosen.sort().values
