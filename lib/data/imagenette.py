"""Imagenette (Howard 2019): ten easy classes of ImageNet, in the copies that people have.

torchvision brings the version whose shorter side is 160 pixels; a copy with 128 is a data
set of its own, since its pictures differ. Asked for `imagenette`, a run uses the variant
that lies under the root, and its record is named by it. A tenth of the training set
validates; `val` is the test set.
"""

from pathlib import Path

from PIL import Image

from lib.data.downloaded import ABOUT, fetch, torchvision_datasets
from lib.data.folder import read_folder
from lib.data.pictures import FORMATS
from lib.data.registry import DataError, Images, Split, dataset

FOLDER = "imagenette2-160"
COUNTS = {"train": 9469, "val": 3925}  # pictures in each folder
VERSION = 2  # of both variants


def variant_under(root: Path) -> str:
    """Which variant lies under a root; `imagenette` where none does.

    The shorter side of its first picture tells. Raises DataError where that is damaged.
    """
    first = min((root / FOLDER).glob("train/*/*.JPEG"), default=None)
    if first is None:
        return "imagenette"
    try:
        with Image.open(first, formats=FORMATS) as picture:
            side = min(picture.size)
    except OSError as error:
        raise DataError(
            f"{first} is damaged ({error}): delete {root / FOLDER} and run again"
        ) from error
    return "imagenette" if side == 160 else f"imagenette-{side}"


@dataset("imagenette", version=VERSION, variant=variant_under)
def imagenette(split: Split, root: Path, size: int | None, path: str) -> Images:
    """The version of 160 pixels; a tenth of its training set validates."""
    fetch("imagenette", root, [FOLDER], download)
    return read_variant("imagenette", split, root, size)


@dataset("imagenette-128", version=VERSION)
def imagenette_128(split: Split, root: Path, size: int | None, path: str) -> Images:
    """The same pictures with a shorter side of 128 pixels: a copy, not downloaded."""
    place = root / FOLDER
    if not place.is_dir():
        raise DataError(
            f"no folder {place}: put the 128-pixel copy of Imagenette there, or use imagenette"
        )
    return read_variant("imagenette-128", split, root, size)


def read_variant(variant: str, split: Split, root: Path, size: int | None) -> Images:
    """One split of a variant.

    Raises DataError where another variant lies there, or pictures are missing.
    """
    place = root / FOLDER
    for part, expected in COUNTS.items():
        count = sum(1 for _ in place.glob(f"{part}/*/*.JPEG"))
        if count != expected:
            raise DataError(
                f"{place / part} holds {count} pictures, not {expected}: "
                f"delete {place} and run again"
            )
    found = variant_under(root)
    if found != variant:
        raise DataError(
            f"{place} holds {found}, not {variant}: "
            f"the registered variants are imagenette and imagenette-128"
        )
    return read_folder(place, split, size, variant, *ABOUT["imagenette"])


def download(folder: Path) -> None:
    torchvision_datasets().Imagenette(folder, size="160px", download=True)
