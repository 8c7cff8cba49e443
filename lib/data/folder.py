"""The reader's own images: `folder:PATH`.

PATH holds either one folder per class (torchvision's ImageFolder layout), or
pictures without classes, or `train/` and `test/` (or `val/`) with one of these
inside. A split that PATH does not have is carved by a fixed permutation: test and
validation are a tenth each. Any size and mode is read (see `pictures`); a broken
file is skipped with a warning that names it; links are not followed out of PATH.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch

from lib.data.cache import cached
from lib.data.pictures import fit, open_rgb
from lib.data.registry import DataError, Images, Split, carve, dataset, permutation
from lib.paths import resolve

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
FOLDERS = {"train": ("train",), "validation": ("validation", "valid"), "test": ("test", "val")}


@dataset("folder", native=None)
def folder(split: Split, root: Path, size: int | None, path: str) -> Images:
    place = resolve(path)
    if not place.is_dir():
        raise DataError(f"folder:{path}: there is no folder {place}. Give the path of a folder of pictures")
    return read_folder(place, split, size, variant=f"folder-{place.name}", licence="the reader's own", citation="the reader's own")


def read_folder(place: Path, split: Split, size: int | None, variant: str, licence: str, citation: str) -> Images:
    """One split of a folder of pictures."""
    own = {name: found for name in FOLDERS if (found := first_folder(place, FOLDERS[name]))}
    files = pictures_in(own.get(split) or own.get("train", place))
    if split not in own:
        files = [files[i] for i in share_of(split, len(files), "test" in own)]
    elif split == "train" and "validation" not in own:
        files = [files[i] for i in share_of(split, len(files), True)]
    listing = [(name, (stat := file.stat()).st_size, stat.st_mtime_ns) for name, file in files]
    return cached(
        ["folder", 1, variant, split, size, str(place), listing],
        lambda: decode(files, size, variant, licence, citation),
    )


def first_folder(place: Path, names: tuple[str, ...]) -> Path | None:
    return next((place / name for name in names if (place / name).is_dir()), None)


def share_of(split: Split, count: int, has_test: bool) -> list[int]:
    """Which of `count` pictures belong to a split that the folder does not have itself."""
    tenth = max(1, count // 10)
    if count < 3:
        raise DataError(f"a folder of {count} pictures cannot be split: give at least 3, better some hundreds")
    if has_test:
        return carve(split, count, tenth).tolist()
    order = permutation(count)
    parts = {"test": order[:tenth], "validation": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    return parts[split].sort().values.tolist()


def pictures_in(place: Path) -> list[tuple[str, Path]]:
    """(class, file) of every picture, sorted; one level of classes, or none (class "")."""
    inside = [child for child in sorted(place.iterdir()) if child.is_dir() and not child.is_symlink() and not child.name.startswith(".")]
    found = [(child.name, file) for child in inside for file in sorted(child.iterdir()) if is_picture(file, place)]
    found = found or [("", file) for file in sorted(place.iterdir()) if is_picture(file, place)]
    if not found:
        raise DataError(f"no picture ({', '.join(sorted(SUFFIXES))}) in {place} or in folders one level below it")
    return found


def is_picture(file: Path, place: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file() and file.resolve().is_relative_to(place.resolve())


def decode(files: list[tuple[str, Path]], size: int | None, variant: str, licence: str, citation: str) -> Images:
    """Read the files, skipping broken ones with a warning that names them."""
    arrays, names, skipped, digest = [], [], [], hashlib.sha256()
    for name, file in files:
        try:
            arrays.append(fit(open_rgb(file), size))
            names.append(name)
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except (OSError, ValueError, SyntaxError) as error:
            skipped.append(f"{name}/{file.name}".lstrip("/"))
            warnings.warn(f"skipped {file}: {error}", stacklevel=2)
    check_sizes(arrays, files, skipped)
    classes = tuple(sorted({name for name, _ in files} - {""}))
    labels = torch.tensor([classes.index(name) for name in names]) if classes else None
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return Images(images, labels, classes, variant, digest.hexdigest(), licence, citation, tuple(skipped))


def check_sizes(arrays: list[np.ndarray], files: list[tuple[str, Path]], skipped: list[str]) -> None:
    if not arrays:
        raise DataError(f"none of {len(files)} pictures could be read, first: {skipped[0]}")
    sizes = sorted({array.shape[:2] for array in arrays})
    if len(sizes) > 1:
        raise DataError(f"pictures of {len(sizes)} sizes, such as {sizes[0]} and {sizes[-1]}: give a size to bring them to")
