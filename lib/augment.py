"""Random flips and crops of whole batches of bytes, each image its own, without a loop.

`none` leaves images alone; `flip` mirrors half of them; `crop_flip` also shifts each
by up to an eighth of its side in both directions, what moves in being reflected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation: call it as `augmentation(images, generator)`."""

    function: Callable[[Tensor, Generator], Tensor]
    version: int  # raise it when the images it makes change: records made before are then stale

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return self.function(images, generator)


AUGMENTATIONS: dict[str, Augmentation] = {}


def augmentation(*, version: int = 1):
    """Register a function under its own name."""

    def register(function):
        AUGMENTATIONS[function.__name__] = Augmentation(function, version)
        return function

    return register


@augmentation()
def none(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    return images


@augmentation()
def flip(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


@augmentation()
def crop_flip(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    batch, _, height, width = images.shape
    reach = (max(1, height // 8), max(1, width // 8))
    padded = F.pad(images.float(), (reach[1], reach[1], reach[0], reach[0]), mode="reflect").to(torch.uint8)
    top, left = (torch.randint(0, 2 * r + 1, (batch, 1), generator=generator).to(images.device) for r in reach)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]  # batch 1 height 1
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]  # batch 1 1 width
    which = torch.arange(batch, device=images.device)[:, None, None, None]
    return flip(padded.permute(0, 2, 3, 1)[which, rows, columns].squeeze(1).permute(0, 3, 1, 2), generator)
