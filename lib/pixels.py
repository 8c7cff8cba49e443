"""What every model sees and what it is judged on in training.

All families work on standardised pixels (each channel of the training set has mean
0 and deviation 1), see a hidden patch, if they see it at all, as the data set's mean
(which is 0 there), and are trained on the mean squared error over a region: the
hidden pixels (He et al. 2022, section 3) or all of them. So the three families
differ in what they are, not in how they are fed. `mask` is True = hidden.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from lib.mapped import parts
from lib.patches import Size, grid_of, pixel_mask

Region = Literal["hidden", "all"]


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
    """Standardise, blank and compare images of one shape."""

    def __init__(self, shape: Shape, mean: Float[Tensor, " channels"], std: Float[Tensor, " channels"]):
        super().__init__()
        if len(mean) != shape.channels:
            raise ValueError(f"images have {shape.channels} channels but the mean has {len(mean)}")
        self.shape, self.grid = shape, shape.grid
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    def standardise(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        """From [0, 1] to mean 0, deviation 1. Raises ValueError for images of another shape."""
        expected = (self.shape.channels, self.shape.height, self.shape.width)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(f"the model was built for images {expected}, got {tuple(images.shape[1:])}")
        return (images - self.mean) / self.std

    def restore(self, pixels: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The inverse of `standardise`, clipped to [0, 1]."""
        return (pixels.float() * self.std + self.mean).clamp(0, 1)

    def hidden_pixels(self, mask: Bool[Tensor, "batch tokens"]) -> Bool[Tensor, "batch 1 height width"]:
        return pixel_mask(mask, self.shape.patch, self.grid)

    def blank(self, images: Float[Tensor, "batch channels height width"], mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        """Standardised images whose hidden pixels are the data set's mean."""
        return self.standardise(images).masked_fill(self.hidden_pixels(mask), 0.0)

    def error(self, prediction: Tensor, images: Tensor, mask: Bool[Tensor, "batch tokens"], region: Region) -> Tensor:
        """Mean squared error in standardised pixels over a region, a scalar.

        Raises ValueError where the region is the hidden pixels and nothing is hidden.
        """
        squared = (prediction.float() - self.standardise(images)) ** 2
        if region == "all":
            return squared.mean()
        hidden = self.hidden_pixels(mask)
        if not hidden.any():
            raise ValueError("nothing is hidden, so a loss on hidden pixels is empty: at mask ratio 0 use loss_on='all'")
        return (squared * hidden).sum() / (hidden.sum() * self.shape.channels)


def unit_range(images: UInt8[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """Bytes to floats in [0, 1]."""
    return images.float() / 255


def channel_statistics(images: UInt8[Tensor, "batch channels height width"]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over a set of images in [0, 1], float32 [channels] each."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in parts(images):
        counts += torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in part.transpose(0, 1)])
    share = counts.double() / counts.sum(dim=1, keepdim=True)  # channels x 256: exact and small, whatever the set's size
    mean = share @ levels
    variance = share @ levels**2 - mean**2
    return mean.float(), variance.clamp_min(1e-6).sqrt().float()
