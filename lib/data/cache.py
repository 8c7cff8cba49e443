"""Decoded images kept on disk, so that ten thousand files are decoded once.

A cache file is named by what it was made from (the list of files with sizes and
times, the image size, the split), lies under data/cache whatever the root, and is
written aside, then renamed: a half-written one is never read. A damaged or foreign
one is made anew.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib.data.registry import Images
from lib.paths import DATA

FOLDER = DATA / "cache"


def cached(made_from: object, make: Callable[[], Images]) -> Images:
    """The images that `make` gives, from the cache where they lie there. `made_from` is JSON data."""
    name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
    file = FOLDER / f"{name}.safetensors"
    try:
        return read(file)
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        images = make()
    with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the run
        write(file, images)
    return images


def read(file: Path) -> Images:
    with safe_open(file, "pt") as stored:
        about = json.loads(stored.metadata()["about"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    about |= {name: tuple(about[name]) for name in ("classes", "skipped")}
    return Images(images=tensors["images"], labels=tensors.get("labels"), **about)


def write(file: Path, images: Images) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"images": images.images} | ({} if images.labels is None else {"labels": images.labels})
    plain = {f.name for f in fields(Images)} - {"images", "labels"}
    about = {name: value for name, value in vars(images).items() if name in plain}
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(tensors, aside, {"about": json.dumps(about)})
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
