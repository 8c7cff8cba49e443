"""Batches whose images are two images each, with both labels in the same proportion.

Mixup (Zhang et al. 2018, arXiv 1710.09412, section 2) blends the pixels, CutMix (Yun et
al. 2019, arXiv 1905.04899, section 3.1) pastes a rectangle. As in MAE's fine-tuning (He
et al. 2022, table 9) one proportion holds for a whole batch, the first image meets the
last, the second the last but one, and where both are on, a coin decides for the batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor

VERSION = 1  # raise it when what it mixes changes: records made before are then stale


def mixed(
    images: Float[Tensor, "batch channels height width"],
    labels: Int64[Tensor, " batch"],
    classes: int,
    *,
    mixup: float,
    cutmix: float,
    generator: Generator,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch classes"]]:
    """Mixed images, and for each the share of every class in it, summing to 1.

    mixup, cutmix   parameter of the Beta distribution of the first image's share; 0 = not this one
    generator       on the CPU, the same choices on every device

    Raises ValueError where neither is on.
    """
    if not mixup and not cutmix:
        raise ValueError("nothing to mix: set mixup or cutmix above 0")
    cuts = bool(cutmix) and (not mixup or torch.rand((), generator=generator).item() < 0.5)
    share, place = beta(cutmix if cuts else mixup, generator), torch.rand(2, generator=generator).tolist()
    others = images.flip(0)
    if cuts:
        height, width = images.shape[2:]
        top, bottom, left, right = box(1 - share, height, width, place)
        images = images.clone()
        images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        images = images * share + others * (1 - share)
    targets = F.one_hot(labels, classes).float()
    return images, targets * share + targets.flip(0) * (1 - share)


def beta(alpha: float, generator: Generator) -> float:
    """A number from Beta(alpha, alpha). Drawn by NumPy, since torch's own takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def box(area: float, height: int, width: int, place: list[float]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle around a place (shares of the sides): `area` of the image, less what sticks out."""
    sides = [round(side * area**0.5) for side in (height, width)]
    starts = [int(at * side) - length // 2 for at, side, length in zip(place, (height, width), sides, strict=True)]
    (top, bottom), (left, right) = (
        (max(0, start), min(side, start + length)) for start, length, side in zip(starts, sides, (height, width), strict=True)
    )
    return top, bottom, left, right
