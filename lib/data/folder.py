"""The reader's own images: `folder:PATH`.

PATH holds either one folder per class (torchvision's ImageFolder layout), or
pictures without classes, or `train/` and `test/` (or `val/`) with one of these
inside. A split that PATH does not have is carved by a fixed permutation, a tenth
each for test and validation. Any size and mode is read (see `pictures`); a broken
file is skipped with a warning that names it; links are not followed out of PATH.
"""

import hashlib
import warnings
from pathlib import Path

from lib.data.cache import Details, Keep, cached
from lib.data.pictures import fit, open_rgb
from lib.data.registry import DataError, Images, Split, dataset, permutation
from lib.paths import resolve

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}


@dataset("folder", native=None, version=3)
def folder(split: Split, root: Path, size: int | None, path: str) -> Images:
    place = resolve(path)
    if not place.is_dir():
        raise DataError(f"folder:{path}: there is no folder {place}. Give the path of a folder of pictures")
    return read_folder(place, split, size, variant=f"folder-{place.name}", licence="the reader's own", citation="the reader's own")


def read_folder(place: Path, split: Split, size: int | None, variant: str, licence: str, citation: str) -> Images:
    """One split of a folder of pictures."""
    parts = split_files(place)
    files = parts[split]
    classes = tuple(sorted({name for part in parts.values() for name, _ in part} - {""}))  # of all splits: one numbering
    listing = [(name, (stat := file.stat()).st_size, stat.st_mtime_ns) for name, file in files]
    return cached(
        ["folder", 5, variant, split, size, str(place), classes, listing],
        lambda keep: decode(files, classes, size, variant, licence, citation, keep),
    )


def split_files(place: Path) -> dict[str, list[tuple[str, Path]]]:
    """The (class, file) pairs of every split; no file is in two.

    `val` without `test` is the test set, as in ImageNet's layout. What has no folder
    of its own is carved from `train`, or from everything: a tenth each.
    """
    own = {split: pictures_in(found) for split, found in split_folders(place).items()}
    if own and "train" not in own:
        raise DataError(
            f"{place} has a folder for {' and '.join(own)} but none called train (links are not followed): "
            "add it, or put all pictures together"
        )
    pool = own.pop("train", None) or pictures_in(place)
    if len(pool) < 3:
        raise DataError(f"{len(pool)} pictures in {place} cannot be split: give at least 3, better some hundreds")
    order, tenth = permutation(len(pool)).tolist(), max(1, len(pool) // 10)
    for split in ("test", "validation"):
        if split not in own:
            own[split] = [pool[i] for i in sorted(order[-tenth:])]
            order = order[:-tenth]
    return own | {"train": [pool[i] for i in sorted(order)]}


def split_folders(place: Path) -> dict[str, Path]:
    """Which splits have a folder of their own."""
    names = ("train", "validation", "valid", "val", "test")
    there = {name: place / name for name in names if (place / name).is_dir() and not (place / name).is_symlink()}
    validation = next((there[name] for name in ("validation", "valid", "val") if name in there), None)
    found = {split: there[split] for split in ("train", "test") if split in there}
    if validation is not None:
        found["test" if validation.name == "val" and "test" not in found else "validation"] = validation
    return found


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


def decode(
    files: list[tuple[str, Path]], classes: tuple[str, ...], size: int | None, variant: str, licence: str, citation: str, keep: Keep
) -> Details:
    """Read the files and hand each over; broken ones are skipped with a warning that names them.

    Raises DataError where none can be read, or where their sizes differ and no size was given.
    """
    names, skipped, digest, first = [], [], hashlib.sha256(), None
    for name, file in files:
        try:
            array, content = fit(open_rgb(file), size), file.read_bytes()
        except Exception as error:  # decoders raise almost anything on damaged files
            skipped.append(f"{name}/{file.name}".lstrip("/"))
            warnings.warn(f"skipped {str(file)!r}: {error}", stacklevel=2)  # quoted: names may hold what moves a cursor
            continue
        first = first or array.shape
        if array.shape != first:
            raise DataError(f"pictures of at least 2 sizes, {first[:2]} and {array.shape[:2]}: give a size to bring them to")
        keep(array.transpose(2, 0, 1))
        names.append(name)
        digest.update(hashlib.sha256(content).digest())
    if not names:
        raise DataError(f"none of {len(files)} pictures could be read, first: {skipped[0]!r}")
    labels = [classes.index(name) for name in names] if classes else None
    about = {"variant": variant, "sha256": digest.hexdigest(), "licence": licence, "citation": citation}
    return Details(**about, labels=labels, classes=classes, skipped=tuple(skipped))
