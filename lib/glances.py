"""What a model of small images knows of a picture: what surprises it, and what it takes for alike.

A picture is looked at through windows of the model's size (lib/windows.py). What cannot be guessed
from the rest surprises: each patch is hidden three times, in masks of three quarters that differ,
and the error there is its surprise. Windows that lie side by side can be compared by features:
which other one, of any picture, is most alike.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor, nn

from lib.patches import Size, patchify
from lib.windows import STRIDE, Picture, complete, lattice

QUARTERS = 4


def surprise_map(
    model: nn.Module, picture: Picture, generator: Generator, stride: int = STRIDE
) -> Float[Tensor, "rows columns"]:
    """How far off a model is in each patch where it is hidden: the root of the mean squared error.

    A picture whose sides are whole patches, as of `windows.trimmed`; `stride` as there.
    """
    patch = model.space.shape.patch
    grid = lattice(model, picture)
    masks = quarters(grid[0] * grid[1], generator)
    total = torch.zeros(grid[0] * grid[1])
    for mask in masks:
        wrong = (complete(model, picture, mask, stride) - picture) ** 2
        total += patchify(wrong[None], patch)[0].mean(dim=1)  # 0 where it is seen
    return (total / masks.sum(dim=0)).sqrt().reshape(grid)


def quarters(tokens: int, generator: Generator) -> Bool[Tensor, "4 tokens"]:
    """Four masks, each of which leaves another quarter of the patches visible."""
    visible = torch.randperm(tokens, generator=generator) % QUARTERS
    return visible[None] != torch.arange(QUARTERS)[:, None]


def nearest(
    features: Float[Tensor, "windows features"], places: list[tuple[int, int, int]], size: Size
) -> Int64[Tensor, " windows"]:
    """Of each window the one most like it, by cosine similarity of centred features.

    places   number of its picture, top and left pixel of each
    size     of a window: those that overlap in a picture are not compared
    """
    unit = F.normalize(features - features.mean(dim=0), dim=1)
    where = torch.tensor(places)
    apart = (where[:, None] - where[None]).abs()  # windows windows 3
    overlap = (apart[:, :, 0] == 0) & (apart[:, :, 1] < size[0]) & (apart[:, :, 2] < size[1])
    return (unit @ unit.T).masked_fill(overlap, -torch.inf).argmax(dim=1)
