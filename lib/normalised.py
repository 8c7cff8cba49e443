"""Patches with their own mean 0 and deviation 1, and how to show predictions of them honestly.

The normalised-pixel target (He et al. 2022, section 4.1 and table 1d) removes each
patch's brightness and contrast, so a prediction of it is no picture: a hidden patch's
own statistics are unknown. They can be guessed from the visible patches near it
(`neighbours`), be taken from the truth, which leaks what was hidden and serves to
show that leak (`true`), or be left out (`none`).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.patches import Size

Statistics = Literal["neighbours", "true", "none"]


def patch_statistics(patches: Float[Tensor, "batch tokens pixels"]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each patch, [batch, tokens, 1], as in the original code (unbiased, 1e-6 added)."""
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


def normalise(patches: Float[Tensor, "batch tokens pixels"]) -> Float[Tensor, "batch tokens pixels"]:
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation


def restore(
    predicted: Float[Tensor, "batch tokens pixels"],
    truth: Float[Tensor, "batch tokens pixels"],
    mask: Bool[Tensor, "batch tokens"],
    grid: Size,
    statistics: Statistics,
) -> Float[Tensor, "batch tokens pixels"]:
    """Normalised predictions as pixels; under `neighbours` nothing of a hidden patch of `truth` is used."""
    if statistics == "none":
        return predicted
    mean, deviation = patch_statistics(truth)
    if statistics == "neighbours":
        near = nearness(mask, grid)  # batch tokens tokens
        mean, deviation = near @ mean, near @ deviation
    return predicted * deviation + mean


def nearness(mask: Bool[Tensor, "batch tokens"], grid: Size) -> Float[Tensor, "batch tokens tokens"]:
    """For every patch the weights of the visible ones, falling with squared distance; a visible patch is its own."""
    places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).float().to(mask.device).reshape(-1, 2)
    weight = 1 / (torch.cdist(places, places) ** 2 + 1e-9)
    weight = weight * ~mask[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)
