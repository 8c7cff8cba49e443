"""Masks by what is in the patches: the caller says how much (`scores`), no model is asked.

A patch's score is named by `looks_at` (lib/scores.py). Ties, such as the empty background of a
digit, are broken at random.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lib.masking.registry import strategy
from lib.shapes import Mask


@strategy(looks_at="variance")
def busiest(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that vary most: what is left is flat."""
    return hide_first(-scores, hidden, generator)


@strategy(looks_at="variance")
def calmest(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that vary least: what is left is texture and outline."""
    return hide_first(scores, hidden, generator)


@strategy(looks_at="edges")
def edges(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches with the strongest edges."""
    return hide_first(-scores, hidden, generator)


def hide_first(scores: Float[Tensor, "batch tokens"], hidden: int, generator: Generator) -> Mask:
    """Hide the `hidden` patches with the lowest scores of each image, of equals any."""
    shuffled = torch.rand(scores.shape, generator=generator).argsort(dim=1)
    ranked = scores.gather(1, shuffled).argsort(dim=1, stable=True)
    chosen = shuffled.gather(1, ranked[:, :hidden])
    return torch.zeros(scores.shape, dtype=torch.bool).scatter(1, chosen, True)
