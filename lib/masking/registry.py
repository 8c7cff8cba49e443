"""What a masking strategy is, the register of them, and the one call that draws masks.

Every image of a batch hides exactly `hidden_count(tokens, ratio)` patches, so that strategies
differ in *where* alone. Tokens are in reading order, row by row; a mask is True where a patch is
hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, Real
from torch import Generator, Tensor

from lib.config import unknown
from lib.register import Register
from lib.shapes import Mask, Scores

Grid = tuple[int, int]  # rows and columns of patches


@runtime_checkable
class Draws(Protocol):
    """What every strategy is: a function that hides exactly `hidden` patches of each image."""

    __name__: str

    def __call__(
        self,
        batch: int,
        grid: Grid,
        hidden: int,
        generator: Generator,
        scores: Scores | None = None,
        progress: float | None = None,
    ) -> Mask:
        """Masks [batch, tokens].

        generator   of all randomness
        scores      a number for each patch, of a strategy that looks at images
        progress    share of training done, 1 for validation, None for test masks
        """


@dataclass(frozen=True)
class Strategy:
    """A registered strategy."""

    name: str
    function: Draws
    summary: str  # one sentence for tables and the gallery
    ratios: tuple[float, float]  # smallest and largest ratio for which it is defined
    moves: bool  # whether its place changes from image to image
    looks_at: str | None = None  # what tells patches apart: a name of lib.scores; None: nothing
    schedule: Callable[[float, float], float] | None = None  # a step's ratio, by ratio and progress
    ends_as: str | None = None  # the strategy whose test masks are its own; None: it has some
    version: int = 1  # raise it when the masks it draws change: records made before are then stale

    def defined_at(self, ratio: float) -> bool:
        return self.ratios[0] <= ratio <= self.ratios[1]

    def nearest(self, ratio: float) -> float:
        """The ratio nearest to this one for which it is defined."""
        return min(max(ratio, self.ratios[0]), self.ratios[1])


STRATEGIES: Register[Strategy] = Register("lib.masking")


def strategy(
    *, ratios: tuple[float, float] = (0.0, 1.0), moves: bool = True, **more: Any
) -> Callable[[Draws], Draws]:
    """Register a function under its own name; the first line of its docstring is its summary.

    more   further fields of `Strategy`
    """

    def register(function: Draws) -> Draws:
        name, told = function.__name__, (function.__doc__ or "").strip()
        if not told:
            raise ValueError(f"strategy {name!r} has no docstring: its first line is its summary")
        made = Strategy(name, function, told.splitlines()[0], ratios, moves, **more)
        STRATEGIES.add(name, made, function.__module__)
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
    scores: Scores | None = None,
    progress: float | None = None,
) -> Mask:
    """Draw masks: boolean [batch, tokens], True = hidden, the exact count in every image.

    scores     for a strategy that looks at images (lib.scores.scores_of)
    progress   the share of training done; None for masks that are not of a training

    Raises ValueError for an unknown strategy, a ratio outside [0, 1), one that would
    hide every patch, one for which the strategy is not defined, and where it lacks its scores.
    Ratio 0 hides nothing under every strategy: it is the unmasked control.
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
    if chosen.schedule is not None and progress is not None:
        hidden = max(1, hidden_count(tokens, chosen.schedule(ratio, progress)))
    if chosen.looks_at is not None and scores is None:
        raise ValueError(
            f"strategy {name!r} looks at the {chosen.looks_at} of images: "
            "give it their scores (lib.scores.scores_of)"
        )
    mask = chosen.function(batch, grid, hidden, generator, scores, progress)
    counts = mask.sum(dim=1)
    if (counts != hidden).any():
        raise RuntimeError(
            f"strategy {name!r} did not hide exactly {hidden} of {tokens} patches in every image, "
            f"but {int(counts.min())} to {int(counts.max())}"
        )
    return mask


def hide_highest(scores: Real[Tensor, "batch tokens"], hidden: int) -> Mask:
    """Hide the `hidden` patches with the highest scores of each image.

    Of equals any: add `uniform_noise` (below 1) to draw lots among scores that are whole numbers.
    """
    return hide_in_order(scores.argsort(dim=1, descending=True), hidden)


def hide_in_order(order: Int64[Tensor, "batch tokens"], hidden: int) -> Mask:
    """Hide the first `hidden` of each image's patches in an order of them."""
    return torch.zeros(order.shape, dtype=torch.bool).scatter(1, order[:, :hidden], True)


def rows_and_columns(grid: Grid) -> tuple[Tensor, Tensor]:
    """The row and the column of every token in reading order, each [1, tokens]."""
    tokens = torch.arange(grid[0] * grid[1])[None]
    return tokens // grid[1], tokens % grid[1]


def uniform_noise(batch: int, grid: Grid, generator: Generator) -> Float[Tensor, "batch tokens"]:
    """A number in [0, 1) for every patch."""
    return torch.rand(batch, grid[0] * grid[1], generator=generator)
