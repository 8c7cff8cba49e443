"""What every model sees and what it is judged on in training.

All families work on standardised pixels (each channel of the training set has mean 0 and
deviation 1), see a hidden patch, if they see it at all, as the data set's mean (which is 0
there), and are trained on the mean squared error over a region: the hidden pixels (He et al.
2022, section 3) or all of them. So the families differ in what they are, not in how they are
fed. `mask` is True = hidden.

The normalised-pixel target (He et al. 2022, section 4.1 and table 1d) removes each patch's
brightness and contrast, so a prediction of it is no picture: a hidden patch's own statistics
are unknown. They can be guessed from the visible patches near it (`neighbours`), be taken from
the truth, which leaks what was hidden and serves to show that leak (`true`), or be left out
(`none`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lib.mapped import parts
from lib.patches import Size, grid_of, pixel_mask
from lib.shapes import Bytes, Loss, Mask, Patches, Pixels

Region = Literal["hidden", "all"]
Statistics = Literal["neighbours", "true", "none"]


@dataclass(frozen=True)
class Shape:
    """The shape of one image and of its patches, in pixels."""

    channels: int
    height: int
    width: int
    patch: Size

    @property
    def grid(self) -> Size:
        """Rows and columns of patches."""
        return grid_of((self.height, self.width), self.patch)

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return self.channels * self.height * self.width


class PixelSpace(nn.Module):
    """Standardise, blank and compare images of one shape.

    mean, std   of each channel of the training set, in [0, 1]

    Raises ValueError where they are not one for each channel.
    """

    def __init__(
        self, shape: Shape, mean: Float[Tensor, " channels"], std: Float[Tensor, " channels"]
    ):
        super().__init__()
        if len(mean) != shape.channels:
            raise ValueError(f"images have {shape.channels} channels but the mean has {len(mean)}")
        self.shape = shape
        self.grid = shape.grid
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    def standardise(self, images: Pixels) -> Pixels:
        """From [0, 1] to mean 0, deviation 1.

        Raises ValueError for images of another shape, and TypeError for bytes.
        """
        check_unit_range(images)
        expected = (self.shape.channels, self.shape.height, self.shape.width)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"the model was built for images {expected}, got {tuple(images.shape[1:])}"
            )
        return (images - self.mean) / self.std

    def restore(self, pixels: Pixels) -> Pixels:
        """The inverse of `standardise`, clipped to [0, 1]."""
        return (pixels.float() * self.std + self.mean).clamp(0, 1)

    def nothing_hidden(self, images: Pixels) -> Mask:
        """The mask that hides no patch."""
        tokens = self.grid[0] * self.grid[1]
        return torch.zeros(len(images), tokens, dtype=torch.bool, device=images.device)

    def hidden_pixels(self, mask: Mask) -> Bool[Tensor, "batch 1 height width"]:
        """The mask of patches as a mask of pixels."""
        return pixel_mask(mask, self.shape.patch, self.grid)

    def blank(self, images: Pixels, mask: Mask) -> Pixels:
        """Standardised images whose hidden pixels are the data set's mean."""
        return self.standardise(images).masked_fill(self.hidden_pixels(mask), 0.0)

    def error(self, prediction: Pixels, images: Pixels, mask: Mask, region: Region) -> Loss:
        """Mean squared error of a standardised prediction over a region.

        Raises ValueError where the region is the hidden pixels and nothing is hidden.
        """
        squared = (prediction.float() - self.standardise(images)) ** 2
        if region == "all":
            return squared.mean()
        hidden = self.hidden_pixels(mask)
        if not hidden.any():
            raise ValueError(
                "nothing is hidden, so a loss on hidden pixels is empty: "
                "at mask ratio 0 use loss_on='all'"
            )
        return (squared * hidden).sum() / (hidden.sum() * self.shape.channels)


def unit_range(images: Bytes) -> Pixels:
    """Bytes to floats in [0, 1]. Raises TypeError for what are floats already."""
    if images.dtype != torch.uint8:
        raise TypeError(
            f"bytes (torch.uint8) are needed here, these are {images.dtype}: "
            "images in [0, 1] are used as they are, or become bytes by (255 * images).byte()"
        )
    return images.float() / 255


def check_unit_range(images: Tensor) -> None:
    """Raises TypeError for bytes where images in [0, 1] are needed."""
    if not images.is_floating_point():
        raise TypeError(
            f"images in [0, 1] are needed here, these are {images.dtype}: give unit_range(images)"
        )


def channel_statistics(
    images: Bytes,
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and deviation of each channel over a set of images in [0, 1].

    From counts of the 256 levels: exact, and small whatever the size of the set. A channel of
    one level has a deviation of 0.001, so that it can be divided by.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in parts(images):
        for number, channel in enumerate(part.transpose(0, 1)):
            counts[number] += torch.bincount(channel.reshape(-1), minlength=256)
    share = counts.double() / counts.sum(dim=1, keepdim=True)  # channels 256
    mean = share @ levels
    variance = share @ levels**2 - mean**2
    return mean.float(), variance.clamp_min(1e-6).sqrt().float()


def patch_statistics(
    patches: Patches,
) -> tuple[Float[Tensor, "batch tokens 1"], Float[Tensor, "batch tokens 1"]]:
    """Mean and deviation of each patch, as in the original code (unbiased, 1e-6 added)."""
    mean = patches.mean(dim=2, keepdim=True)
    variance = patches.var(dim=2, keepdim=True)
    return mean, (variance + 1e-6).sqrt()


def normalise_patches(patches: Patches) -> Patches:
    """Each patch with its own mean 0 and deviation 1."""
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation


def restore_patches(
    predicted: Patches, truth: Patches, mask: Mask, grid: Size, statistics: Statistics
) -> Patches:
    """Normalised predictions as pixels.

    Under `neighbours` nothing of a hidden patch of `truth` is used.
    """
    if statistics == "none":
        return predicted
    mean, deviation = patch_statistics(truth)
    if statistics == "neighbours":
        near = nearness(mask, grid)  # batch tokens tokens
        mean = near @ mean
        deviation = near @ deviation
    return predicted * deviation + mean


def nearness(mask: Mask, grid: Size) -> Float[Tensor, "batch tokens tokens"]:
    """For every patch the weights of the visible ones, falling with squared distance.

    They sum to 1; a visible patch is its own.
    """
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float().to(mask.device)
    weight = 1 / (torch.cdist(places, places) ** 2 + 1e-9)  # tokens tokens
    weight = weight * ~mask[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)
