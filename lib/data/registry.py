"""What a data set is, the register of them, and the one call that reads them.

A reader is a function `read(split, root, size, path) -> Images`. It returns the
images of one split; `load` checks them, resizes nothing by itself and cuts the
subset. Validation images are carved from the training set by a fixed permutation
where a source has no split of its own.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lib.mapped import parts, release
from lib.paths import resolve

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


class DataError(ValueError):
    """Data that is missing, damaged or unusable; the message says what to do."""


@dataclass(frozen=True)
class Images:
    """One split of a data set."""

    images: UInt8[Tensor, "count channels height width"]  # in memory or mapped from a file: never written
    labels: Int64[Tensor, " count"] | None
    classes: tuple[str, ...]
    variant: str  # what was read, such as cifar10-jpeg
    sha256: str  # of the bytes that were read
    licence: str
    citation: str
    skipped: tuple[str, ...] = ()  # files that could not be read

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
        """The first `count` images of a fixed permutation; all, in order, where that is no fewer."""
        return self if count is None or count >= len(self) else self.take(permutation(len(self))[:count])

    def take(self, index: Tensor) -> "Images":
        chosen = replace(self, images=self.images[index], labels=None if self.labels is None else self.labels[index])
        release()
        return chosen


@dataclass(frozen=True)
class DataSet:
    """A registered data set."""

    name: str
    read: Callable[..., Images]
    embedded: bool  # True: comes with an installed package, needs no root and no network
    native: int | None  # side of its images in pixels; None: they differ, a size must be given
    version: int  # raise it when the images or the splits change: records made before are then stale
    variant: Callable[[Path], str] | None  # which registered variant lies under a root; None: there is only this one


DATASETS: dict[str, DataSet] = {}


def dataset(
    name: str,
    *,
    embedded: bool = False,
    native: int | None = None,
    version: int = 1,
    variant: Callable[[Path], str] | None = None,
):
    """Register a reader `read(split, root, size, path)`; `path` is what follows a colon in the name."""

    def register(read: Callable[..., Images]) -> Callable[..., Images]:
        DATASETS[name] = DataSet(name, read, embedded, native, version, variant)
        return read

    return register


def find(name: str) -> tuple[DataSet, str]:
    """The data set and the part of `name` after a colon. Raises DataError for an unknown one."""
    base, _, path = name.partition(":")
    if base not in DATASETS or (base == "folder") != bool(path):
        known = ", ".join("folder:PATH" if known == "folder" else known for known in DATASETS)
        raise DataError(f"unknown data set {name!r}: choose one of {known}")
    return DATASETS[base], path


def settle_variant(name: str, root: str | Path) -> str:
    """The name of the variant that lies under the root: part of a run's identity, so it is settled before a key is made."""
    entry, _ = find(name)
    found = entry.variant(resolve(root)) if entry.variant else name
    return found if found in DATASETS else name  # an unknown variant is refused when it is read


def load(name: str, split: str, root: str | Path = "data", size: int | None = None, subset: int | None = None) -> Images:
    """Read one split of a data set.

    name    a registered name, or `folder:PATH` for your own images
    split   train, validation or test
    root    folder that holds or receives downloads; relative to the repository
    size    side in pixels to which images are resized (shorter side, then the centre); None keeps them as they are
    subset  the first n images of a seeded permutation; None keeps all in order

    Raises DataError where the set is unknown, absent and out of reach, or damaged.
    """
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if size is not None and size < 1:
        raise DataError(f"image size {size} is not a number of pixels")
    entry, path = find(name)
    if subset is not None and subset < 1:
        raise DataError(f"a subset of {subset} images is empty: give at least 1")
    return read_once(entry, split, resolve(root), size, path).some(subset)


@lru_cache(maxsize=8)  # a notebook of many experiments reads its data once
def read_once(entry: DataSet, split: Split, root: Path, size: int | None, path: str) -> Images:
    images = entry.read(split, root, size, path)
    if len(images) == 0:
        raise DataError(f"{entry.name}: no image in the {split} split")
    return images


def shared_images(splits: dict[str, Images]) -> int:
    """How many different images lie, byte for byte, in more than one split."""
    seen = [
        {hashlib.sha256(image.numpy()).digest() for part in parts(images.images) for image in part.contiguous()}
        for images in splits.values()
    ]
    return sum(len(first & second) for i, first in enumerate(seen) for second in seen[i + 1 :])


def describe(splits: dict[str, Images]) -> str:
    """What was read, in four lines: counts with fingerprints, size, classes, source."""
    train = splits["train"]
    counts = ", ".join(f"{len(images)} {split} ({images.fingerprint})" for split, images in splits.items())
    return "\n".join(
        [
            f"{train.variant}: {counts}; in more than one split: {shared_images(splits)}",
            f"images of {'x'.join(map(str, train.images.shape[1:]))} (channels, height, width), {len(train.classes)} classes",
            f"licence: {train.licence}",
            f"source: {train.citation}",
        ]
    )


def permutation(count: int, seed: int = 0) -> Tensor:
    """A fixed order of `count` images."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def carve(split: Split, count: int, validation: int) -> Tensor:
    """Indices of the train or validation part of a training set: the last `validation` of a fixed permutation."""
    order = permutation(count)
    return (order[-validation:] if split == "validation" else order[:-validation]).sort().values
