"""The vanilla autoencoder: squeeze an image through a narrow code and back.

`autoencoder` is a perceptron with the sizes of Hinton & Salakhutdinov 2006 (Science
313, p. 504: 784-1000-500-250-30 for MNIST); with no hidden layers it is linear, and
then spans the subspace of PCA (Baldi & Hornik 1989). `conv_autoencoder` replaces the
perceptron by strided convolutions. With a mask both become masked autoencoders in
the sense of denoising (Vincent et al. 2010): the image arrives with its hidden
patches blanked, the whole image is predicted, and the loss lies on the hidden
pixels (`loss_on="hidden"`) or on all of them. `mask` is True = hidden.
"""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.layers import initialise, perceptron
from lib.models.registry import Config, Sizes, family
from lib.pixels import PixelSpace, Region


class AutoencoderConfig(Config):
    hidden: Sizes = (1000, 500, 250)  # units of the encoder's layers, mirrored by the decoder; () is linear
    latent: int = Field(30, ge=1)  # numbers in the code
    loss_on: Region = "hidden"  # pixels that the loss counts
    mask_channel: bool = False  # whether the encoder is told where pixels are hidden


class ConvAutoencoderConfig(Config):
    channels: Sizes = (32, 64)  # of the stride-2 convolutions, mirrored by the decoder
    latent: int = Field(64, ge=1)
    loss_on: Region = "hidden"
    mask_channel: bool = False


class CodeModel(nn.Module):
    """What both autoencoders share: the way from an image and a mask to a code, a prediction and a loss."""

    def __init__(self, config: Config, space: PixelSpace):
        super().__init__()
        self.config, self.space = config, space

    def seen(self, images: Tensor, mask: Bool[Tensor, "batch tokens"] | None) -> Tensor:
        """The blanked image, and the mask as one more channel where the configuration says so."""
        if mask is None:
            mask = torch.zeros(len(images), self.space.grid[0] * self.space.grid[1], dtype=torch.bool, device=images.device)
        blanked = self.space.blank(images, mask)
        hidden = self.space.hidden_pixels(mask)
        return torch.cat([blanked, hidden.to(blanked)], dim=1) if self.config.mask_channel else blanked

    def encode(
        self, images: Float[Tensor, "batch channels height width"], mask: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch latent"]:
        return self.encoder(self.seen(images, mask))

    def decode(self, code: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channels height width"]:
        """Standardised pixels."""
        return self.decoder(code)

    def loss(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        return self.space.error(self.decode(self.encode(images, mask)), images, mask, self.config.loss_on)

    def reconstruct(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        return self.space.restore(self.decode(self.encode(images, mask)))

    def embed(self, images: Tensor) -> Float[Tensor, "batch latent"]:
        return self.encode(images)


@family("autoencoder", config=AutoencoderConfig, label="Autoencoder (MLP)")
class Autoencoder(CodeModel):
    def __init__(self, config: AutoencoderConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space)
        shape = space.shape
        seen = shape.pixels + (shape.height * shape.width if config.mask_channel else 0)
        self.encoder = nn.Sequential(nn.Flatten(), perceptron([seen, *config.hidden, config.latent]))
        self.decoder = nn.Sequential(
            perceptron([config.latent, *reversed(config.hidden), shape.pixels]),
            nn.Unflatten(1, (shape.channels, shape.height, shape.width)),
        )
        initialise(self, generator)


@family("conv_autoencoder", config=ConvAutoencoderConfig, label="Autoencoder (conv)")
class ConvAutoencoder(CodeModel):
    def __init__(self, config: ConvAutoencoderConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space)
        shape = space.shape
        sizes = [(shape.height, shape.width)]
        for _ in config.channels:
            sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
        widths = [shape.channels + config.mask_channel, *config.channels]
        convolutions = [
            layer for inputs, outputs in pairwise(widths) for layer in (nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU())
        ]
        deepest = (config.channels[-1], *sizes[-1])
        self.encoder = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(prod(deepest), config.latent))
        back = [shape.channels, *config.channels][::-1]
        ups = [Up(i, o, size) for i, o, size in zip(back[:-1], back[1:], sizes[-2::-1], strict=True)]
        self.decoder = nn.Sequential(nn.Linear(config.latent, prod(deepest)), nn.Unflatten(1, deepest), *ups)
        initialise(self, generator)


class Up(nn.Module):
    """ReLU, nearest-neighbour enlargement to a given size, convolution (no checkerboard: Odena et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]):
        super().__init__()
        self.size, self.convolution = size, nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.interpolate(F.relu(x), size=self.size))
