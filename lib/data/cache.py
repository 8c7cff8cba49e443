"""Decoded images kept on disk, so that ten thousand files are decoded once.

A cache file is named by what it was made from (the list of files with sizes and
times, the image size, the split) and lies under data/cache whatever the root. It is
a checkpoint: written aside, then renamed, and with a checksum. A damaged or foreign
one is made anew.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from lib import checkpoint
from lib.data.registry import Images
from lib.paths import DATA

FOLDER = DATA / "cache"


def cached(made_from: object, make: Callable[[], Images]) -> Images:
    """The images that `make` gives, from the cache where they lie there. `made_from` is JSON data."""
    name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
    file = FOLDER / f"{name}.safetensors"
    try:
        return read(file)
    except (checkpoint.DamagedCheckpoint, KeyError, TypeError):
        images = make()
    with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the run
        write(file, images)
    return images


def read(file: Path) -> Images:
    tensors, about = checkpoint.load(file)
    about |= {name: tuple(about[name]) for name in ("classes", "skipped")}
    return Images(images=tensors["images"], labels=tensors.get("labels"), **about)


def write(file: Path, images: Images) -> None:
    tensors = {"images": images.images} | ({} if images.labels is None else {"labels": images.labels})
    plain = {f.name for f in fields(Images)} - {"images", "labels"}
    checkpoint.save(file, tensors, {name: value for name, value in vars(images).items() if name in plain})
