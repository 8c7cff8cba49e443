"""How masks lie: what makes one strategy's gaps harder to fill than another's.

All strategies hide equally many patches, so what tells them apart is geometry: how far a hidden
patch lies from what is seen, how large the connected regions are, at which frequencies a mask
varies, and whether each place is hidden equally often. Distances are in patches. Masks are
[batch, tokens], True = hidden, on a grid of (rows, columns).
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor

from lib.patches import Size
from lib.shapes import Mask


def distance_to_visible(mask: Mask, grid: Size) -> float:
    """How far a hidden patch lies from the nearest visible one, on average.

    Between their middles, so at least 1. NaN where nothing is hidden, or all of an image.
    """
    if not mask.any() or mask.all(dim=1).any():
        return float("nan")
    return float(np.concatenate([distance_transform_edt(m)[m] for m in as_maps(mask, grid)]).mean())


def region_size(mask: Mask, grid: Size) -> float:
    """How many patches the connected region has in which a hidden patch lies, on average.

    Connected by sides, not corners; a region counts as often as it has patches. NaN where nothing
    is hidden.
    """
    sizes = []
    for one in as_maps(mask, grid):
        size = np.bincount(label(one)[0].ravel())[1:]
        sizes.append(np.repeat(size, size))
    found = np.concatenate(sizes)
    return float(found.mean()) if found.size else float("nan")


def evenness(mask: Mask) -> float:
    """Whether every place is hidden equally often: 1 if so, 0 where places are always the same.

    The mean entropy of a place's being hidden or not, over that of a place that is hidden as
    often as the mean. NaN where nothing is hidden, or all.
    """
    rate = mask.double().mean(dim=0)
    return float(entropy(rate).mean() / entropy(rate.mean()))


def spectrum(mask: Mask, grid: Size, bins: int = 8) -> tuple[list[float], list[float]]:
    """The middle of each band of frequencies in cycles a patch, and the mean power there.

    In all directions alike; the power is relative to that of a mask that hides as many patches at
    random, so it is 1 on average over all frequencies. Bands without a frequency are left out.
    NaN where nothing is hidden, or all.
    """
    maps = mask.reshape(-1, *grid).double()
    centred = maps - maps.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(centred).abs().square().mean(dim=0)
    down, across = torch.fft.fftfreq(grid[0]), torch.fft.fftfreq(grid[1])
    frequency = (down[:, None] ** 2 + across[None] ** 2).sqrt()
    power = power / power[frequency > 0].mean()
    edges = torch.linspace(0, float(frequency.max()), bins + 1)
    band = torch.bucketize(frequency, edges).where(frequency > 0, -1)
    there = [number for number in range(1, bins + 1) if (band == number).any()]
    middles = [float(edges[number - 1 : number + 1].mean()) for number in there]
    return middles, [float(power[band == number].mean()) for number in there]


def entropy(rate: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Of something that happens with this probability, in bits."""
    return -(torch.special.xlogy(rate, rate) + torch.special.xlog1py(1 - rate, -rate)) / np.log(2)


def as_maps(mask: Mask, grid: Size) -> np.ndarray:
    """[batch, rows, columns]."""
    return mask.reshape(-1, *grid).numpy()
