"""The masked autoencoder with a vision transformer (He et al. 2022, arXiv 2111.06377, section 3).

Read it as the paper's figure 1: `encode` runs a transformer on the *visible* patches
only; `decode` puts a shared mask token at every hidden place, adds positions and
runs a small transformer on all patches; `loss` compares predicted with true pixels
on the hidden patches. A hidden pixel never reaches the encoder, and the mask token
exists in the decoder alone. `mask` is True = hidden; the token axis is in reading
order with [CLS] in front.

Not to be confused with MADE (Germain et al. 2015), which masks weights, not images.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.layers import initialise
from lib.models.registry import Config, family
from lib.patches import Size, patchify, unpatchify, visible_indices
from lib.pixels import PixelSpace, Region
from lib.transformer import Transformer, sincos_positions

Statistics = Literal["neighbours", "true", "none"]


class MAEConfig(Config):
    dim: int = Field(192, ge=4)  # width of the encoder, a multiple of 4 and of heads
    depth: int = Field(12, ge=1)  # encoder blocks
    heads: int = Field(3, ge=1)
    decoder_dim: int = Field(128, ge=4)
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)  # hidden width of a block's perceptron, relative to dim
    normalise_target: bool = False  # predict each patch with its own mean 0 and deviation 1 (section 4.1)
    loss_on: Region = "hidden"
    pooling: Literal["mean", "cls"] = "mean"  # what `embed` returns: mean of patch tokens, or [CLS]


@family("mae", config=MAEConfig, label="ViT-MAE")
class MaskedAutoencoder(nn.Module):
    def __init__(self, config: MAEConfig, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config, self.space = config, space
        self.patch, self.grid = space.shape.patch, space.grid
        pixels = self.patch[0] * self.patch[1] * space.shape.channels
        self.patch_embedding = nn.Linear(pixels, config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.encoder = Transformer(config.dim, config.depth, config.heads, config.mlp_ratio)
        self.decoder_embedding = nn.Linear(config.dim, config.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_dim))
        self.decoder = Transformer(config.decoder_dim, config.decoder_depth, config.decoder_heads, config.mlp_ratio)
        self.head = nn.Linear(config.decoder_dim, pixels)
        self.register_buffer("positions", sincos_positions(self.grid, config.dim), persistent=False)
        self.register_buffer("decoder_positions", sincos_positions(self.grid, config.decoder_dim), persistent=False)
        initialise(self, generator)

    def tokens(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens dim"]:
        """Every patch embedded, with its position."""
        return self.patch_embedding(patchify(self.space.standardise(images), self.patch)) + self.positions

    def encode(
        self, images: Float[Tensor, "batch channels height width"], mask: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch seen dim"]:
        """[CLS] and the visible patches through the encoder (seen = 1 + visible); no mask means that all are visible."""
        tokens = self.tokens(images)
        if mask is not None:
            tokens = take(tokens, visible_indices(mask)[0])  # batch visible dim
        return self.encoder(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))

    def decode(self, latents: Float[Tensor, "batch seen dim"], mask: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens pixels"]:
        """Predicted patches, hidden and visible ones, in reading order."""
        x = self.decoder_embedding(latents)
        cls, x = x[:, :1], x[:, 1:]
        full = self.mask_token.to(x.dtype).expand(*mask.shape, -1)
        index = visible_indices(mask)[0][:, :, None].expand(-1, -1, x.shape[2])
        full = full.scatter(1, index, x) + self.decoder_positions  # batch tokens decoder_dim
        return self.head(self.decoder(torch.cat([cls, full], dim=1))[:, 1:])

    def forward(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens pixels"]:
        return self.decode(self.encode(images, mask), mask)

    def target(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens pixels"]:
        """The patches to predict: standardised pixels, or each patch normalised by its own statistics."""
        patches = patchify(self.space.standardise(images), self.patch)
        if not self.config.normalise_target:
            return patches
        mean, deviation = patch_statistics(patches)
        return (patches - mean) / deviation

    def loss(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        """Mean squared error over the hidden patches, or over all of them (`loss_on`)."""
        error = ((self(images, mask).float() - self.target(images)) ** 2).mean(dim=2)  # batch tokens
        if self.config.loss_on == "all":
            return error.mean()
        if not mask.any():
            raise ValueError("nothing is hidden, so a loss on hidden patches is empty: at mask ratio 0 use loss_on='all'")
        return (error * mask).sum() / mask.sum()

    def reconstruct(
        self, images: Tensor, mask: Bool[Tensor, "batch tokens"], statistics: Statistics = "neighbours"
    ) -> Float[Tensor, "batch channels height width"]:
        """Predicted images in [0, 1].

        With a normalised target a hidden patch's own mean and deviation are unknown.
        `neighbours` takes them from the visible patches near it; `true` takes the real
        ones, which leaks what was hidden, and is for showing that leak; `none` takes 0, 1.
        """
        patches = self(images, mask).float()
        if self.config.normalise_target and statistics != "none":
            mean, deviation = patch_statistics(patchify(self.space.standardise(images), self.patch))
            if statistics == "neighbours":
                near = nearness(mask, self.grid)  # batch tokens tokens
                mean, deviation = near @ mean, near @ deviation
            patches = patches * deviation + mean
        return self.space.restore(unpatchify(patches, self.patch, self.grid))

    def embed(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim"]:
        latents = self.encode(images)
        return latents[:, 0] if self.config.pooling == "cls" else latents[:, 1:].mean(dim=1)

    def attention(self, images: Tensor) -> Float[Tensor, "batch heads tokens tokens"]:
        """Attention of the encoder's last block with nothing hidden; place 0 on both last axes is [CLS]."""
        tokens = self.tokens(images)
        return self.encoder.attention_maps(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))


def take(tokens: Float[Tensor, "batch tokens dim"], index: Tensor) -> Tensor:
    """The tokens at [batch, chosen] indices."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def patch_statistics(patches: Float[Tensor, "batch tokens pixels"]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each patch, [batch, tokens, 1], as in the original code (unbiased, 1e-6 added)."""
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


def nearness(mask: Bool[Tensor, "batch tokens"], grid: Size) -> Float[Tensor, "batch tokens tokens"]:
    """For every patch the weights of the visible ones, falling with squared distance; a visible patch is its own."""
    places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).float().to(mask.device).reshape(-1, 2)
    weight = 1 / (torch.cdist(places, places) ** 2 + 1e-9)
    weight = weight * ~mask[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)
