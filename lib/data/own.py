"""The reader's own pictures, each of them whole and of its own shape.

A data set is split, and all of its images are brought to one size (see `folder`). Whoever tries a
model on pictures of their own wants to see every one of them, uncropped: a model of small images
looks at them through windows (lib/windows.py). So here they are only brought to a shorter side
that is quick to complete, and of a very long one the middle is taken. Where nothing is given, the
embedded photographs stand for the reader's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lib.data.embedded import PHOTOS, photo_file
from lib.data.folder import files_in, folders_in
from lib.data.pictures import open_rgb, within
from lib.data.registry import DataError
from lib.files import resolve

SHORTER, LONGEST = 256, 512  # sides of a picture, in pixels

Picture = Float[Tensor, "3 height width"]  # in [0, 1]


@dataclass(frozen=True)
class OwnPictures:
    """Pictures by name, in order, and what of a folder could not be read."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)  # a sentence each


def own_pictures(paths: Sequence[str | Path] = ()) -> OwnPictures:
    """The pictures of files and of folders, with those one level below; none: the embedded ones.

    Relative paths mean the repository. A broken file of a folder is skipped, one that was named
    is not. Raises DataError, naming the path, where there is nothing, or nothing that can be read.
    """
    if not paths:
        return OwnPictures({name: read_picture(photo_file(name)) for name in PHOTOS})
    found = OwnPictures()
    for place in map(resolve, paths):
        if place.is_dir():
            add_folder(place, found)
        else:
            found.pictures[free_name(place, found)] = read_picture(place)
    return found


def add_folder(place: Path, found: OwnPictures) -> None:
    """Add what can be read of a folder. Raises DataError where nothing can."""
    files = [*files_in(place, place)]
    for below in folders_in(place):
        files += files_in(below, place)
    if not files:
        raise DataError(f"there is no picture in {place} or one level below: give another folder")
    before = len(found.pictures)
    for file in files:
        try:
            found.pictures[free_name(file, found)] = read_picture(file)
        except DataError as error:
            found.skipped.append(str(error))
    if len(found.pictures) == before:
        raise DataError(
            f"none of the {len(files)} pictures in {place} can be read: {found.skipped[0]}"
        )


def free_name(file: Path, found: OwnPictures) -> str:
    """What a picture is called: its file's name, with its folder's where that is taken."""
    names = (file.stem, f"{file.parent.name}/{file.name}", str(file))
    return next(name for name in names if name not in found.pictures)


def read_picture(file: Path) -> Picture:
    """A picture file, brought to size. Raises DataError, naming it, where it cannot be read."""
    try:
        return as_image(open_rgb(file))
    except FileNotFoundError:
        raise DataError(f"there is no file {file}: give a picture, or a folder of them") from None
    except (OSError, ValueError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{file} is no picture that can be read ({error})") from error


def as_image(picture: Image.Image) -> Picture:
    pixels = np.asarray(within(picture.convert("RGB"), SHORTER, LONGEST))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous() / 255
