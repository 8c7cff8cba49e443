"""The adversarial autoencoder (Makhzani et al. 2015, arXiv 1511.05644, sections 2 and 2.3).

An autoencoder whose code is pushed towards a chosen distribution by an adversary.
Each batch has two phases: *reconstruction* (encoder and decoder lower the squared
error) and *regularisation* (the discriminator learns to tell samples of the prior
from codes, then the encoder, as the generator, learns to be mistaken for the
prior). Real means prior, label 1; fake means code, label 0. The discriminator has no
BatchNorm: batch statistics give the game away, a known cause of collapse.

Masked like the vanilla autoencoder: the encoder sees hidden patches blanked, and
its codes of *masked* images are held against the prior. `mask` is True = hidden.
"""

from dataclasses import replace
from math import pi
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from lib.layers import initialise, perceptron
from lib.models.registry import Config, Sizes, family
from lib.optim import Batch, Step, StepSettings, Update
from lib.pixels import PixelSpace, Region

ADVERSARIAL_BETAS = (0.5, 0.99)  # less momentum than reconstruction: the two players' aims keep moving (Radford et al. 2016)
Prior = Literal["gaussian", "mixture", "swiss_roll"]


class AdversarialConfig(Config):
    hidden: Sizes = (1000, 1000)  # units of the encoder's layers, mirrored by the decoder (appendix A.1)
    discriminator: Sizes = (1000, 1000)  # units of the discriminator's layers
    latent: int = Field(2, ge=1)  # numbers in the code
    prior: Prior = "gaussian"
    adversary_rate: float = Field(0.5, gt=0)  # learning rate of both adversarial phases, relative to reconstruction
    loss_on: Region = "hidden"  # pixels that the reconstruction loss counts

    @model_validator(mode="after")
    def plane_priors(self):
        if self.prior != "gaussian" and self.latent != 2:
            raise ValueError(f"the {self.prior} prior lives in the plane: it needs latent=2, not {self.latent}")
        return self


def sample_prior(prior: Prior, count: int, latent: int, generator: Generator) -> Float[Tensor, "count latent"]:
    """Samples of a prior: a standard Gaussian, ten elongated Gaussians on a circle, or a swiss roll (figures 3 and 4)."""
    if prior == "gaussian":
        return torch.randn(count, latent, generator=generator)
    if prior == "mixture":
        angle = torch.randint(0, 10, (count,), generator=generator) * (2 * pi / 10)
        along = 1.6 + 0.4 * torch.randn(count, generator=generator)  # radial: long
        across = 0.12 * torch.randn(count, generator=generator)  # tangential: thin
        return torch.stack([along * angle.cos() - across * angle.sin(), along * angle.sin() + across * angle.cos()], dim=1)
    turn = 4 * pi * torch.rand(count, generator=generator).sqrt()  # two turns, evenly dense along the roll
    roll = torch.stack([turn * turn.cos(), turn * turn.sin()], dim=1) * (2.2 / (4 * pi))
    return roll + 0.04 * torch.randn(count, 2, generator=generator)


class AdversarialStep(Step):
    """Reconstruction, then discriminator, then generator: three updates on one batch (section 2)."""

    def __init__(self, model: "AdversarialAutoencoder", settings: StepSettings):
        super().__init__(model, settings)
        rate, adversarial = model.config.adversary_rate, replace(settings, betas=ADVERSARIAL_BETAS, weight_decay=0.0)
        both = [*model.encoder.parameters(), *model.decoder.parameters()]
        self.updates = {
            "reconstruction": Update(both, settings),
            "discriminator": Update(model.discriminator.parameters(), adversarial, rate),
            "generator": Update(model.encoder.parameters(), adversarial, rate),
        }

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        real = batch.noise(self.model.prior)
        losses = {phase: update(self.losses(getattr(self.model, f"{phase}_loss"), batch, real)) for phase, update in self.updates.items()}
        return losses | {"loss": losses["reconstruction"]}


@family("adversarial", config=AdversarialConfig, label="Adversarial autoencoder", make_step=AdversarialStep)
class AdversarialAutoencoder(nn.Module):
    def __init__(self, config: AdversarialConfig, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config, self.space = config, space
        shape = space.shape
        self.encoder = nn.Sequential(nn.Flatten(), perceptron([shape.pixels, *config.hidden, config.latent]))
        self.decoder = nn.Sequential(
            perceptron([config.latent, *reversed(config.hidden), shape.pixels]),
            nn.Unflatten(1, (shape.channels, shape.height, shape.width)),
        )
        self.discriminator = perceptron([config.latent, *config.discriminator, 1], activation=nn.LeakyReLU)
        initialise(self, generator)

    def encode(
        self, images: Float[Tensor, "batch channels height width"], mask: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch latent"]:
        return self.encoder(self.space.standardise(images) if mask is None else self.space.blank(images, mask))

    def decode(self, code: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channels height width"]:
        """Standardised pixels."""
        return self.decoder(code)

    def prior(self, count: int, generator: Generator) -> Float[Tensor, "count latent"]:
        device = self.space.mean.device
        return sample_prior(self.config.prior, count, self.config.latent, generator).to(device)

    def loss(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        """The reconstruction error: what validation watches."""
        return self.space.error(self.decode(self.encode(images, mask)), images, mask, self.config.loss_on)

    def reconstruction_loss(self, images: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        return self.loss(images, mask)

    def discriminator_loss(self, images: Tensor, mask: Tensor, real: Float[Tensor, "batch latent"]) -> Tensor:
        """Cross-entropy of telling samples of the prior (1) from codes (0); the codes are constants here."""
        with torch.no_grad():
            fake = self.encode(images, mask)
        real = self.discriminator(real).float()
        fake = self.discriminator(fake).float()
        told_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        return (told_real + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))) / 2

    def generator_loss(self, images: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        """Cross-entropy of the codes being taken for the prior (the non-saturating form)."""
        fake = self.discriminator(self.encode(images, mask)).float()
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))

    def reconstruct(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        return self.space.restore(self.decode(self.encode(images, mask)))

    def embed(self, images: Tensor) -> Float[Tensor, "batch latent"]:
        return self.encode(images)

    @torch.no_grad()
    def sample(self, count: int, generator: Generator) -> Float[Tensor, "count channels height width"]:
        """Decode samples of the prior: images in [0, 1]."""
        return self.space.restore(self.decode(self.prior(count, generator)))
