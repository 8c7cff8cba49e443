"""Random flips and crops of whole batches of bytes, each image its own, without a loop.

`none` leaves images alone; `flip` mirrors half of them; `crop_flip` also shifts each by up to an
eighth of its side in both directions, what moves in being reflected; `resized_crop_flip` shows a
part of 20 to 100 % of its area at full size, as MAE is pre-trained on ImageNet (He et al. 2022,
table 8). An augmentation is a function of images and of random choices [batch, ...] that are
drawn first, so that one of several processes draws for the whole batch and changes its own
share. To add one: a function that draws, and one that applies with `@augmentation(draw)`.

In fine-tuning, batches may be mixed (`mixed`): their images are two images each, with both
labels in the same proportion. Mixup (Zhang et al. 2018, arXiv 1710.09412, section 2) blends the
pixels, CutMix (Yun et al. 2019, arXiv 1905.04899, section 3.1) pastes a rectangle. As in MAE's
fine-tuning (He et al. 2022, table 9) one proportion holds for a whole batch, the first image
meets the last, the second the last but one, and where both are on, a coin decides for the batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import AfterValidator
from torch import Generator, Tensor

from lib.config import unknown
from lib.shapes import Bytes, Pixels

MIXING = 1  # raise it when what is mixed changes: records made before are then stale

Draw = Callable[[int, int, int, Generator], Tensor]  # (batch, height, width, generator) -> choices
Apply = Callable[[Tensor, Tensor], Tensor]  # (images, choices) -> images


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation."""

    draw: Draw  # gives choices [batch, numbers]
    apply: Apply
    version: int  # raise it when the images it makes change: records made before are then stale


AUGMENTATIONS: dict[str, Augmentation] = {}


def known(name: str) -> str:
    """The name, if it is one. Raises ValueError naming those there are."""
    if name not in AUGMENTATIONS:
        raise ValueError(unknown("augmentation", name, AUGMENTATIONS))
    return name


Augment = Annotated[str, AfterValidator(known)]


def augmentation(draw: Draw, *, version: int = 1) -> Callable[[Apply], Apply]:
    """Register a function that applies what `draw` has chosen, under its own name."""

    def register(apply: Apply) -> Apply:
        AUGMENTATIONS[apply.__name__] = Augmentation(draw, apply, version)
        return apply

    return register


def nothing(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 0"]:
    return torch.zeros(batch, 0)


def coins(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 1"]:
    """A number in [0, 1): below a half, the image is mirrored."""
    return torch.rand(batch, 1, generator=generator)


def shifts_and_coins(
    batch: int, height: int, width: int, generator: Generator
) -> Float[Tensor, "batch 3"]:
    """Where a shifted image begins in the padded one, from top and from left, and a coin."""
    down, across = reaches(height, width)
    top = torch.randint(0, 2 * down + 1, (batch, 1), generator=generator)
    left = torch.randint(0, 2 * across + 1, (batch, 1), generator=generator)
    return torch.cat([top, left, coins(batch, height, width, generator)], dim=1)


def reaches(height: int, width: int) -> tuple[int, int]:
    """How far an image is shifted at most, down and across, in pixels."""
    return max(1, height // 8), max(1, width // 8)


@augmentation(nothing)
def none(images: Bytes, choices: Float[Tensor, "batch 0"]) -> Bytes:
    return images


@augmentation(coins)
def flip(images: Bytes, choices: Float[Tensor, "batch 1"]) -> Bytes:
    return torch.where(choices[:, :, None, None] < 0.5, images.flip(3), images)


@augmentation(shifts_and_coins)
def crop_flip(images: Bytes, choices: Float[Tensor, "batch 3"]) -> Bytes:
    batch, _, height, width = images.shape
    down, across = reaches(height, width)
    # torch reflects floats alone, and they hold bytes exactly.
    padded = F.pad(images.float(), (across, across, down, down), mode="reflect").to(torch.uint8)
    top, left = choices[:, :2].long().unbind(1)
    rows = top[:, None, None] + torch.arange(height, device=images.device)[:, None]
    columns = left[:, None, None] + torch.arange(width, device=images.device)
    which = torch.arange(batch, device=images.device)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[which, rows, columns]  # batch height width channels
    return flip(shifted.permute(0, 3, 1, 2), choices[:, 2:])


def boxes_and_coins(
    batch: int, height: int, width: int, generator: Generator
) -> Float[Tensor, "batch 5"]:
    """Top, left, height and width of a part of the image, relative to its sides, and a coin."""
    area = torch.rand(batch, generator=generator) * 0.8 + 0.2
    place = torch.rand(batch, 2, generator=generator)
    spread = (torch.rand(batch, generator=generator) - 0.5) * 2
    aspect = torch.exp(spread * math.log(4 / 3))  # height over width, 3/4 to 4/3
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1).clamp(max=1)
    return torch.cat([place * (1 - sides), sides, coins(batch, height, width, generator)], dim=1)


@augmentation(boxes_and_coins)
def resized_crop_flip(images: Bytes, choices: Float[Tensor, "batch 5"]) -> Bytes:
    if not len(images):  # a process's share of a small batch; a grid of nothing is refused
        return images
    top, left, height, width, coin = choices.unbind(1)
    mirrored = torch.where(coin < 0.5, -width, width)
    zero = torch.zeros_like(top)
    # An affine map from the whole, from -1 to 1 on both axes, to the part.
    across = torch.stack([mirrored, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    maps = torch.stack([across, down], dim=1)  # batch 2 3
    places = F.affine_grid(maps, list(images.shape), align_corners=False)
    found = F.grid_sample(
        images.float(), places, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return found.round_().clamp_(0, 255).to(torch.uint8)


def mixed(
    images: Pixels,
    labels: Int64[Tensor, " batch"],
    classes: int,
    *,
    mixup: float,
    cutmix: float,
    generator: Generator,
) -> tuple[Pixels, Float[Tensor, "batch classes"]]:
    """Mixed images, and for each the share of every class in it, summing to 1.

    mixup, cutmix   parameter of the Beta distribution of the first image's share; 0 = not this one
    generator       on the CPU, the same choices on every device

    Raises ValueError where neither is on.
    """
    if not mixup and not cutmix:
        raise ValueError("nothing to mix: set mixup or cutmix above 0")
    cuts = bool(cutmix) and (not mixup or torch.rand((), generator=generator).item() < 0.5)
    share = beta(cutmix if cuts else mixup, generator)
    place = torch.rand(2, generator=generator).tolist()
    if cuts:
        images, share = pasted(images, share, place)
    else:
        images = images * share + images.flip(0) * (1 - share)
    targets = F.one_hot(labels, classes).float()
    return images, targets * share + targets.flip(0) * (1 - share)


def pasted(images: Pixels, share: float, place: list[float]) -> tuple[Pixels, float]:
    """Images with a rectangle of their partners, and the share of themselves that is left."""
    height, width = images.shape[2:]
    top, bottom, left, right = box(1 - share, height, width, place)
    changed = images.clone()
    changed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return changed, 1 - (bottom - top) * (right - left) / (height * width)


def beta(alpha: float, generator: Generator) -> float:
    """A number from Beta(alpha, alpha). Drawn by NumPy, since torch's own takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def box(area: float, height: int, width: int, place: list[float]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle around a place, in pixels.

    area    share of the image that it covers, less what sticks out
    place   of its middle, as shares of height and width
    """
    top, bottom = interval(place[0], area**0.5, height)
    left, right = interval(place[1], area**0.5, width)
    return top, bottom, left, right


def interval(place: float, share: float, side: int) -> tuple[int, int]:
    """First pixel, and first after it, of a share of a side around a place, cut off at the ends."""
    length = round(side * share)
    start = int(place * side) - length // 2
    return max(0, start), min(side, start + length)
