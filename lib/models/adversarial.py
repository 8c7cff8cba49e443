"""The adversarial autoencoder (Makhzani et al. 2015, arXiv 1511.05644, sections 2 and 2.3).

An autoencoder whose code is pushed towards a chosen distribution by an adversary. Each
batch has two parts: *reconstruction* (encoder and decoder lower the squared error) and
*regularisation* (the discriminator learns to tell samples of the prior from codes, then the
encoder, as the generator, learns to be mistaken for the prior). Real means prior, label 1;
fake means code, label 0. The discriminator has no BatchNorm: batch statistics give the game
away, a known cause of collapse.

Masked like the vanilla autoencoder: the encoder sees hidden patches blanked, and its codes
of *masked* images are held against the prior. `mask` is True = hidden.
"""

from collections.abc import Iterator
from math import pi
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, nn

from lib.config import Config, Sizes
from lib.models.family import Batch, Group, Model, family
from lib.models.layers import initialise, perceptron
from lib.pixels import PixelSpace, Region
from lib.shapes import Code, Loss, Mask, Pixels

# Less momentum than reconstruction: the players' aims keep moving (Radford et al. 2016).
ADVERSARIAL_BETAS = (0.5, 0.99)
Prior = Literal["gaussian", "mixture", "swiss_roll"]


class AdversarialConfig(Config):
    hidden: Sizes = (1000, 1000)  # units of the encoder's layers, mirrored (appendix A.1)
    discriminator: Sizes = (1000, 1000)  # units of the discriminator's layers
    latent: int = Field(2, ge=1)  # numbers in the code
    prior: Prior = "gaussian"
    adversary_rate: float = Field(0.5, gt=0)  # of both adversarial phases, beside reconstruction
    loss_on: Region = "hidden"  # pixels that the reconstruction loss counts

    @model_validator(mode="after")
    def plane_priors(self):
        if self.prior != "gaussian" and self.latent != 2:
            raise ValueError(
                f"the {self.prior} prior lives in the plane: it needs latent=2, not {self.latent}"
            )
        return self


def sample_prior(prior: Prior, count: int, latent: int, generator: Generator) -> Code:
    """Samples of a prior (figures 3 and 4).

    A standard Gaussian, ten elongated Gaussians on a circle, or a swiss roll.
    """
    if prior == "gaussian":
        return torch.randn(count, latent, generator=generator)
    if prior == "mixture":
        angle = torch.randint(0, 10, (count,), generator=generator) * (2 * pi / 10)
        along = 1.6 + 0.4 * torch.randn(count, generator=generator)  # radial: long
        across = 0.12 * torch.randn(count, generator=generator)  # tangential: thin
        x = along * angle.cos() - across * angle.sin()
        y = along * angle.sin() + across * angle.cos()
        return torch.stack([x, y], dim=1)
    # Two turns, evenly dense along the roll.
    turn = 4 * pi * torch.rand(count, generator=generator).sqrt()
    roll = torch.stack([turn * turn.cos(), turn * turn.sin()], dim=1) * (2.2 / (4 * pi))
    return roll + 0.04 * torch.randn(count, 2, generator=generator)


@family("adversarial", config=AdversarialConfig, label="Adversarial autoencoder", version=2)
class AdversarialAutoencoder(Model):
    def __init__(self, config: AdversarialConfig, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config = config
        self.space = space
        shape = space.shape
        self.encoder = nn.Sequential(
            nn.Flatten(), perceptron([shape.pixels, *config.hidden, config.latent])
        )
        self.decoder = nn.Sequential(
            perceptron([config.latent, *reversed(config.hidden), shape.pixels]),
            nn.Unflatten(1, (shape.channels, shape.height, shape.width)),
        )
        self.discriminator = perceptron(
            [config.latent, *config.discriminator, 1], activation=nn.LeakyReLU
        )
        initialise(self, generator)

    def encode(self, images: Pixels, mask: Mask | None = None) -> Code:
        if mask is None:
            return self.encoder(self.space.standardise(images))
        return self.encoder(self.space.blank(images, mask))

    def decode(self, code: Code) -> Pixels:
        """Standardised pixels."""
        return self.decoder(code)

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        """The reconstruction error."""
        predicted = self.decode(self.encode(images, mask))
        return self.space.error(predicted, images, mask, self.config.loss_on)

    def discriminator_loss(self, code: Code, real: Code) -> Loss:
        """Cross-entropy of telling the prior (1) from codes (0), which are constants here."""
        real = self.discriminator(real).float()
        fake = self.discriminator(code.detach()).float()
        told_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        told_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        return (told_real + told_fake) / 2

    def generator_loss(self, code: Code) -> Loss:
        """Cross-entropy of codes being taken for the prior (the non-saturating form)."""
        fake = self.discriminator(code).float()
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))

    def groups(self) -> dict[str, Group]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        adversary = {
            "rate": self.config.adversary_rate,
            "betas": ADVERSARIAL_BETAS,
            "decay": 0.0,
        }
        return {
            "loss": Group(coder),
            "discriminator": Group(list(self.discriminator.parameters()), **adversary),
            "generator": Group(list(self.encoder.parameters()), **adversary),
        }

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        """Reconstruction, then discriminator, then generator (section 2)."""
        yield "loss", self.loss(batch.images, batch.mask)
        real = batch.noise(self.prior)
        # Once for both, since the encoder rests while its adversary moves.
        code = self.encode(batch.images, batch.mask)
        yield "discriminator", self.discriminator_loss(code, real)
        yield "generator", self.generator_loss(code)

    def prior(self, count: int, generator: Generator) -> Code:
        return sample_prior(self.config.prior, count, self.config.latent, generator)

    def reconstruct(self, images: Pixels, mask: Mask) -> Pixels:
        return self.space.restore(self.decode(self.encode(images, mask)))

    def embed(self, images: Pixels) -> Code:
        return self.encode(images)
