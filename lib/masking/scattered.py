"""Masks made patch by patch: at random, on a lattice, in small units, or kept apart.

All rank patches by a score and hide the highest, so that each has its exact count. Where a
lattice does not fit a grid, patches at random make up the difference.
"""

import torch
from torch import Tensor

from lib.masking.registry import Grid, hide_highest, rows_and_columns, strategy, uniform_noise

UNIT = 2  # patches along a side of the larger unit, and of a cell of the lattices


@strategy()
def random(batch, grid, hidden, generator, scores=None, progress=None):
    """Patches drawn independently and uniformly, the choice of the MAE paper."""
    return hide_highest(uniform_noise(batch, grid, generator), hidden)


@strategy(ratios=(0.75, 0.75))
def grid(batch, grid, hidden, generator, scores=None, progress=None):
    """One visible patch in every 2x2 cell, at one place in all cells that moves between images.

    He et al. 2022 (arXiv 2111.06377), figure 6, where the place does not move. Where a side is
    odd the lattice is a little more or less than a quarter of the patches: random patches are
    then hidden or shown to reach the exact count.
    """
    row, column = rows_and_columns(grid)
    offset = torch.randint(0, 2, (2, batch, 1), generator=generator)
    shown = (row % 2 == offset[0]) & (column % 2 == offset[1])
    return hide_highest(uniform_noise(batch, grid, generator) - shown.float(), hidden)


@strategy(ratios=(0.75, 0.75))
def uniform(batch, grid, hidden, generator, scores=None, progress=None):
    """One visible patch in every 2x2 cell, at a place of its own in each.

    The uniform sampling of UM-MAE (Li et al. 2022, arXiv 2205.10063, section 3). Where a side is
    odd, cells are cut by it and show one patch too, their few patches so the more often; random
    ones are then hidden to reach the exact count.
    """
    noise = uniform_noise(batch, grid, generator)
    highest = torch.zeros(batch, cells(grid).max() + 1)
    highest = highest.scatter_reduce(1, cells(grid).expand(batch, -1), noise, "amax")
    shown = noise == highest.gather(1, cells(grid).expand(batch, -1))
    return hide_highest(uniform_noise(batch, grid, generator) - shown.float(), hidden)


@strategy()
def units(batch, grid, hidden, generator, scores=None, progress=None):
    """Whole cells of 2x2 patches drawn at random, the larger unit of SimMIM.

    Xie et al. 2022 (arXiv 2111.09886), section 3.2: 32 pixels are masked at once where the
    model's patch is smaller. The last cell is hidden in part to reach the exact count.
    """
    each = torch.rand(batch, cells(grid).max() + 1, generator=generator)
    rank = each.argsort(dim=1).argsort(dim=1).gather(1, cells(grid).expand(batch, -1))
    return hide_highest(rank + uniform_noise(batch, grid, generator), hidden)


@strategy(ratios=(0.5, 0.5))
def checkerboard(batch, grid, hidden, generator, scores=None, progress=None):
    """Every other patch, as on a chessboard, one colour or the other."""
    row, column = rows_and_columns(grid)
    colour = torch.randint(0, 2, (batch, 1), generator=generator)
    dark = (row + column) % 2 == colour
    return hide_highest(dark + uniform_noise(batch, grid, generator), hidden)


@strategy()
def poisson_disk(batch, grid, hidden, generator, scores=None, progress=None):
    """The rarer kind, hidden or visible patches, is kept apart, otherwise at random.

    Cook 1986 (Stochastic sampling in computer graphics) throws darts that must not fall
    within a distance of each other. Here the next one falls at random where all others are at
    least .7 of the distance that a perfect packing would have, else where they are farthest.
    """
    tokens = grid[0] * grid[1]
    darts = min(hidden, tokens - hidden)
    enough = 0.7 * (2 * tokens / (3**0.5 * darts)) ** 0.5
    places = torch.stack(rows_and_columns(grid), dim=2).float().squeeze(0)  # tokens 2
    apart = torch.cdist(places, places)
    nearest = torch.full((batch, tokens), torch.inf)  # of each patch to a dart
    fallen = torch.zeros(batch, tokens, dtype=torch.bool)
    for _ in range(darts):
        room = nearest.clamp(max=enough).masked_fill(fallen, -1)
        best = room == room.amax(dim=1, keepdim=True)
        place = uniform_noise(batch, grid, generator).masked_fill(~best, -1).argmax(dim=1)
        fallen = fallen.scatter(1, place[:, None], True)
        nearest = torch.minimum(nearest, apart[place])
    return fallen if darts == hidden else ~fallen


def cells(grid: Grid) -> Tensor:
    """The number of the 2x2 cell that each patch lies in, [1, tokens]."""
    row, column = rows_and_columns(grid)
    return row // UNIT * -(-grid[1] // UNIT) + column // UNIT
