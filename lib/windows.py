"""A model of small images completes a picture of any size: through windows that overlap.

A ViT-MAE of 64 pixels cannot be given a photograph of 256, and the photograph shrunk to 64 would
have few patches and little to recognise. So it looks through windows of its own size, a few
patches apart. A hidden patch is predicted once in each window that holds it, and its predictions
are averaged, those from the middle of a window weighing more than those from its edge (a Hann
window), so that no seam shows. The positions that the model knows are those within a window.

`mask` covers the patches of the whole picture, True = hidden. Windows of one mask hide different
numbers of patches and the images of a batch must not, so windows that hide equally many go
through the model together. Where windows hold nothing visible, there is nothing to predict from.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from lib.evaluate import in_batches
from lib.masking import draw
from lib.measures import psnr, told
from lib.models.baselines import inpainted
from lib.patches import Size, grid_of, pixel_mask
from lib.scores import scores_of

STRIDE = 2  # patches from one window to the next
TOGETHER = 64  # windows in a batch

Picture = Float[Tensor, "channels height width"]
PictureMask = Bool[Tensor, " tokens"]
Windows = Float[Tensor, "windows channels window_height window_width"]


@dataclass(frozen=True)
class Completion:
    """A picture of which patches were hidden, and what becomes of it."""

    original: Picture
    hidden: Bool[Tensor, "height width"]  # pixels
    completed: dict[str, Picture]  # by the model and by biharmonic inpainting
    decibels: dict[str, float | None]  # PSNR of each on the hidden pixels

    def told(self, by: str) -> str:
        """The PSNR of one of them in words."""
        return told(self.decibels[by])


def compare(
    model: nn.Module, picture: Picture, mask: PictureMask, stride: int = STRIDE
) -> Completion:
    """What a model makes of a picture, beside inpainting. Raises ValueError as `complete`."""
    gone = hidden_pixels(model, picture, mask)
    completed = {
        "model": complete(model, picture, mask, stride),
        "inpainting": inpainted(picture, gone),
    }
    found = {name: decibels(picture, filled, gone) for name, filled in completed.items()}
    return Completion(picture, gone, completed, found)


def decibels(picture: Picture, filled: Picture, gone: Bool[Tensor, "height width"]) -> float | None:
    """PSNR of a completed picture on its hidden pixels; None where none is hidden."""
    if not gone.any():
        return None
    return psnr(float(((filled - picture)[:, gone].double() ** 2).mean()))


def mask_of(
    model: nn.Module, picture: Picture, strategy: str, ratio: float, generator: Generator
) -> PictureMask:
    """A mask over all patches of a picture. Raises ValueError as `draw` and `lattice`."""
    patch = model.space.shape.patch
    return draw(
        strategy,
        batch=1,
        grid=lattice(model, picture),
        ratio=ratio,
        generator=generator,
        scores=scores_of(strategy, picture[None], patch),
    )[0]


def hidden_pixels(
    model: nn.Module, picture: Picture, mask: PictureMask
) -> Bool[Tensor, "height width"]:
    """The mask of a picture's patches as one of its pixels."""
    return pixel_mask(mask[None], model.space.shape.patch, lattice(model, picture))[0, 0]


def lattice(model: nn.Module, picture: Picture) -> Size:
    """Rows and columns of a picture's patches. Raises ValueError where they are not whole ones."""
    patch, size = model.space.shape.patch, tuple(picture.shape[1:])
    if any(side % step for side, step in zip(size, patch, strict=True)):
        raise ValueError(
            f"a picture of {size[0]}x{size[1]} is no whole patches of {patch[0]}x{patch[1]} "
            "pixels: cut it with lib.windows.trimmed"
        )
    return grid_of(size, patch)


def complete(
    model: nn.Module, picture: Picture, mask: PictureMask, stride: int = STRIDE
) -> Picture:
    """The picture in [0, 1], its hidden patches filled in by the model.

    mask     of the picture's own grid, rows x columns of the model's patches
    stride   patches from one window to the next; 1 is the smoothest and the slowest

    A patch that no window can predict gets the mean colour of what is visible. Raises ValueError
    for a picture that is no picture of the model's kind, or smaller than a window, or whose sides
    are not whole patches (`trimmed` mends that), and where nothing is visible.
    """
    check(model, picture, mask, stride)
    gone = hidden_pixels(model, picture, mask)
    windows, places = windows_of(model, picture, stride)
    rows, columns = model.space.shape.patch
    size = tuple(windows.shape[2:])
    hidden = torch.stack([cut(gone, at, size)[::rows, ::columns] for at in places]).flatten(1)
    useful = hidden.any(dim=1) & ~hidden.all(dim=1)
    predicted = predictions(model, windows[useful], hidden[useful])
    places = [at for at, used in zip(places, useful.tolist(), strict=True) if used]
    guess = blended(predicted, places, picture, gone)
    return torch.where(gone, guess, picture)


def windows_of(
    model: nn.Module, picture: Picture, stride: int = STRIDE
) -> tuple[Windows, list[Size]]:
    """The windows of a picture whose sides are whole patches, and the top left pixel of each.

    stride   patches from one to the next
    """
    shape = model.space.shape
    rows, columns = lattice(model, picture)
    places = [
        (row * shape.patch[0], column * shape.patch[1])
        for row in starts(rows, shape.grid[0], stride)
        for column in starts(columns, shape.grid[1], stride)
    ]
    size = (shape.height, shape.width)
    return torch.stack([cut(picture, at, size) for at in places]), places


def check(model: nn.Module, picture: Picture, mask: PictureMask, stride: int) -> None:
    """Raises ValueError naming what does not fit."""
    shape = model.space.shape
    channels, height, width = picture.shape
    if channels != shape.channels:
        raise ValueError(
            f"the model was made for {shape.channels} channels, this has {channels}: "
            "give a picture of its kind"
        )
    rows, columns = lattice(model, picture)
    if height < shape.height or width < shape.width:
        raise ValueError(
            f"a picture of {height}x{width} is smaller than the model's {shape.height}x"
            f"{shape.width}: enlarge it"
        )
    if len(mask) != rows * columns:
        raise ValueError(
            f"the mask is of {len(mask)} patches, the picture has {rows}x{columns}: "
            "draw it with grid=(rows, columns) of the picture"
        )
    if mask.all():
        raise ValueError(
            "every patch is hidden, so there is nothing to predict from: lower the ratio"
        )
    if stride < 1:
        raise ValueError(f"a stride of {stride} patches leads nowhere: give at least 1")


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side, without gaps between them, the last one at its end."""
    return [*range(0, length - window, min(stride, window)), length - window]


def cut(whole: Tensor, corner: Size, size: Size) -> Tensor:
    """A rectangle of the last two axes."""
    row, column = corner
    return whole[..., row : row + size[0], column : column + size[1]]


def predictions(
    model: nn.Module, windows: Windows, hidden: Bool[Tensor, "windows tokens"]
) -> Windows:
    """What the model makes of windows of which some patches are hidden."""
    device = model.space.mean.device
    made = torch.empty_like(windows)
    counts = hidden.sum(dim=1)
    for count in counts.unique():
        alike = counts == count
        made[alike] = in_batches(
            model.reconstruct, windows[alike], hidden[alike], device=device, batch=TOGETHER
        )
    return made


def blended(
    predicted: Windows, places: list[Size], picture: Picture, gone: Bool[Tensor, "height width"]
) -> Picture:
    """The weighted mean of overlapping predictions; where there is none, a mean colour.

    places   the top left pixel of each
    gone     the pixels of the picture that are not to be looked at
    """
    size = tuple(predicted.shape[2:])
    weight = hann(size)
    total = torch.zeros_like(picture)
    weights = torch.zeros(picture.shape[1:])
    for window, at in zip(predicted, places, strict=True):
        cut(total, at, size).add_(window * weight)
        cut(weights, at, size).add_(weight)
    colour = picture[:, ~gone].mean(dim=1)[:, None, None]
    return torch.where(weights > 0, total / weights.clamp_min(1e-12), colour)


def hann(size: Size) -> Float[Tensor, "height width"]:
    """How much each pixel of a window counts: above 0 everywhere, most in the middle."""
    height, width = (torch.hann_window(side + 2, periodic=False)[1:-1] for side in size)
    return height[:, None] * width


def trimmed(picture: Picture, patch: Size) -> Float[Tensor, "channels whole_height whole_width"]:
    """The middle of a picture, without the few pixels that make no whole patch."""
    height, width = (
        side - side % step for side, step in zip(picture.shape[1:], patch, strict=True)
    )
    corner = ((picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2)
    return cut(picture, corner, (height, width))
