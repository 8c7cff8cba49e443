"""The masked autoencoder with a vision transformer (He et al. 2022, arXiv 2111.06377, section 3).

Read it as the paper's figure 1: `encode` runs a transformer on the *visible* patches
only; `decode` puts a shared mask token at every hidden place, adds positions and
runs a small transformer on all patches; `loss` compares predicted with true pixels
on the hidden patches. A hidden pixel never reaches the encoder, and the mask token
exists in the decoder alone. `mask` is True = hidden; the token axis is in reading
order with [CLS] in front. Without a mask nothing is hidden.

Switches of the paper and of its successors are fields of `MAEConfig`; their defaults
are the paper's base model. Inside, the decoder works on [CLS], visible, hidden in this
order, since attention does not mind, and its last block computes only what the loss
reads. Not to be confused with MADE (Germain et al. 2015), which masks weights.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from lib.layers import initialise
from lib.masking import draw
from lib.models.registry import Config, family, later
from lib.normalised import Statistics, normalise, restore
from lib.optim import Batch, GradientStep
from lib.patches import patchify, unpatchify, visible_indices
from lib.pixels import PixelSpace, Region
from lib.transformer import EPS, CrossTransformer, Transformer, sincos_positions

Mask = Bool[Tensor, "batch tokens"]


class MAEConfig(Config):
    dim: int = Field(192, ge=4)  # width of the encoder, a multiple of 4 and of heads
    depth: int = Field(12, ge=1)  # encoder blocks
    heads: int = Field(3, ge=1)
    decoder_dim: int = Field(128, ge=4)
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)  # hidden width of a block's perceptron, relative to dim
    decoder_mlp_ratio: float | None = later(None, before=None, gt=0)  # None: as in the encoder
    normalise_target: bool = False  # predict each patch with its own mean 0 and deviation 1 (section 4.1)
    loss_on: Region = "hidden"
    visible_weight: float = later(0.0, before=0.0, ge=0)  # of the loss on visible patches, beside hidden ones (arXiv 2402.03752: 0.1)
    mask_token_in_encoder: bool = later(False, before=False)  # the encoder sees all places, hidden ones as a token (table 1c)
    decoder: Literal["self", "cross"] = later("self", before="self")  # cross: hidden places ask visible ones alone (arXiv 2401.14391)
    predict_share: float = later(1.0, before=1.0, gt=0, le=1)  # of the hidden patches predicted in training, with decoder="cross"
    pooling: Literal["mean", "cls"] = "mean"  # what `embed` returns: mean of patch tokens, or [CLS]
    eps: float = later(EPS, before=EPS, gt=0)  # of LayerNorm; weights from the transformers library bring 1e-12

    @model_validator(mode="after")
    def switches_agree(self):
        if self.predict_share < 1 and self.decoder != "cross":
            raise ValueError("predict_share below 1 needs decoder='cross': in the paper's decoder every patch is every other's context")
        if self.mask_token_in_encoder and self.decoder == "cross":
            raise ValueError("mask_token_in_encoder leaves nothing to ask for: it goes with decoder='self'")
        if self.visible_weight and self.loss_on == "all":
            raise ValueError("visible_weight goes with loss_on='hidden': loss_on='all' already counts every patch alike")
        return self


class MAEStep(GradientStep):
    """A gradient step; where only a share of the hidden patches is predicted, it draws which."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if self.model.config.predict_share == 1:
            return super().__call__(batch)
        tokens = batch.mask.shape[1]
        ranks = batch.noise(lambda count, generator: torch.rand(count, tokens, generator=generator)).to(batch.mask.device)
        return {"loss": self.updates["model"](self.losses(self.model.loss, batch, ranks))}


@family("mae", config=MAEConfig, label="ViT-MAE", make_step=MAEStep)
class MaskedAutoencoder(nn.Module):
    def __init__(self, config: MAEConfig, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config, self.space = config, space
        self.patch, self.grid = space.shape.patch, space.grid
        pixels = self.patch[0] * self.patch[1] * space.shape.channels
        self.patch_embedding = nn.Linear(pixels, config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.encoder = Transformer(config.dim, config.depth, config.heads, config.mlp_ratio, config.eps)
        self.decoder_embedding = nn.Linear(config.dim, config.decoder_dim)
        token_width = config.dim if config.mask_token_in_encoder else config.decoder_dim
        self.mask_token = nn.Parameter(torch.zeros(1, 1, token_width))
        stack = CrossTransformer if config.decoder == "cross" else Transformer
        mlp_ratio = config.decoder_mlp_ratio or config.mlp_ratio
        self.decoder = stack(config.decoder_dim, config.decoder_depth, config.decoder_heads, mlp_ratio, config.eps)
        self.head = nn.Linear(config.decoder_dim, pixels)
        self.register_buffer("positions", sincos_positions(self.grid, config.dim), persistent=False)
        self.register_buffer("decoder_positions", sincos_positions(self.grid, config.decoder_dim), persistent=False)
        initialise(self, generator)

    def tokens(
        self, images: Float[Tensor, "batch channels height width"], chosen: Int64[Tensor, "batch chosen"] | None = None
    ) -> Float[Tensor, "batch seen dim"]:
        """Patches embedded, with their positions: every one, or those at `chosen` indices."""
        patches = patchify(self.space.standardise(images), self.patch)
        if chosen is None:
            return self.patch_embedding(patches) + self.positions
        return self.patch_embedding(take(patches, chosen)) + self.positions[chosen]

    def encode(
        self, images: Float[Tensor, "batch channels height width"], mask: Mask | None = None, keep: Tensor | None = None
    ) -> Float[Tensor, "batch seen dim"]:
        """[CLS] and the visible patches through the encoder (seen = 1 + visible); no mask means that all are visible.

        With `mask_token_in_encoder` hidden patches go through it too, as a token (seen = 1 + tokens).
        keep   [depth, 2, batch] factors of its branches (see `transformer.drop_path`)

        Raises ValueError where nothing is visible.
        """
        visible = None if mask is None else visible_indices(mask)[0]
        if visible is not None and not visible.shape[1]:
            raise ValueError("every patch is hidden, so there is nothing to encode: lower mask_ratio, or use more patches")
        if mask is not None and self.config.mask_token_in_encoder:
            tokens = torch.where(mask[:, :, None], self.mask_token + self.positions, self.tokens(images))
        else:
            tokens = self.tokens(images, visible)  # batch visible dim
        return self.encoder(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1), keep=keep)

    def decode(self, latents: Float[Tensor, "batch seen dim"], mask: Mask) -> Float[Tensor, "batch tokens pixels"]:
        """Predicted patches, hidden and visible ones, in reading order."""
        x = self.decoder_embedding(latents)
        if self.config.mask_token_in_encoder:
            return self.head(self.decoder(self.with_cls(x, x[:, 1:] + self.decoder_positions))[:, 1:])
        if self.config.decoder == "cross":
            every = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
            return self.head(self.decoder(self.placed(every), self.visible_context(x, mask)))
        visible, hidden = visible_indices(mask)
        x = self.with_cls(x, x[:, 1:] + self.decoder_positions[visible], self.placed(hidden))
        back = torch.cat([visible, hidden], dim=1).argsort(dim=1)
        return take(self.head(self.decoder(x)[:, 1:]), back)  # batch tokens pixels

    def decode_hidden(
        self, latents: Float[Tensor, "batch seen dim"], mask: Mask, chosen: Int64[Tensor, "batch chosen"]
    ) -> Float[Tensor, "batch chosen pixels"]:
        """The same predictions for some hidden patches alone, at less cost.

        `chosen` are token indices, ascending; for decoder="self" they must be all hidden ones.
        """
        if self.config.mask_token_in_encoder:
            return take(self.decode(latents, mask), chosen)
        x = self.decoder_embedding(latents)
        if self.config.decoder == "cross":
            return self.head(self.decoder(self.placed(chosen), self.visible_context(x, mask)))
        visible, _ = visible_indices(mask)
        x = self.with_cls(x, x[:, 1:] + self.decoder_positions[visible], self.placed(chosen))
        return self.head(self.decoder(x, first=1 + visible.shape[1]))

    def placed(self, index: Int64[Tensor, "batch chosen"]) -> Float[Tensor, "batch chosen dim"]:
        """The mask token at places of the decoder."""
        return self.mask_token + self.decoder_positions[index]

    def visible_context(self, x: Float[Tensor, "batch seen dim"], mask: Mask) -> Float[Tensor, "batch seen dim"]:
        """What a cross-attention decoder asks: [CLS] and the visible latents with their positions."""
        return self.with_cls(x, x[:, 1:] + self.decoder_positions[visible_indices(mask)[0]])

    def with_cls(self, x: Float[Tensor, "batch seen dim"], *parts: Tensor) -> Float[Tensor, "batch all dim"]:
        """The [CLS] of `x` in front of other tokens."""
        return torch.cat([x[:, :1].to(parts[0].dtype), *parts], dim=1)

    def forward(self, images: Tensor, mask: Mask | None = None) -> Float[Tensor, "batch tokens pixels"]:
        mask = self.nothing_hidden(images) if mask is None else mask
        return self.decode(self.encode(images, mask), mask)

    def nothing_hidden(self, images: Tensor) -> Mask:
        return torch.zeros(len(images), self.grid[0] * self.grid[1], dtype=torch.bool, device=images.device)

    def random_mask(self, batch: int, generator: Generator, ratio: float = 0.75) -> Mask:
        """A random mask for this model's grid, on its device."""
        return draw("random", batch=batch, grid=self.grid, ratio=ratio, generator=generator).to(self.cls_token.device)

    def target(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens pixels"]:
        """The patches to predict: standardised pixels, or each patch normalised by its own statistics."""
        patches = patchify(self.space.standardise(images), self.patch)
        return normalise(patches) if self.config.normalise_target else patches

    def loss(self, images: Tensor, mask: Mask, ranks: Float[Tensor, "batch tokens"] | None = None) -> Tensor:
        """Mean squared error over the hidden patches, or over all of them (`loss_on`), or both weighted (`visible_weight`).

        ranks   numbers by which `predict_share` of the hidden patches are chosen, the lowest first; None = all

        Raises ValueError where the loss is on hidden patches and nothing is hidden.
        """
        if self.config.loss_on == "all":
            return self.patch_errors(images, mask).mean()
        if not mask.any():
            raise ValueError("nothing is hidden, so a loss on hidden patches is empty: at mask ratio 0 use loss_on='all'")
        if self.config.visible_weight:
            error = self.patch_errors(images, mask)
            return error[mask].mean() + self.config.visible_weight * error[~mask].mean()
        _, chosen = visible_indices(mask)
        if ranks is not None:
            count = max(1, int(self.config.predict_share * chosen.shape[1] + 0.5))
            chosen = chosen.gather(1, ranks.gather(1, chosen).argsort(dim=1)[:, :count])
        predicted = self.decode_hidden(self.encode(images, mask), mask, chosen)
        return ((predicted - take(self.target(images), chosen)) ** 2).mean()

    def patch_errors(self, images: Tensor, mask: Mask) -> Float[Tensor, "batch tokens"]:
        """Mean squared error of every patch."""
        return ((self(images, mask) - self.target(images)) ** 2).mean(dim=2)

    def reconstruct(
        self, images: Tensor, mask: Mask | None = None, statistics: Statistics = "neighbours"
    ) -> Float[Tensor, "batch channels height width"]:
        """Predicted images in [0, 1]; `statistics` says how normalised predictions become pixels (see `normalised`)."""
        mask = self.nothing_hidden(images) if mask is None else mask
        patches = self(images, mask).float()
        if self.config.normalise_target:
            truth = patchify(self.space.standardise(images), self.patch)
            patches = restore(patches, truth, mask, self.grid, statistics)
        return self.space.restore(unpatchify(patches, self.patch, self.grid))

    def embed(self, images: Float[Tensor, "batch channels height width"], keep: Tensor | None = None) -> Float[Tensor, "batch dim"]:
        latents = self.encode(images, keep=keep)
        return latents[:, 0] if self.config.pooling == "cls" else latents[:, 1:].mean(dim=1)

    @property
    def layers(self) -> int:
        """Depth of what `embed` goes through, in blocks."""
        return self.config.depth

    def layer_of(self, name: str) -> int:
        """In which layer a parameter of the encoder works: 0 for patches and [CLS], 1 to depth for blocks, depth + 1 behind them."""
        if name.startswith("encoder.blocks."):
            return int(name.split(".")[2]) + 1
        return 0 if name.startswith(("patch_embedding", "cls_token")) else self.config.depth + 1

    def attention(self, images: Tensor) -> Float[Tensor, "batch heads tokens tokens"]:
        """Attention of the encoder's last block with nothing hidden; place 0 on both last axes is [CLS]."""
        tokens = self.tokens(images)
        return self.encoder.attention_maps(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))


def take(tokens: Float[Tensor, "batch tokens dim"], index: Int64[Tensor, "batch chosen"]) -> Float[Tensor, "batch chosen dim"]:
    """The tokens at [batch, chosen] indices."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
