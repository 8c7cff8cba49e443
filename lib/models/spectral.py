"""Masked autoencoders that hide no patches: frequencies, or principal components.

What is hidden is a part of the image in another basis. The encoder sees the whole image without
that part, the decoder predicts the whole image, and the loss looks at the hidden part alone:

    mae_frequencies  all frequencies below a radius, or all above it, by lot for each image
                     (Xie et al. 2023, MFM, arXiv 2206.07706, section 3)
    mae_components   principal components of the training images, drawn by lot until they hold a
                     share of the variance (Bizeul et al. 2025, PMAE, arXiv 2502.06314, section 3)

So there is no token to spare, and a step costs three times as much as with three quarters of the
patches hidden. A mask of patches, under which all models are judged, is given to them as blanked
pixels; they have never seen such gaps. In training it must be empty.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Generator, Tensor

from lib.models.baselines import PCAConfig, PrincipalComponents
from lib.models.family import Batch, family
from lib.models.mae import MAEConfig
from lib.models.variants import TokenMAE
from lib.patches import patchify, unpatchify
from lib.pixels import PixelSpace, unit_range
from lib.shapes import Bytes, Loss, Mask, Patches, Pixels
from lib.streams import stream


class SpectralConfig(MAEConfig):
    @model_validator(mode="after")
    def predicts_pixels(self):
        if self.normalise_target:
            raise ValueError("normalise_target is of patches, and this model hides none")
        return self


class SpectralMAE(TokenMAE):
    """What both have in common: all tokens are encoded, and all are predicted."""

    hides_patches = False

    def __init__(self, config: SpectralConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space, generator)
        self.mask_token = None  # what is hidden is blank in the image, and has no token

    def encode(
        self,
        images: Pixels,
        mask: Mask | None = None,
        keep: Float[Tensor, "depth 2 batch"] | None = None,
    ) -> Float[Tensor, "batch all dim"]:
        """[CLS] and a token for every patch; hidden ones are blank."""
        mask = self.space.nothing_hidden(images) if mask is None else mask
        return self.encode_pixels(self.space.blank(images, mask), keep)

    def encode_pixels(
        self, pixels: Pixels, keep: Float[Tensor, "depth 2 batch"] | None = None
    ) -> Float[Tensor, "batch all dim"]:
        """Standardised pixels through the encoder."""
        tokens = self.patch_embedding(patchify(pixels, self.patch)) + self.positions
        return self.encoder(self.with_cls(tokens), keep=keep)

    def predict(self, pixels: Pixels) -> Patches:
        """Every patch of the whole image, standardised, from the pixels that are seen."""
        latents = self.encode_pixels(pixels)
        return self.decode(latents, self.space.nothing_hidden(pixels)).float()


class FrequenciesConfig(SpectralConfig):
    radius: float = Field(16 / 224, gt=0, lt=0.5)  # cycles a pixel: 16 in the paper's 224 pixels


@family("mae_frequencies", config=FrequenciesConfig, label="MFM", version=1)
class FrequencyMAE(SpectralMAE):
    def __init__(self, config: FrequenciesConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space, generator)
        down, across = (torch.fft.fftfreq(side) for side in (space.shape.height, space.shape.width))
        inside = (down[:, None] ** 2 + across[None] ** 2).sqrt() <= config.radius
        self.register_buffer("low", inside, persistent=False)

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        low = batch.noise(lambda count, generator: torch.rand(count, generator=generator) < 0.5)
        yield "loss", self.loss_of(batch.images, low)

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        """What validation watches: the mean of both halves of the task."""
        low = torch.ones(len(images), dtype=torch.bool, device=images.device)
        return (self.loss_of(images, low) + self.loss_of(images, ~low)) / 2

    def loss_of(self, images: Pixels, low: Bool[Tensor, " batch"]) -> Loss:
        """The mean distance of predicted to true coefficients, over those that were hidden.

        low   whether low frequencies are hidden; else the high ones are
        """
        pixels = self.space.standardise(images)
        hidden = self.low == low[:, None, None, None]  # batch 1 height width
        whole = torch.fft.fft2(pixels, norm="ortho")
        seen = torch.fft.ifft2(whole.masked_fill(hidden, 0), norm="ortho").real
        predicted = self.predict(seen)
        made = torch.fft.fft2(unpatchify(predicted, self.patch, self.grid), norm="ortho")
        distance = (made - whole).abs() * hidden
        return (distance.sum(dim=(1, 2, 3)) / hidden.sum(dim=(1, 2, 3)) / pixels.shape[1]).mean()


class ComponentsConfig(SpectralConfig):
    hidden_variance: float = Field(0.5, gt=0, lt=1)  # share of it in the components that are hidden
    components: int = Field(1000, ge=2)  # that may be hidden, capped by images and pixels
    fit_images: int = Field(5000, ge=2)  # training images from which they are found, at most


@family("mae_components", config=ComponentsConfig, label="PMAE", version=2)
class ComponentMAE(SpectralMAE):
    """Its buffers, found again by `prepare` and not saved: `centre` [tokens, pixels], `axes`
    [tokens, pixels, components] and `variances` [components], of patches in [0, 1].
    """

    def prepare(self, images: Bytes) -> None:
        some = unit_range(images[: self.config.fit_images])
        asked = PCAConfig(components=self.config.components, fit_images=self.config.fit_images)
        pca = PrincipalComponents(asked, self.space, stream(0, "pca"))
        pca.find(some)
        self.register_buffer("centre", pca.centre, persistent=False)
        self.register_buffer("axes", pca.axes, persistent=False)
        self.register_buffer("variances", pca.embed(some).var(dim=0), persistent=False)

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        yield "loss", self.loss_of(batch.images, batch.noise(self.lots))

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        return self.watched(Batch(images, mask, len(images)))

    def watched(self, batch: Batch) -> Loss:
        """The same components hidden each time, an image's own."""
        lots = self.lots(batch.whole, stream(0, "watched"))
        own = lots[batch.first : batch.first + len(batch)]
        return self.loss_of(batch.images, own.to(batch.images.device))

    def lots(self, count: int, generator: Generator) -> Float[Tensor, "batch components"]:
        """Whose order says which components are hidden first."""
        return torch.rand(count, len(self.variances), generator=generator)

    def hidden_components(
        self, lots: Float[Tensor, "batch components"]
    ) -> Bool[Tensor, "batch components"]:
        """The first in order that hold the share of the variance, the one that fills it too."""
        order = lots.argsort(dim=1)
        ranked = self.variances[order]
        before = ranked.cumsum(dim=1) - ranked
        wanted = self.config.hidden_variance * self.variances.sum()
        return torch.zeros_like(lots, dtype=torch.bool).scatter(1, order, before < wanted)

    def loss_of(self, images: Pixels, lots: Float[Tensor, "batch components"]) -> Loss:
        """The squared error in the hidden components, relative to their variance."""
        hidden = self.hidden_components(lots).float()
        patches = patchify(images, self.patch)
        codes = self.codes(patches - self.centre) * hidden
        seen = patches - self.image_of(codes)
        pixels = self.space.standardise(unpatchify(seen, self.patch, self.grid))
        wrong = self.predict(pixels) - self.target(images)
        wrong = unpatchify(wrong, self.patch, self.grid) * self.space.std  # in [0, 1] again
        missed = self.codes(patchify(wrong, self.patch)) * hidden
        return (missed.square().sum(dim=1) / (hidden * self.variances).sum(dim=1)).mean()

    def codes(self, patches: Patches) -> Float[Tensor, "batch components"]:
        """In float32: in bf16 some of what is hidden would stay."""
        with torch.autocast(patches.device.type, enabled=False):
            return torch.einsum("btp,tpk->bk", patches, self.axes)

    def image_of(self, codes: Float[Tensor, "batch components"]) -> Patches:
        """The patches that codes stand for, without the centre."""
        with torch.autocast(codes.device.type, enabled=False):
            return torch.einsum("bk,tpk->btp", codes, self.axes)
