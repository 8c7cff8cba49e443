"""The colours of ColorMAE: white noise through a filter, of which the highest values are hidden.

Hinojosa et al. 2024 (arXiv 2407.13036), section 3. With G a Gaussian blur, red is the blurred
noise, blue what blurring takes away, green what lies between two blurs and purple what green takes
away. The paper cuts windows out of large filtered pictures that it downloads; here the noise comes
from the generator, with a margin around the grid, and is filtered in memory; which end is hidden
makes no difference, since the noise is symmetric. The widths of the blurs are ours, in patches.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lib.masking.registry import Grid, hide_highest, strategy

BLUR = 1.0  # standard deviation in patches that divides red from blue
NARROW, WIDE = 0.5, 2.0  # those between which green lies
MARGIN = 6  # patches around the grid, so that what wraps around is cut off


@strategy()
def red_noise(batch, grid, hidden, generator, scores=None, progress=None):
    """Low frequencies alone: large soft regions."""
    return hide_highest(filtered(batch, grid, generator, low_pass(grid, BLUR)), hidden)


@strategy()
def blue_noise(batch, grid, hidden, generator, scores=None, progress=None):
    """High frequencies alone: hidden patches evenly spread."""
    return hide_highest(filtered(batch, grid, generator, 1 - low_pass(grid, BLUR)), hidden)


@strategy()
def green_noise(batch, grid, hidden, generator, scores=None, progress=None):
    """A band of middle frequencies: clumps of a few patches, evenly spread."""
    return hide_highest(filtered(batch, grid, generator, band_pass(grid)), hidden)


@strategy()
def purple_noise(batch, grid, hidden, generator, scores=None, progress=None):
    """All but a band of middle frequencies: mostly a fine grain."""
    return hide_highest(filtered(batch, grid, generator, 1 - band_pass(grid)), hidden)


def filtered(
    batch: int, grid: Grid, generator: Generator, gain: Float[Tensor, "height width"]
) -> Float[Tensor, "batch tokens"]:
    """White noise whose frequencies are multiplied by `gain`, one value for each patch."""
    height, width = padded(grid)
    noise = torch.randn(batch, height, width, generator=generator)
    found = torch.fft.irfft2(torch.fft.rfft2(noise) * gain, s=(height, width))
    return found[:, MARGIN : MARGIN + grid[0], MARGIN : MARGIN + grid[1]].flatten(1)


def band_pass(grid: Grid) -> Float[Tensor, "height width"]:
    """The gain of what a narrow blur lets through and a wide one does not."""
    return low_pass(grid, NARROW) - low_pass(grid, WIDE)


def low_pass(grid: Grid, deviation: float) -> Float[Tensor, "height width"]:
    """The gain of a Gaussian blur: its Fourier transform, at the frequencies of `rfft2`."""
    height, width = padded(grid)
    down, across = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)  # cycles a patch
    squared = down[:, None] ** 2 + across[None] ** 2
    return (-2 * torch.pi**2 * deviation**2 * squared).exp()


def padded(grid: Grid) -> Grid:
    return grid[0] + 2 * MARGIN, grid[1] + 2 * MARGIN
