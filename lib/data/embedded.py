"""Real images that come with scikit-learn and scikit-image: no download, and no copy in the repository.

`digits` are 1797 handwritten digits, 8x8, from several writers who follow each other
in the file; the splits are its first 1197, next 300 and last 300 images, so that a
test digit mostly comes from a hand that training has not seen.

`photos` are square windows of ten colour photographs; the label is the photograph.
Each photograph is cut once: one half of its longer side for training, the other half
again in two for validation and test, with 16 pixels of gap between regions, so no
pixel of one split lies in another. A window's side is drawn between a half and the
whole of the largest square that the validation and test regions hold, so windows of
all splits have one scale; then it is shrunk to `size` (32 by default). Windows of a
split overlap: its images are not independent, and `n` counts windows, not scenes.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib.data.pictures import fit, resize_all
from lib.data.registry import Images, Split, dataset

DIGITS = {"train": slice(0, 1197), "validation": slice(1197, 1497), "test": slice(1497, 1797)}

PHOTOS = {  # label -> package and file
    "astronaut": ("skimage", "astronaut.png"),
    "coffee": ("skimage", "coffee.png"),
    "cat": ("skimage", "chelsea.png"),
    "rocket": ("skimage", "rocket.jpg"),
    "hubble": ("skimage", "hubble_deep_field.jpg"),
    "retina": ("skimage", "retina.jpg"),
    "tissue": ("skimage", "ihc.png"),
    "motorcycle": ("skimage", "motorcycle_left.png"),
    "temple": ("sklearn", "china.jpg"),
    "flower": ("sklearn", "flower.jpg"),
}
WINDOWS = {"train": 600, "validation": 50, "test": 50}  # of each photograph
GAP = 16  # pixels between the regions of two splits

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataset("digits", embedded=True, native=8)
def digits(split: Split, root: Path, size: int | None, path: str) -> Images:
    from sklearn.datasets import load_digits

    source = load_digits()
    images = (source.images * (255 / 16)).round().astype(np.uint8)[DIGITS[split], :, :, None]
    return Images(
        images=torch.from_numpy(resize_all(images, size)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(source.target[DIGITS[split]].astype(np.int64)),
        classes=tuple("0123456789"),
        variant="digits",
        sha256=hashlib.sha256(source.images.tobytes() + source.target.tobytes()).hexdigest(),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, as in scikit-learn",
    )


@dataset("photos", embedded=True, native=32)
def photos(split: Split, root: Path, size: int | None, path: str) -> Images:
    files = [photo_file(label) for label in PHOTOS]
    images = []
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            images += windows(picture.convert("RGB"), split, size or 32, seed=number)
    return Images(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.arange(len(PHOTOS)).repeat_interleave(WINDOWS[split]),
        classes=tuple(PHOTOS),
        variant="photos",
        sha256=hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
        licence="public domain or CC0, but: temple and flower CC BY 2.0, motorcycle Middlebury Stereo, tissue free of known restrictions",
        citation="van der Walt et al. 2014 (scikit-image); Pedregosa et al. 2011 (scikit-learn); temple: danielbuechele, flower: vultilion",
    )


def photo_file(label: str) -> Path:
    """Where the installed package keeps a photograph."""
    package, file = PHOTOS[label]
    if package == "skimage":
        import skimage

        return Path(skimage.__file__).parent / "data" / file
    import sklearn

    return Path(sklearn.__file__).parent / "datasets" / "images" / file


def regions(width: int, height: int) -> dict[str, Box]:
    """The parts of a photograph that belong to each split: half and two quarters, a gap between them."""
    if height > width:
        return {split: (top, left, bottom, right) for split, (left, top, right, bottom) in regions(height, width).items()}
    middle, centre, half = width // 2, height // 2, GAP // 2
    return {
        "train": (0, 0, middle - half, height),
        "validation": (middle + half, 0, width, centre - half),
        "test": (middle + half, centre + half, width, height),
    }


def windows(picture: Image.Image, split: Split, size: int, seed: int) -> list[np.ndarray]:
    """Square windows of one split's region, shrunk to `size`."""
    boxes = regions(*picture.size)
    largest = min(side for name in ("validation", "test") for side in box_size(boxes[name]))
    random = np.random.default_rng([seed, list(WINDOWS).index(split)])
    left, top, right, bottom = boxes[split]
    cut = []
    for side in random.integers(largest // 2, largest, WINDOWS[split], endpoint=True):
        x, y = random.integers(left, right - side, endpoint=True), random.integers(top, bottom - side, endpoint=True)
        cut.append(fit(picture.crop((x, y, x + side, y + side)), size))
    return cut


def box_size(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]
