"""Random flips and crops of whole batches of bytes, each image its own, without a loop.

`none` leaves images alone; `flip` mirrors half of them; `crop_flip` also shifts each
by up to an eighth of its side in both directions, what moves in being reflected;
`resized_crop_flip` shows a part of 20 to 100 % of its area at full size, as MAE is
pre-trained on ImageNet (He et al. 2022, table 8).
An augmentation is a function of images and of random choices [batch, ...] that are
drawn first, so that one of several processes draws for the whole batch and changes
its own share. To add one: a function that draws, and one that applies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import AfterValidator
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation."""

    draw: Callable[[int, int, int, Generator], Tensor]  # (batch, height, width, generator) -> choices [batch, numbers]
    apply: Callable[[Tensor, Tensor], Tensor]  # (images, choices) -> images
    version: int  # raise it when the images it makes change: records made before are then stale


AUGMENTATIONS: dict[str, Augmentation] = {}


def known(name: str) -> str:
    """The name, if it is one. Raises ValueError naming those there are."""
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}: choose one of {', '.join(AUGMENTATIONS)}")
    return name


Augment = Annotated[str, AfterValidator(known)]


def augmentation(draw: Callable[[int, int, int, Generator], Tensor], *, version: int = 1):
    """Register a function that applies what `draw` has chosen, under its own name."""

    def register(apply):
        AUGMENTATIONS[apply.__name__] = Augmentation(draw, apply, version)
        return apply

    return register


def nothing(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 0"]:
    return torch.zeros(batch, 0)


def coins(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 1"]:
    return torch.rand(batch, 1, 1, 1, generator=generator).view(batch, 1)


def shifts_and_coins(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 3"]:
    """Top, left, and a coin."""
    places = [torch.randint(0, 2 * reach + 1, (batch, 1), generator=generator) for reach in reaches(height, width)]
    return torch.cat([*places, coins(batch, height, width, generator)], dim=1)


def reaches(height: int, width: int) -> tuple[int, int]:
    """How far an image is shifted at most, in pixels."""
    return max(1, height // 8), max(1, width // 8)


@augmentation(nothing)
def none(images: UInt8[Tensor, "batch channels height width"], choices: Tensor) -> Tensor:
    return images


@augmentation(coins)
def flip(images: UInt8[Tensor, "batch channels height width"], choices: Float[Tensor, "batch 1"]) -> Tensor:
    return torch.where(choices[:, :, None, None] < 0.5, images.flip(3), images)


@augmentation(shifts_and_coins)
def crop_flip(images: UInt8[Tensor, "batch channels height width"], choices: Float[Tensor, "batch 3"]) -> Tensor:
    batch, _, height, width = images.shape
    reach, (top, left) = reaches(height, width), choices[:, :2].long().split(1, dim=1)
    padded = F.pad(images.float(), (reach[1], reach[1], reach[0], reach[0]), mode="reflect").to(torch.uint8)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]  # batch 1 height 1
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]  # batch 1 1 width
    which = torch.arange(batch, device=images.device)[:, None, None, None]
    return flip(padded.permute(0, 2, 3, 1)[which, rows, columns].squeeze(1).permute(0, 3, 1, 2), choices[:, 2:])


def boxes_and_coins(batch: int, height: int, width: int, generator: Generator) -> Float[Tensor, "batch 5"]:
    """Top, left, height and width of a part of the image, each relative to its side, and a coin."""
    area, place = torch.rand(batch, generator=generator) * 0.8 + 0.2, torch.rand(batch, 2, generator=generator)
    shape = torch.exp((torch.rand(batch, generator=generator) - 0.5) * 2 * math.log(4 / 3))  # height over width
    sides = torch.stack([(area * shape).sqrt(), (area / shape).sqrt()], dim=1).clamp(max=1)
    return torch.cat([place * (1 - sides), sides, coins(batch, height, width, generator)], dim=1)


@augmentation(boxes_and_coins)
def resized_crop_flip(images: UInt8[Tensor, "batch channels height width"], choices: Float[Tensor, "batch 5"]) -> Tensor:
    top, left, height, width, coin = choices.unbind(1)
    mirrored = torch.where(coin < 0.5, -width, width)
    nothing = torch.zeros_like(top)
    across = torch.stack([mirrored, nothing, 2 * left + width - 1], dim=1)
    down = torch.stack([nothing, height, 2 * top + height - 1], dim=1)
    places = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
    found = F.grid_sample(images.float(), places, mode="bicubic", padding_mode="reflection", align_corners=False)
    return found.round_().clamp_(0, 255).to(torch.uint8)
