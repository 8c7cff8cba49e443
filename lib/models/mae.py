"""The masked autoencoder with a vision transformer (He et al. 2022, arXiv 2111.06377, section 3).

Read it as the paper's figure 1: `encode` runs a transformer on the *visible* patches only;
`decode` puts a shared mask token at every hidden place, adds positions and runs a small
transformer on all patches; `loss` compares predicted with true pixels on the hidden
patches. A hidden pixel never reaches the encoder, and the mask token exists in the decoder
alone. `mask` is True = hidden; the token axis is in reading order with [CLS] in front.
Without a mask nothing is hidden.

Inside, the decoder works on [CLS], visible, hidden in this order, since attention does not
mind, and its last block computes only what the loss reads. What successors changed is in
variants.py. Not to be confused with MADE (Germain et al. 2015), which masks weights.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from lib.config import Config
from lib.models.family import Model, family
from lib.models.layers import initialise
from lib.models.transformer import EPS, Transformer, sincos_positions
from lib.patches import patchify, unpatchify, visible_indices
from lib.pixels import PixelSpace, Region, Statistics, normalise_patches, restore_patches
from lib.shapes import Loss, Mask, Patches, Pixels, Tokens

Seen = Float[Tensor, "batch seen dim"]  # of visible patches, with [CLS] or without


class MAEConfig(Config):
    dim: int = Field(192, ge=4, multiple_of=4)  # width of the encoder
    depth: int = Field(12, ge=1)  # encoder blocks
    heads: int = Field(3, ge=1)
    decoder_dim: int = Field(128, ge=4, multiple_of=4)
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)  # width of a block's perceptron, relative to dim
    decoder_mlp_ratio: float | None = Field(None, gt=0)  # None: as in the encoder
    normalise_target: bool = False  # each patch with its own mean 0 and deviation 1 (section 4.1)
    loss_on: Region = "hidden"
    pooling: Literal["mean", "cls"] = "mean"  # what `embed` returns: mean of patch tokens, or [CLS]
    eps: float = Field(EPS, gt=0)  # of LayerNorm; weights of the transformers library bring 1e-12

    @model_validator(mode="after")
    def heads_share_widths(self):
        pairs = (self.dim, self.heads), (self.decoder_dim, self.decoder_heads)
        for width, heads in pairs:
            if width % heads:
                raise ValueError(
                    f"a width of {width} cannot be shared by {heads} heads: it must be a multiple"
                )
        return self


@family("mae", config=MAEConfig, label="ViT-MAE", version=2)
class MaskedAutoencoder(Model):
    def __init__(self, config: MAEConfig, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config = config
        self.space = space
        self.grid = space.grid
        self.patch = space.shape.patch
        pixels = self.patch[0] * self.patch[1] * space.shape.channels
        if config.normalise_target and pixels == 1:
            raise ValueError(
                "normalise_target needs patches of more than one number: a single one has no "
                "deviation; raise patch_size"
            )
        dim, decoder_dim = config.dim, config.decoder_dim
        decoder_ratio = config.decoder_mlp_ratio or config.mlp_ratio
        self.patch_embedding = nn.Linear(pixels, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.encoder = Transformer(dim, config.depth, config.heads, config.mlp_ratio, config.eps)
        self.decoder_embedding = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder = Transformer(
            decoder_dim, config.decoder_depth, config.decoder_heads, decoder_ratio, config.eps
        )
        self.head = nn.Linear(decoder_dim, pixels)
        positions = sincos_positions(self.grid, dim)
        decoder_positions = sincos_positions(self.grid, decoder_dim)
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("decoder_positions", decoder_positions, persistent=False)
        initialise(self, generator)

    def embed_patches(
        self, images: Pixels, chosen: Int64[Tensor, "batch chosen"] | None = None
    ) -> Seen:
        """Patches as tokens with their positions: every one, or those at `chosen` indices."""
        patches = patchify(self.space.standardise(images), self.patch)
        if chosen is None:
            return self.patch_embedding(patches) + self.positions
        return self.patch_embedding(take(patches, chosen)) + self.positions[chosen]

    def encode(
        self,
        images: Pixels,
        mask: Mask | None = None,
        keep: Float[Tensor, "depth 2 batch"] | None = None,
    ) -> Seen:
        """[CLS] and the visible patches through the encoder (seen = 1 + visible).

        keep   factors of its branches (see `transformer.drop_path`)

        Raises ValueError where nothing is visible.
        """
        visible = None if mask is None else visible_indices(mask)[0]
        if visible is not None and not visible.shape[1]:
            raise ValueError(
                "every patch is hidden, so there is nothing to encode: "
                "lower mask_ratio, or use more patches"
            )
        return self.encoder(self.with_cls(self.embed_patches(images, visible)), keep=keep)

    def with_cls(self, tokens: Seen) -> Float[Tensor, "batch all dim"]:
        """[CLS] in front of the tokens."""
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def decode(
        self, latents: Seen, mask: Mask, only_hidden: bool = False
    ) -> Float[Tensor, "batch predicted pixels"]:
        """Predicted patches in reading order; with `only_hidden` no others are computed."""
        visible, hidden = visible_indices(mask)
        x = self.decoder_embedding(latents)
        seen = x[:, 1:] + self.decoder_positions[visible]
        gaps = self.mask_token + self.decoder_positions[hidden]
        x = torch.cat([x[:, :1], seen, gaps], dim=1)  # batch 1+tokens decoder_dim
        if only_hidden:
            return self.head(self.decoder(x, first=1 + visible.shape[1]))
        predicted = self.head(self.decoder(x)[:, 1:])  # visible, then hidden
        return take(predicted, torch.cat([visible, hidden], dim=1).argsort(dim=1))

    def forward(self, images: Pixels, mask: Mask | None = None) -> Patches:
        mask = self.space.nothing_hidden(images) if mask is None else mask
        return self.decode(self.encode(images, mask), mask)

    def target(self, images: Pixels) -> Patches:
        """The patches to predict: standardised pixels, or each normalised by its own statistics."""
        patches = patchify(self.space.standardise(images), self.patch)
        return normalise_patches(patches) if self.config.normalise_target else patches

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        """Mean squared error over the hidden patches, or over all of them (`loss_on`).

        Raises ValueError where the loss is on hidden patches and nothing is hidden.
        """
        target = self.target(images)
        if self.config.loss_on == "all":
            return ((self(images, mask) - target) ** 2).mean()
        if not mask.any():
            raise ValueError(
                "nothing is hidden, so a loss on hidden patches is empty: "
                "at mask ratio 0 use loss_on='all'"
            )
        predicted = self.decode(self.encode(images, mask), mask, only_hidden=True)
        return ((predicted - take(target, visible_indices(mask)[1])) ** 2).mean()

    def reconstruct(
        self, images: Pixels, mask: Mask | None = None, statistics: Statistics = "neighbours"
    ) -> Pixels:
        """Predicted images in [0, 1]; `statistics`: how normalised predictions become pixels."""
        mask = self.space.nothing_hidden(images) if mask is None else mask
        patches = self(images, mask).float()
        if self.config.normalise_target:
            truth = patchify(self.space.standardise(images), self.patch)
            patches = restore_patches(patches, truth, mask, self.grid, statistics)
        return self.space.restore(unpatchify(patches, self.patch, self.grid))

    def embed(self, images: Pixels, keep: Tensor | None = None) -> Float[Tensor, "batch dim"]:
        latents = self.encode(images, keep=keep)
        return latents[:, 0] if self.config.pooling == "cls" else latents[:, 1:].mean(dim=1)

    @property
    def layers(self) -> int:
        """Depth of what `embed` goes through, in blocks."""
        return self.config.depth

    def layer_of(self, name: str) -> int:
        """Where a parameter of the encoder works: 0 for patches and [CLS], then by block."""
        if name.startswith("encoder.blocks."):
            return int(name.split(".")[2]) + 1
        return 0 if name.startswith(("patch_embedding", "cls_token")) else self.config.depth + 1

    def attention(self, images: Pixels) -> Float[Tensor, "batch heads tokens tokens"]:
        """Attention of the encoder's last block, nothing hidden; place 0 of both axes is [CLS]."""
        return self.encoder.attention_maps(self.with_cls(self.embed_patches(images)))


def take(tokens: Tokens, index: Int64[Tensor, "batch chosen"]) -> Float[Tensor, "batch chosen dim"]:
    """The tokens at [batch, chosen] indices."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
