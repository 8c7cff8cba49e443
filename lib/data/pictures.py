"""From a picture file to bytes of one size: what every reader of files shares.

Pillow does the work, exactly and alike on every machine. EXIF orientation is honoured, and
every mode becomes RGB: transparency is laid on white, and deep pictures are scaled to bytes
by what their type can hold, never by their own brightest value, so that a dark picture stays
dark beside a bright one. Integers of 16 and 32 bits hold 0 to 65535 (Pillow gives 16-bit PGM
and signed TIFF as 32 bits); floats hold 0 to 1. A picture with values outside its range is
refused with a message, since any guess would be wrong for some.

A picture larger than Pillow's limit (a decompression bomb) is refused. What a file is, its
bytes say and not its name; only the formats named here are decoded, as Pillow's others
include some that start a program (EPS: Ghostscript).
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # what folder.SUFFIXES promise


def open_rgb(path: Path) -> Image.Image:
    """A picture as upright RGB. Raises OSError or ValueError where it cannot be read."""
    with warnings.catch_warnings():
        # Pillow refuses twice its limit by itself, and only warns about more than once.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as picture:
            return to_rgb(ImageOps.exif_transpose(picture), path.name)


def to_rgb(picture: Image.Image, name: str = "the picture") -> Image.Image:
    """Any mode to RGB. Raises ValueError, with the picture's name, for values out of range."""
    if picture.mode.startswith(("I", "F")):
        grey = to_bytes(picture, name)
        clear = picture.info.get("transparency")  # one value of all, in a PNG of 16 bits
        picture = Image.fromarray(np.where(np.asarray(picture) == clear, np.uint8(255), grey))
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def to_bytes(picture: Image.Image, name: str) -> UInt8[np.ndarray, "height width"]:
    """A deep grey picture in 8 bits. Raises ValueError for values that its type does not hold."""
    values = np.asarray(picture, dtype=np.float64)
    kind, top = ("floats", 1) if picture.mode == "F" else ("integers", 65535)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # so asked, NaN is refused too
        raise ValueError(
            f"{name[:200]!r} holds {kind} from {low:g} to {high:g}, and 0 to {top} can be read: "
            f"rescale it, or save it with 8 or 16 bits"
        )
    return (values * (255 / top)).round().astype(np.uint8)


def fit(picture: Image.Image, size: int | None) -> UInt8[np.ndarray, "height width channels"]:
    """The picture's bytes, its shorter side resized to `size` and the centre square cut out.

    None keeps it as it is.
    """
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


def within(picture: Image.Image, shorter: int, longest: int) -> Image.Image:
    """A picture with a shorter side of so many pixels, its middle alone where it is very long."""
    scale = shorter / min(picture.size)
    width, height = (max(shorter, round(side * scale)) for side in picture.size)
    kept = (min(width, longest), min(height, longest))
    return ImageOps.fit(picture, kept, Image.Resampling.LANCZOS)


def resize_all(
    images: UInt8[np.ndarray, "count height width channels"], size: int | None
) -> UInt8[np.ndarray, "count new_height new_width channels"]:
    """Each image as `fit` resizes it."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    return np.stack([fit(as_picture(image), size) for image in images])


def as_picture(image: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
