"""Where to hide: strategies that draw boolean masks, True = hidden.

A strategy knows a grid of patches, how many of them to hide and a generator; it never sees an
image or a model (He et al. 2022, arXiv 2111.06377, section 4.1 and figure 6, compare the three
that stand here). Every image of a batch hides exactly `hidden_count(tokens, ratio)` patches, so
that strategies differ in *where* alone. Informed strategies get a score per patch from their
caller (`scores`), scheduled ones the share of training done (`progress`, 0 to 1). Tokens are in
reading order, row by row.

To add one, write a function below with `@strategy(...)`: the tests, the gallery, the parameter
check and notebook 04 find it through `STRATEGIES`. `Masks` draws those of one training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lib.config import unknown
from lib.shapes import Mask
from lib.streams import stream

Grid = tuple[int, int]  # rows and columns of patches
LONGEST = 1 / 0.3  # of a block's sides to each other, as in BEiT (Bao et al. 2022)


@dataclass(frozen=True)
class Strategy:
    """A registered strategy.

    Its function is called as (batch, grid, hidden, generator, scores, progress) and gives masks
    [batch, tokens], each with exactly `hidden` patches hidden.
    """

    name: str
    function: Callable[..., Tensor]
    summary: str  # one sentence for tables and the gallery
    ratios: tuple[float, float]  # smallest and largest ratio for which it is defined
    moves: bool  # whether its place changes from image to image
    version: int = 1  # raise it when the masks it draws change: records made before are then stale

    def defined_at(self, ratio: float) -> bool:
        return self.ratios[0] <= ratio <= self.ratios[1]


STRATEGIES: dict[str, Strategy] = {}


def strategy(
    *, ratios: tuple[float, float] = (0.0, 1.0), moves: bool = True, version: int = 1
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function under its own name; the first line of its docstring is its summary."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        summary = function.__doc__.strip().splitlines()[0]
        STRATEGIES[name] = Strategy(name, function, summary, ratios, moves, version)
        return function

    return register


def hidden_count(tokens: int, ratio: float) -> int:
    """How many of `tokens` patches a ratio hides: floor(ratio * tokens + 0.5), half rounded up."""
    return floor(ratio * tokens + 0.5)


def draw(
    name: str,
    *,
    batch: int,
    grid: Grid,
    ratio: float,
    generator: Generator,
    scores: Float[Tensor, "batch tokens"] | None = None,
    progress: float | None = None,
) -> Mask:
    """Draw masks: boolean [batch, tokens], True = hidden, the exact count in every image.

    Raises ValueError for an unknown strategy, a ratio outside [0, 1), one that would
    hide every patch, and one for which the strategy is not defined. Ratio 0 hides
    nothing under every strategy: it is the unmasked control.
    """
    if name not in STRATEGIES:
        raise ValueError(unknown("masking strategy", name, STRATEGIES))
    chosen = STRATEGIES[name]
    tokens = grid[0] * grid[1]
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} is outside [0, 1): it is the share of hidden patches")
    hidden = hidden_count(tokens, ratio)
    if hidden == tokens:
        raise ValueError(
            f"mask ratio {ratio} hides all {tokens} patches: lower it, or use smaller patches"
        )
    if hidden == 0:
        return torch.zeros(batch, tokens, dtype=torch.bool)
    if not chosen.defined_at(ratio):
        low, high = chosen.ratios
        raise ValueError(
            f"strategy {name!r} is defined for ratios from {low} to {high}, not for {ratio}"
        )
    mask = chosen.function(batch, grid, hidden, generator, scores, progress)
    if (mask.sum(dim=1) != hidden).any():
        raise RuntimeError(
            f"strategy {name!r} did not hide exactly {hidden} of {tokens} patches in every image"
        )
    return mask


@dataclass(frozen=True)
class Masks:
    """The masks of one training, each drawn from the stream of its step."""

    strategy: str
    ratio: float
    grid: Grid
    seed: int

    def __call__(self, batch: int, step: int, progress: float) -> Mask:
        """Masks of a step, `progress` being the share of training done. Raises as `draw`."""
        return self.drawn(batch, stream(self.seed, f"mask/{step}"), progress)

    def validation(self, count: int) -> Mask:
        """The fixed masks of the validation loss, as at the end of training. Raises as `draw`."""
        return self.drawn(count, stream(self.seed, "validation"), progress=1.0)

    def drawn(self, batch: int, generator: Generator, progress: float) -> Mask:
        return draw(
            self.strategy,
            batch=batch,
            grid=self.grid,
            ratio=self.ratio,
            generator=generator,
            progress=progress,
        )


def hide_highest(scores: Float[Tensor, "batch tokens"], hidden: int) -> Mask:
    """Hide the `hidden` patches with the highest scores of each image."""
    ranked = scores.argsort(dim=1, descending=True)
    return torch.zeros(scores.shape, dtype=torch.bool).scatter(1, ranked[:, :hidden], True)


@strategy()
def random(batch, grid, hidden, generator, scores=None, progress=None):
    """Patches drawn independently and uniformly, the choice of the MAE paper."""
    return hide_highest(torch.rand(batch, grid[0] * grid[1], generator=generator), hidden)


@strategy()
def block(batch, grid, hidden, generator, scores=None, progress=None):
    """One connected rectangle of random aspect and place, one side trimmed to the exact count."""
    shapes = torch.tensor(rectangles(grid, hidden))  # shapes 3: height, width, trimmed_by_column
    aspect = (shapes[:, 0] / shapes[:, 1]).log()
    # Log-uniform, so that wide and tall are as likely; then the rectangle that is nearest to it.
    wanted = (2 * torch.rand(batch, generator=generator) - 1) * log(LONGEST)
    nearest = (wanted[:, None] - aspect).abs().argmin(dim=1)
    height, width, by_column = shapes[nearest].T[:, :, None]  # each batch 1
    top = (torch.rand(batch, 1, generator=generator) * (grid[0] - height + 1)).long()
    left = (torch.rand(batch, 1, generator=generator) * (grid[1] - width + 1)).long()
    row, column = rows_and_columns(grid)
    row, column = row - top, column - left  # batch tokens, relative to the rectangle
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    rank = torch.where(by_column == 1, column * height + row, row * width + column)
    return inside & (rank < hidden)


@strategy(ratios=(0.75, 0.75))
def grid(batch, grid, hidden, generator, scores=None, progress=None):
    """One visible patch in every 2x2 cell, at one place in all cells that moves between images.

    Where a side is odd the lattice is a little more or less than a quarter of the
    patches: random patches are then hidden or shown to reach the exact count.
    """
    row, column = rows_and_columns(grid)
    offset = torch.randint(0, 2, (2, batch, 1), generator=generator)
    shown = (row % 2 == offset[0]) & (column % 2 == offset[1])
    return hide_highest(torch.rand(shown.shape, generator=generator) - shown.float(), hidden)


def rectangles(grid: Grid, area: int) -> list[tuple[int, int, int]]:
    """The rectangles of a grid that hold `area` once their last row or column is trimmed.

    Each is (height, width, trimmed_by_column), the last being 1 where its last column is
    trimmed and 0 where its last row is.
    """
    rows, columns = grid
    by_column = [(height, ceil(area / height), 1) for height in range(1, rows + 1)]
    by_row = [(ceil(area / width), width, 0) for width in range(1, columns + 1)]
    return sorted(
        {shape for shape in by_column + by_row if shape[0] <= rows and shape[1] <= columns}
    )


def rows_and_columns(grid: Grid) -> tuple[Tensor, Tensor]:
    """The row and the column of every token in reading order, each [1, tokens]."""
    tokens = torch.arange(grid[0] * grid[1])[None]
    return tokens // grid[1], tokens % grid[1]
