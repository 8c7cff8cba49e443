"""From a picture file to bytes of one size: what every reader of files shares.

Pillow does the work, exactly and alike on every machine. EXIF orientation is
honoured; grey, palette and 16-bit pictures become RGB; transparency is laid on
white. A picture larger than Pillow's limit (a decompression bomb) is refused. What a
file is, its bytes say and not its name; only the formats named here are decoded, as
Pillow's others include some that start a program (EPS: Ghostscript).
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # what folder.SUFFIXES promise


def open_rgb(path: Path) -> Image.Image:
    """A picture as upright RGB. Raises OSError or ValueError where it cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow's own limit, half of which it only warns about
        with Image.open(path, formats=FORMATS) as picture:
            return to_rgb(ImageOps.exif_transpose(picture))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit scaled to 8, transparency laid on white."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        top = 65535 if picture.mode.startswith("I;16") or values.max() > 255 else 255
        picture = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def fit(picture: Image.Image, size: int | None) -> np.ndarray:
    """Bytes [height, width, channels]: the shorter side resized to `size`, then the centre square; None keeps it."""
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


def resize_all(images: np.ndarray, size: int | None) -> np.ndarray:
    """uint8 [count, height, width, channels] resized to `size`, each as `fit` does."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    pictures = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images)
    return np.stack([fit(picture, size) for picture in pictures])
