"""A run's pictures: one small WebP beside its record, for where neither data nor weights are.

Weights are not kept with a record and its data may be far, but a reader wants to see what the
model made. So a sheet holds, in rows of tiles of the images' own size, the first test images,
and below them the same ones completed by the model under each test mask. A network of colour
images, or PCA, has completed two of scikit-image's photographs, too, which it never saw, through
windows (lib/windows.py), three quarters of their patches hidden. What was hidden is in the record.

The pictures are for looking: WebP loses what an eye does not miss, and no measure is taken of it.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor, nn

from lib.data.embedded import photograph
from lib.evaluate import reconstruct
from lib.masks import test_mask
from lib.models.baselines import PrincipalComponents
from lib.models.family import Model
from lib.patches import Size, grid_of, pixel_mask
from lib.pixels import unit_range
from lib.run.records import DamagedRecord, Record, SheetRecord
from lib.shapes import Bytes, Mask, Pixels
from lib.streams import stream
from lib.windows import complete, mask_of

COUNT = 8  # test images, fewer where they are so large
LONGEST = 16_383  # pixels of a side, by WebP's definition
MOST_BYTES = 60_000
QUALITIES = range(90, 0, -10)  # of WebP: the best that keeps within the bytes
PHOTOGRAPHS = ("astronaut", "coffee")  # the first two that the embedded set has
SIDE = 256  # of a photograph, in pixels
RATIO = 0.75  # of a photograph's patches that are hidden

Canvas = UInt8[np.ndarray, "sheet_height sheet_width 3"]


@dataclass(frozen=True)
class Sheet:
    """The pictures of a run; of one that was kept, in colour."""

    originals: Bytes  # the first test images
    patch: Size  # in pixels
    hidden: dict[str, Mask]  # test mask -> which of their patches it hides
    completed: dict[str, Bytes]  # test mask -> the same, hidden pixels filled in by the model
    photographs: dict[str, UInt8[Tensor, "3 side side"]]  # name -> completed by windows

    def gone(self, mask: str) -> Bool[Tensor, "batch 1 height width"]:
        """The pixels of the originals that a test mask hides."""
        grid = grid_of(tuple(self.originals.shape[2:]), self.patch)
        return pixel_mask(self.hidden[mask], self.patch, grid)


def sheet_of(
    model: nn.Module, images: Bytes, masks: tuple[str, ...], device: torch.device
) -> Sheet:
    """What a model makes of images and of photographs.

    images   the test images on which the model was measured
    masks    names of test masks
    """
    height, width = images.shape[2:]
    shown = images[: min(COUNT, LONGEST // width)]
    patch = model.space.shape.patch
    fitting = masks[: (LONGEST - SIDE) // height - 1]
    hidden = {name: test_mask(name, "test", images, patch)[: len(shown)] for name in fitting}
    completed = {
        name: as_bytes(filled(model, shown, mask, device)) for name, mask in hidden.items()
    }
    names = PHOTOGRAPHS if sees_photographs(model) else ()
    photographs = {
        name: as_bytes(complete(model, *hidden_photograph(model, name))[None])[0] for name in names
    }
    return Sheet(shown, patch, hidden, completed, photographs)


def packed(sheet: Sheet) -> tuple[bytes, SheetRecord]:
    """A sheet as WebP, and what lies where."""
    rows = [sheet.originals, *sheet.completed.values()]
    content = encoded(laid_out(rows, list(sheet.photographs.values())))
    about = SheetRecord(
        sha256=hashlib.sha256(content).hexdigest(),
        count=len(sheet.originals),
        size=tuple(sheet.originals.shape[2:]),
        patch=sheet.patch,
        masks={name: in_digits(mask) for name, mask in sheet.hidden.items()},
        photographs=list(sheet.photographs),
    )
    return content, about


def filled(model: nn.Module, images: Bytes, mask: Mask, device: torch.device) -> Pixels:
    """Completed images: the model's where pixels were hidden; all of it where none was."""
    predicted = reconstruct(model, images, mask, device)
    if not mask.any():
        return predicted
    shape = model.space.shape
    gone = pixel_mask(mask, shape.patch, shape.grid)
    return torch.where(gone, predicted, unit_range(images))


def sees_photographs(model: nn.Module) -> bool:
    """Whether this is a model that learned from images, whose windows can look at a photograph."""
    shape = model.space.shape
    if not isinstance(model, Model | PrincipalComponents):
        return False
    fits = not any(SIDE % side for side in shape.patch)
    return shape.channels == 3 and fits and max(shape.height, shape.width) <= SIDE


def hidden_photograph(
    model: nn.Module, name: str, ratio: float = RATIO
) -> tuple[Float[Tensor, "3 side side"], Bool[Tensor, " tokens"]]:
    """A photograph and its mask, the same for every model with patches of this size."""
    picture = photograph(name, SIDE)
    return picture, mask_of(model, picture, "random", ratio, stream(0, f"photograph/{name}"))


def as_bytes(images: Pixels) -> Bytes:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def laid_out(rows: list[Bytes], below: list[UInt8[Tensor, "3 side side"]]) -> Canvas:
    """Rows of tiles, and the photographs beside each other below them."""
    tiles = [torch.cat(list(row.expand(-1, 3, -1, -1)), dim=2) for row in rows]
    bands = [torch.cat(tiles, dim=1)]
    if below:
        bands.append(torch.cat(below, dim=2))
    height = sum(band.shape[1] for band in bands)
    width = max(band.shape[2] for band in bands)
    canvas = torch.full((3, height, width), 255, dtype=torch.uint8)
    top = 0
    for band in bands:
        canvas[:, top : top + band.shape[1], : band.shape[2]] = band
        top += band.shape[1]
    return canvas.permute(1, 2, 0).numpy()


def encoded(canvas: Canvas) -> bytes:
    """As WebP, as good as fits."""
    for quality in QUALITIES:
        file = io.BytesIO()
        Image.fromarray(canvas).save(file, "WEBP", quality=quality, method=6)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


def read_sheet(file: Path, record: Record) -> Sheet | None:
    """The pictures beside a record's file; None where a run made none.

    Raises DamagedRecord where they are missing or changed.
    """
    about = record.sheet
    if about is None:
        return None
    beside = file.with_suffix(".webp")
    content = beside.read_bytes() if beside.exists() else b""
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise DamagedRecord(f"{beside} is missing or damaged: delete {file} and run again")
    with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
        canvas = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    height, width = about.size
    tiles = canvas[:, : height * (1 + len(about.masks)), : width * about.count]
    rows = [torch.stack(band.split(width, dim=2)) for band in tiles.split(height, dim=1)]
    below = canvas[:, height * len(rows) :, : SIDE * len(about.photographs)]
    photographs = below.split(SIDE, dim=2) if about.photographs else []
    return Sheet(
        originals=rows[0],
        patch=about.patch,
        hidden={name: from_digits(digits) for name, digits in about.masks.items()},
        completed=dict(zip(about.masks, rows[1:], strict=True)),
        photographs=dict(zip(about.photographs, photographs, strict=True)),
    )


def in_digits(mask: Mask) -> list[str]:
    """A mask as JSON has it: a string for each image, 1 for a hidden patch and 0 for a seen one."""
    return ["".join("1" if hidden else "0" for hidden in row) for row in mask.tolist()]


def from_digits(digits: list[str]) -> Mask:
    """The inverse of `in_digits`."""
    return torch.tensor([[sign == "1" for sign in row] for row in digits])
