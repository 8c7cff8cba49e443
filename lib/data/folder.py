"""The reader's own images: `folder:PATH`.

PATH holds either one folder per class (torchvision's ImageFolder layout), or pictures
without classes, or `train/` and `test/` (or `val/`) with one of these inside. A split that
PATH does not have is carved by a fixed permutation, a tenth each for test and validation.
Any size and mode is read (see `pictures`); a broken file is skipped with a warning that
names it; links are not followed out of PATH. Pictures that lie beside the folders that are
read, or a level too deep, are counted and named, since their reader may miss them.

A split's sha256 covers all that decides on what is trained: the split, the names of all
classes, and of each picture, in order, its path below PATH (its class in it) and its bytes.
So it is the same wherever PATH lies, and another one once a picture is moved or renamed.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from lib.data.cache import Details, Keep, cached
from lib.data.pictures import fit, open_rgb
from lib.data.registry import DataError, Images, Split, check_native, dataset, permutation
from lib.files import resolve, sha256

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
DECODED = 6  # raise it when other bytes or details are made of the same files: caches go stale


@dataclass(frozen=True)
class Picture:
    """A file and its class, "" without classes."""

    label: str
    file: Path

    @property
    def name(self) -> str:
        """Its class and file name, as messages give it."""
        return f"{self.label}/{self.file.name}".lstrip("/")


@dataclass(frozen=True)
class Part:
    """The pictures of one split of a folder, and the classes of all its splits."""

    place: Path
    split: Split
    pictures: list[Picture]
    classes: tuple[str, ...]


@dataset("folder", version=4)
def folder(split: Split, root: Path, size: int | None, path: str) -> Images:
    place = existing(path)
    variant = f"folder-{place.name}"
    return read_folder(place, split, size, variant, "the reader's own", "the reader's own")


def existing(path: str) -> Path:
    """The folder at `path`. Raises DataError where there is none, or where no path is so called."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # too long a name; `~somebody`
        place = resolve(path)
        if place.is_dir():
            return place
    raise DataError(
        f"folder:{path[:200]}: there is no folder of this name. "
        f"Give the path of a folder of pictures, absolute or relative to the repository"
    )


def read_folder(
    place: Path, split: Split, size: int | None, variant: str, licence: str, citation: str
) -> Images:
    """One split of a folder of pictures, from the cache where it was decoded before.

    Raises DataError where no picture is found or read, or where they differ in size and no
    `size` is given.
    """
    splits = split_files(place)
    part = Part(place, split, splits[split], class_names(splits))

    def decode_part(keep: Keep) -> Details:
        return decode(part, size, keep, variant=variant, licence=licence, citation=citation)

    images = cached([*made_from(part, size), variant, licence, citation], decode_part)
    loose, deep = overlooked(place)
    return replace(images, loose=loose, deep=deep)


def made_from(part: Part, size: int | None) -> list[Any]:
    """What decides on the decoded bytes, as JSON data: the key of the cache.

    Of each file it holds the size, the dates and the inode. A file's size and date can be
    what they were though its bytes are others (`cp -p`, `touch -r`), but nobody sets back
    when its inode was last changed. Its content would say the same at a higher price: the
    sums of 13,000 photographs (160 MB) take 0.3 s from memory and minutes from a disk far
    away, every time; these marks take 0.06 s and read no file.
    """
    listing = [[one.label, one.file.name, *marks(one.file)] for one in part.pictures]
    decoder = ["folder", DECODED, PIL.__version__]
    return [*decoder, str(part.place), part.split, size, part.classes, listing]


def marks(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def class_names(splits: dict[str, list[Picture]]) -> tuple[str, ...]:
    """The classes of all splits, sorted: one numbering for them all.

    Raises DataError where one split has classes and another has none.
    """
    labels = {picture.label for pictures in splits.values() for picture in pictures}
    if "" in labels and len(labels) > 1:
        raise DataError(
            "some splits have a folder per class and some have pictures without classes: "
            "lay them all out alike"
        )
    return tuple(sorted(labels - {""}))


def split_files(place: Path) -> dict[str, list[Picture]]:
    """The pictures of every split; none is in two.

    `val` without `test` is the test set, as in ImageNet's layout. What has no folder of its
    own is carved from `train`, or from everything: a tenth each. Raises DataError where
    there is nothing to train on.
    """
    own = {split: pictures_in(found) for split, found in split_folders(place).items()}
    if own and "train" not in own:
        raise DataError(
            f"{place} has a folder for {' and '.join(own)} but none called train "
            f"(links are not followed): add it, or put all pictures together"
        )
    check_train(place, own)
    pool = own.pop("train", None) or pictures_in(place)
    carved = [split for split in ("test", "validation") if split not in own]
    least = 2 + len(carved)  # two to train on, which have a mean and a spread
    if len(pool) < least:
        raise DataError(
            f"{len(pool)} pictures in {place} cannot be split: give at least {least}, better "
            "hundreds"
        )
    order = permutation(len(pool)).tolist()
    tenth = max(1, len(pool) // 10)
    for split in carved:
        own[split] = [pool[i] for i in sorted(order[-tenth:])]
        order = order[:-tenth]
    return own | {"train": [pool[i] for i in sorted(order)]}


def check_train(place: Path, own: dict[str, list[Picture]]) -> None:
    """Raises DataError where a folder called train could as well be a class of that name."""
    if "train" not in own or own["train"][0].label:
        return
    layers = list(split_folders(place).values())
    others = [file.parent for file in beside(place, layers) if file.parent.parent == place]
    if others:
        raise DataError(
            f"{place} has pictures in train and in {others[0].name}: is train a class, or the "
            "training images? Rename it, or put the other pictures elsewhere"
        )


def split_folders(place: Path) -> dict[str, Path]:
    """Which splits have a folder of their own."""
    names = ("train", "validation", "valid", "val", "test")
    there = {child.name: child for child in folders_in(place) if child.name in names}
    found = {split: there[split] for split in ("train", "test") if split in there}
    validation = [there[name] for name in ("validation", "valid", "val") if name in there]
    if validation:
        is_test = validation[0].name == "val" and "test" not in found
        found["test" if is_test else "validation"] = validation[0]
    return found


def pictures_in(place: Path) -> list[Picture]:
    """Every picture, sorted; one level of classes, or none. Raises DataError for no picture."""
    found: list[Picture] = []
    for child in folders_in(place):
        try:
            found += [Picture(child.name, file) for file in files_in(child, place)]
        except PermissionError:
            raise DataError(f"{child} cannot be read: allow it, or put it elsewhere") from None
    found = found or [Picture("", file) for file in files_in(place, place)]
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        deeper = next(deep_in(place), None)
        hint = f"; a level deeper there is {deeper}: give a folder nearer to it" if deeper else ""
        raise DataError(f"no picture ({kinds}) in {place} or in folders one level below it{hint}")
    return found


def overlooked(place: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pictures that are not read though they lie near: beside the folders that are, too deep.

    Paths below `place`, sorted.
    """
    own = list(split_folders(place).values())
    loose = list(beside(place, own)) if own else []
    deep: list[Path] = []
    for layer in own or [place]:
        deep += deep_in(layer)
        if any(files_in(child, layer) for child in folders_in(layer)):
            loose += files_in(layer, layer)
    return names_of(loose, place), names_of(deep, place)


def beside(place: Path, own: list[Path]) -> Iterator[Path]:
    """Pictures of a folder outside of the folders that its splits have."""
    yield from files_in(place, place)
    for child in folders_in(place):
        if child not in own:
            with contextlib.suppress(PermissionError):
                yield from files_in(child, place)
                yield from below(child, place)


def deep_in(layer: Path) -> Iterator[Path]:
    """Pictures two levels below a folder."""
    for child in folders_in(layer):
        yield from below(child, layer)


def below(place: Path, within: Path) -> Iterator[Path]:
    """Pictures in the folders of a folder; a folder that may not be read has none."""
    for child in folders_in(place):
        with contextlib.suppress(PermissionError):
            yield from files_in(child, within)


def names_of(files: list[Path], place: Path) -> tuple[str, ...]:
    return tuple(sorted(file.relative_to(place).as_posix() for file in files))


def folders_in(place: Path) -> list[Path]:
    """The folders directly in a folder, sorted; no links, nothing hidden."""
    with os.scandir(place) as entries:  # tells folders from files without asking for each
        names = [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
    return [place / name for name in sorted(names)]


def files_in(place: Path, within: Path) -> list[Path]:
    """The pictures directly in a folder, sorted; links are followed where they stay `within`."""
    with os.scandir(place) as entries:
        names = [entry.name for entry in entries if is_picture(entry, within)]
    return [place / name for name in sorted(names)]


def is_picture(entry: os.DirEntry[str], within: Path) -> bool:
    if Path(entry.name).suffix.lower() not in SUFFIXES:
        return False
    if not entry.is_symlink():
        return entry.is_file()
    target = Path(entry.path)
    return target.is_file() and target.resolve().is_relative_to(within.resolve())


def decode(part: Part, size: int | None, keep: Keep, **about: str) -> Details:
    """Read the pictures and hand each over; broken ones are skipped with a warning.

    `about` holds variant, licence and citation. Raises DataError where none can be read, or
    where, without a size, they differ in size or are too small for any measure.
    """
    labels: list[str] = []
    skipped: list[str] = []
    first = None
    digest = hashlib.sha256(line_of(part.split, *part.classes))
    for picture in part.pictures:
        found = opened(picture, size)
        if found is None:
            skipped.append(picture.name)
            continue
        array, content = found
        first = first or array.shape
        check_alike(array.shape, first, picture.name)
        keep(array.transpose(2, 0, 1))
        labels.append(picture.label)
        path = picture.file.relative_to(part.place).as_posix()  # begins with split and class
        digest.update(line_of(path, content))
    if first is None:
        count = len(part.pictures)
        raise DataError(f"none of {count} pictures could be read, first: {skipped[0]!r}")
    return Details(
        labels=numbered(labels, part.classes),
        classes=part.classes,
        sha256=digest.hexdigest(),
        skipped=tuple(skipped),
        **about,
    )


def opened(picture: Picture, size: int | None) -> tuple[np.ndarray, str] | None:
    """A picture's bytes and the sha256 of its file; None, with a warning, where it is broken."""
    try:
        return fit(open_rgb(picture.file), size), sha256(picture.file)
    except Exception as error:  # decoders raise almost anything on damaged files
        # The name is quoted: it may hold what moves a cursor.
        warnings.warn(f"skipped {str(picture.file)!r}: {error}", stacklevel=3)
        return None


def check_alike(shape: tuple[int, ...], first: tuple[int, ...], name: str) -> None:
    """Raises DataError for a picture that does not fit to the first, or that is too small."""
    check_native(first[:2], f"{name[:200]!r}")
    if shape != first:
        raise DataError(
            f"pictures of at least 2 sizes, {first[:2]} and {shape[:2]}: "
            f"give a size to bring them to (image_size)"
        )


def numbered(labels: list[str], classes: tuple[str, ...]) -> list[int] | None:
    """The classes' numbers; None without classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[label] for label in labels] if classes else None


def line_of(*words: str) -> bytes:
    """Words for a digest: JSON keeps them apart, and takes names that are no valid text."""
    return json.dumps(words).encode("ascii") + b"\n"
