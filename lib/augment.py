"""Random flips and crops of whole batches of bytes, each image its own, without a loop.

`none` leaves images alone; `flip` mirrors half of them; `crop_flip` also shifts each
by up to an eighth of its side in both directions, what moves in being reflected.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Generator, Tensor

AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {}


def augmentation(function):
    AUGMENTATIONS[function.__name__] = function
    return function


@augmentation
def none(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    return images


@augmentation
def flip(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


@augmentation
def crop_flip(images: UInt8[Tensor, "batch channels height width"], generator: Generator) -> Tensor:
    batch, _, height, width = images.shape
    reach = (max(1, height // 8), max(1, width // 8))
    padded = F.pad(images.float(), (reach[1], reach[1], reach[0], reach[0]), mode="reflect").to(torch.uint8)
    top, left = (torch.randint(0, 2 * r + 1, (batch, 1), generator=generator).to(images.device) for r in reach)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]  # batch 1 height 1
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]  # batch 1 1 width
    which = torch.arange(batch, device=images.device)[:, None, None, None]
    return flip(padded.permute(0, 2, 3, 1)[which, rows, columns].squeeze(1).permute(0, 3, 1, 2), generator)
