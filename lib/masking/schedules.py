"""Masks that change over training, or are of several kinds."""

import torch

from lib.masking.registry import STRATEGIES, strategy

MIXED = ("random", "units", "block")  # fine, coarse, whole


def rising(ratio: float, progress: float) -> float:
    """From half of a ratio to all of it."""
    return ratio * (1 + progress) / 2


@strategy(schedule=rising, ends_as="random")
def growing(batch, grid, hidden, generator, scores=None, progress=None):
    """Random patches, at first half as many, growing steadily to all at the end of training."""
    return STRATEGIES["random"].function(batch, grid, hidden, generator)


@strategy(version=2)
def mixture(batch, grid, hidden, generator, scores=None, progress=None):
    """Random patches, units or one block, by lot for each image."""
    kinds = [STRATEGIES[name].function(batch, grid, hidden, generator) for name in MIXED]
    lot = torch.randint(0, len(MIXED), (batch,), generator=generator)
    return torch.stack(kinds)[lot, torch.arange(batch)]
