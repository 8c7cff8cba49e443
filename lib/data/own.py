"""The reader's own pictures, each of them whole and of its own shape.

A data set is split, and all of its images are brought to one size (see `folder`). Whoever tries a
model on pictures of their own wants to see every one of them, uncropped: a model of small images
looks at them through windows (lib/windows.py). So here they are only brought to a shorter side
that is quick to complete, and of a very long one the middle is taken. Where nothing is given, the
embedded photographs stand for the reader's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lib.data.embedded import PHOTOS, photo_file
from lib.data.folder import SUFFIXES, files_in, folders_in
from lib.data.pictures import open_rgb, within
from lib.data.registry import DataError
from lib.files import resolve

LONGEST = 24  # signs of a picture's name
LISTED = 5  # names in a sentence
SHORTER = 256  # side of a picture in pixels; the longer one is at most twice that

Picture = Float[Tensor, "3 height width"]  # in [0, 1]


@dataclass(frozen=True)
class OwnPictures:
    """Pictures by name, in order, and what of the given files is not among them."""

    shorter: int = SHORTER  # side of each in pixels
    pictures: dict[str, Picture] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)  # a sentence each
    enlarged: list[str] = field(default_factory=list)  # names of those that were smaller
    cut: list[str] = field(default_factory=list)  # names of very long ones, of which the middle is
    left_out: list[Path] = field(default_factory=list)  # of folders with more than asked for

    def told(self) -> list[str]:
        """What became of the given files, but for being shown, in sentences."""
        said = []
        if self.enlarged:
            why = f"enlarged to {self.shorter} pixels, which makes gaps easier to fill"
            said.append(f"{why}: {listed(self.enlarged)}")
        if self.cut:
            said.append(f"of these the middle alone, they are very long: {listed(self.cut)}")
        said += [f"skipped: {sentence}" for sentence in self.skipped]
        if self.left_out:
            said.append(f"{len(self.left_out)} more were left out: at_most says how many are taken")
        return said


def own_pictures(
    paths: Sequence[str | Path] = (), at_most: int | None = None, shorter: int = SHORTER
) -> OwnPictures:
    """The pictures of files and of folders, with those one level below; none: the embedded ones.

    at_most   of each folder, evenly from all of its files by name; None: all
    shorter   side of each in pixels

    Relative paths mean the repository. A broken file of a folder is skipped, one that was named
    is not. Raises DataError, naming the path, where there is nothing, or nothing that can be read.
    """
    if not paths:
        shown = {name: read_picture(photo_file(name), shorter) for name in PHOTOS}
        return OwnPictures(shorter, shown)
    found = OwnPictures(shorter)
    for place in map(resolve, paths):
        if place.is_dir():
            add_folder(place, found, at_most)
        else:
            add(place, found)
    return found


def add(file: Path, found: OwnPictures) -> None:
    """Add a picture. Raises DataError where it cannot be read."""
    name = free_name(file, found)
    picture = opened(file)
    found.pictures[name] = as_image(picture, found.shorter)
    if min(picture.size) < found.shorter:
        found.enlarged.append(name)
    if max(picture.size) > 2 * min(picture.size):
        found.cut.append(name)


def add_folder(place: Path, found: OwnPictures, at_most: int | None) -> None:
    """Add what can be read of a folder. Raises DataError where nothing can."""
    folders = [place]
    files = files_in(place, place)
    for folder in folders_in(place):
        try:
            files += files_in(folder, place)
            folders.append(folder)
        except PermissionError:
            found.skipped.append(f"the folder {folder.name} may not be read")
    if not files:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(
            f"there is no picture in {place} or one level below: give another folder, or save them "
            f"as one of {kinds}"
        )
    found.skipped.extend(others_in(folders, files))
    chosen = evenly(files, at_most)
    looked_at = {*chosen}
    found.left_out.extend(file for file in files if file not in looked_at)
    before = len(found.pictures)
    for file in chosen:
        try:
            add(file, found)
        except DataError as error:
            found.skipped.append(str(error))
    if len(found.pictures) == before:
        raise DataError(
            f"none of the {len(chosen)} pictures in {place} can be read: {found.skipped[0]}"
        )


def others_in(folders: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """What else lies there, in sentences: files of another kind, and folders not looked into."""
    every = sorted(entry for folder in folders for entry in folder.iterdir())
    known = {*folders, *files}
    left = [one for one in every if one not in known and not one.name.startswith(".")]
    deep = [one.name for one in left if one.is_dir()]
    strange = [one.name for one in left if not one.is_dir()]
    why = {"of no kind that can be read": strange, "folders a level too deep": deep}
    return [f"{reason}: {listed(names)}" for reason, names in why.items() if names]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def evenly(files: list[Path], at_most: int | None) -> list[Path]:
    """So many of them, from the first on, as far from each other as they can be."""
    if at_most is None or len(files) <= at_most:
        return files
    return [files[place * len(files) // at_most] for place in range(at_most)]


def free_name(file: Path, found: OwnPictures) -> str:
    """What a picture is called: its file's name, with its folder's, or a number, where that is
    taken; of a long one beginning and end, for a figure has little room. Signs that are no UTF-8,
    as in names from old archives, become question marks.
    """
    names = (file.stem, f"{file.parent.name}/{file.name}")
    numbered = (f"{number} {file.stem}" for number in count(2))
    plain = (name.encode("utf-8", "replace").decode() for name in chain(names, numbered))
    every = map(shortened, plain)
    return next(name for name in every if name not in found.pictures)


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:8]}...{name[-(LONGEST - 11) :]}"


def read_picture(file: Path, shorter: int = SHORTER) -> Picture:
    """A picture file, brought to size. Raises DataError, naming it, where it cannot be read."""
    return as_image(opened(file), shorter)


def opened(file: Path) -> Image.Image:
    """A picture file, upright. Raises DataError, naming it, where it cannot be read."""
    try:
        return open_rgb(file)
    except FileNotFoundError:
        raise DataError(f"there is no {file}: look at how it is spelt") from None
    except Exception as error:  # decoders raise almost anything on what is damaged or huge
        raise DataError(f"{file} is no picture that can be read ({error})") from error


def as_image(picture: Image.Image, shorter: int) -> Picture:
    pixels = np.asarray(within(picture.convert("RGB"), shorter, 2 * shorter))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous() / 255
