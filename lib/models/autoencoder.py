"""The vanilla autoencoder: squeeze an image through a narrow code and back.

`autoencoder` is a perceptron with the sizes of Hinton & Salakhutdinov 2006 (Science 313, p. 504:
784-1000-500-250-30 for MNIST); with no hidden layers it is linear, and then spans the subspace
of PCA (Baldi & Hornik 1989). `conv_autoencoder` replaces the perceptron by strided convolutions.

With a mask both become masked autoencoders in the sense of denoising (Vincent et al. 2010): the
image arrives with its hidden patches blanked, the whole image is predicted, and the loss lies on
the hidden pixels (`loss_on="hidden"`) or on all of them. `mask` is True = hidden; without one,
nothing is hidden.
"""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.config import Config, Sizes
from lib.models.family import Model, family
from lib.models.layers import initialise, perceptron
from lib.pixels import PixelSpace, Region
from lib.shapes import Code, Loss, Mask, Pixels


class AutoencoderConfig(Config):
    hidden: Sizes = (1000, 500, 250)  # units of the encoder's layers, mirrored; () is linear
    latent: int = Field(30, ge=1)  # numbers in the code
    loss_on: Region = "hidden"  # pixels that the loss counts
    mask_channel: bool = False  # whether the encoder is told where pixels are hidden


class ConvAutoencoderConfig(Config):
    channels: Sizes = Field((32, 64), min_length=1)  # of the stride-2 convolutions, mirrored
    latent: int = Field(64, ge=1)  # numbers in the code
    loss_on: Region = "hidden"  # pixels that the loss counts
    mask_channel: bool = False  # whether the encoder is told where pixels are hidden


class CodeModel(Model):
    """What both autoencoders share: from an image and a mask to a code, a prediction and a loss.

    A subclass makes `encoder` and `decoder`.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, config: AutoencoderConfig | ConvAutoencoderConfig, space: PixelSpace):
        super().__init__()
        self.config = config
        self.space = space

    def seen(self, images: Pixels, mask: Mask | None) -> Float[Tensor, "batch seen height width"]:
        """The blanked image, and the mask as one more channel where the configuration says so."""
        if mask is None:
            mask = self.space.nothing_hidden(images)
        blanked = self.space.blank(images, mask)
        if not self.config.mask_channel:
            return blanked
        hidden = self.space.hidden_pixels(mask)
        return torch.cat([blanked, hidden.to(blanked)], dim=1)

    def encode(self, images: Pixels, mask: Mask | None = None) -> Code:
        return self.encoder(self.seen(images, mask))

    def decode(self, code: Code) -> Pixels:
        """Standardised pixels."""
        return self.decoder(code)

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        """Mean squared error; raises ValueError where it is on hidden pixels and none is hidden."""
        predicted = self.decode(self.encode(images, mask))
        return self.space.error(predicted, images, mask, self.config.loss_on)

    def reconstruct(self, images: Pixels, mask: Mask) -> Pixels:
        """Predicted images in [0, 1]."""
        return self.space.restore(self.decode(self.encode(images, mask)))

    def embed(self, images: Pixels) -> Code:
        return self.encode(images)


@family("autoencoder", config=AutoencoderConfig, label="Autoencoder (MLP)")
class Autoencoder(CodeModel):
    def __init__(self, config: AutoencoderConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space)
        shape = space.shape
        seen = shape.pixels
        if config.mask_channel:
            seen += shape.height * shape.width
        self.encoder = nn.Sequential(
            nn.Flatten(), perceptron([seen, *config.hidden, config.latent])
        )
        self.decoder = nn.Sequential(
            perceptron([config.latent, *reversed(config.hidden), shape.pixels]),
            nn.Unflatten(1, (shape.channels, shape.height, shape.width)),
        )
        initialise(self, generator)


@family("conv_autoencoder", config=ConvAutoencoderConfig, label="Autoencoder (conv)")
class ConvAutoencoder(CodeModel):
    """Each convolution halves the sides, rounded up; the decoder goes back over the same sizes."""

    def __init__(self, config: ConvAutoencoderConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space)
        shape = space.shape
        sizes = [(shape.height, shape.width)]
        for _ in config.channels:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        deepest = (config.channels[-1], *sizes[-1])
        self.encoder = nn.Sequential(
            *downwards([shape.channels + config.mask_channel, *config.channels]),
            nn.Flatten(),
            nn.Linear(prod(deepest), config.latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, prod(deepest)),
            nn.Unflatten(1, deepest),
            *upwards([*reversed(config.channels), shape.channels], sizes[-2::-1]),
        )
        initialise(self, generator)


def downwards(widths: list[int]) -> list[nn.Module]:
    """Stride-2 convolutions from each number of channels to the next, a ReLU after each."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    return layers


def upwards(widths: list[int], sizes: list[tuple[int, int]]) -> list[nn.Module]:
    """Enlargements from each number of channels to the next, each to the next of `sizes`."""
    steps = zip(pairwise(widths), sizes, strict=True)
    return [Up(inputs, outputs, size) for (inputs, outputs), size in steps]


class Up(nn.Module):
    """ReLU, nearest-neighbour enlargement to a given size, convolution.

    No transposed convolution, which leaves a checkerboard (Odena et al. 2016).
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch inputs _ _"]
    ) -> Float[Tensor, "batch outputs height width"]:
        return self.convolution(F.interpolate(F.relu(x), size=self.size))
