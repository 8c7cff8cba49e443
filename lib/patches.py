"""Images as rows of patches, and back.

An image [channels, height, width] is cut into a grid of (rows, columns) patches, read row by
row; a patch is flattened as (height, width, channels), the order of He et al. 2022 (arXiv
2111.06377), so that published weights fit. Images and patches may be rectangular; a size that
the patch does not divide is refused, because silently cropping would change what the measures
are about. `mask` is True = hidden, of patches and of pixels alike.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lib.shapes import Mask, Patches, Pixels

Size = tuple[int, int]  # height and width, or rows and columns


def grid_of(size: Size, patch: Size) -> Size:
    """Rows and columns of patches. Raises ValueError where `patch` does not divide `size`."""
    if size[0] % patch[0] or size[1] % patch[1]:
        raise ValueError(
            f"patches of {patch[0]}x{patch[1]} do not tile images of {size[0]}x{size[1]}: "
            "choose a patch_size that divides both, or another image_size"
        )
    return size[0] // patch[0], size[1] // patch[1]


def patchify(images: Pixels, patch: Size) -> Patches:
    """Cut images into flattened patches, row by row. Raises ValueError as `grid_of`."""
    batch, channels, height, width = images.shape
    rows, columns = grid_of((height, width), patch)
    cut = images.reshape(batch, channels, rows, patch[0], columns, patch[1])
    cut = cut.permute(0, 2, 4, 3, 5, 1)  # batch rows columns patch_height patch_width channels
    return cut.reshape(batch, rows * columns, patch[0] * patch[1] * channels)


def unpatchify(patches: Patches, patch: Size, grid: Size) -> Pixels:
    """The inverse of `patchify`."""
    batch, _, pixels = patches.shape
    channels = pixels // (patch[0] * patch[1])
    laid = patches.reshape(batch, grid[0], grid[1], patch[0], patch[1], channels)
    laid = laid.permute(0, 5, 1, 3, 2, 4)  # batch channels rows patch_height columns patch_width
    return laid.reshape(batch, channels, grid[0] * patch[0], grid[1] * patch[1])


def pixel_mask(mask: Mask, patch: Size, grid: Size) -> Bool[Tensor, "batch 1 height width"]:
    """The mask of patches as a mask of pixels."""
    laid = mask.reshape(-1, 1, grid[0], 1, grid[1], 1)
    spread = laid.expand(-1, -1, -1, patch[0], -1, patch[1])  # batch 1 rows height columns width
    return spread.reshape(-1, 1, grid[0] * patch[0], grid[1] * patch[1])


def visible_indices(
    mask: Mask,
) -> tuple[Int64[Tensor, "batch visible"], Int64[Tensor, "batch hidden"]]:
    """Indices of the visible tokens and of the hidden ones, each ascending.

    Raises ValueError where images of one batch hide different numbers of patches.
    """
    hidden = mask.sum(dim=1)
    if (hidden != hidden[0]).any():
        counts = str(sorted(set(hidden.tolist())))[:200]
        raise ValueError(
            f"every image of a batch must hide equally many patches, got counts {counts}: "
            "draw masks by lib.masking.draw"
        )
    # A stable sort puts visible tokens first and leaves each part in reading order.
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)
    visible = mask.shape[1] - int(hidden[0])
    return order[:, :visible], order[:, visible:]
