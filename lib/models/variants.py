"""What successors of the masked autoencoder changed, as families of their own.

Each is the paper's model (mae.py, which knows none of them) with one thing replaced:

    mae_tokens    hidden patches go through the encoder too, as a token (He et al. 2022, table 1c)
    mae_visible   visible patches count in the loss, discounted (arXiv 2402.03752, section 3)
    mae_cross     hidden places ask the visible ones alone, and only a share of them is
                  predicted in training (Fu et al. 2024, CrossMAE, arXiv 2401.14391, section 3)

`mask` is True = hidden.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.models.family import Batch, family
from lib.models.layers import initialise
from lib.models.mae import MAEConfig, MaskedAutoencoder, Seen, take
from lib.models.transformer import CrossTransformer
from lib.patches import visible_indices
from lib.pixels import PixelSpace
from lib.shapes import Loss, Mask, Pixels


@family("mae_tokens", config=MAEConfig, label="ViT-MAE, tokens encoded", version=1)
class TokenMAE(MaskedAutoencoder):
    """The encoder sees all places, hidden ones as a token: what the paper's design saves."""

    def __init__(self, config: MAEConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space, generator)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def encode(
        self,
        images: Pixels,
        mask: Mask | None = None,
        keep: Float[Tensor, "depth 2 batch"] | None = None,
    ) -> Float[Tensor, "batch all dim"]:
        """[CLS] and a token for every patch."""
        tokens = self.embed_patches(images)
        if mask is not None:
            gaps = self.mask_token + self.positions
            tokens = torch.where(mask[:, :, None], gaps.to(tokens.dtype), tokens)
        return self.encoder(self.with_cls(tokens), keep=keep)

    def decode(
        self, latents: Float[Tensor, "batch all dim"], mask: Mask, only_hidden: bool = False
    ) -> Float[Tensor, "batch predicted pixels"]:
        x = self.decoder_embedding(latents)
        x = torch.cat([x[:, :1], x[:, 1:] + self.decoder_positions], dim=1)
        predicted = self.head(self.decoder(x)[:, 1:])
        return take(predicted, visible_indices(mask)[1]) if only_hidden else predicted


class VisibleConfig(MAEConfig):
    visible_weight: float = Field(0.1, gt=0)  # of the loss on visible patches, beside hidden ones


@family("mae_visible", config=VisibleConfig, label="ViT-MAE, visible counted", version=1)
class VisibleMAE(MaskedAutoencoder):
    def loss(self, images: Pixels, mask: Mask) -> Loss:
        """Squared error on hidden patches plus a discounted one on visible patches.

        Raises ValueError where one of the two is empty.
        """
        if not mask.any() or mask.all():
            raise ValueError("a loss on hidden and on visible patches needs some of both")
        error = ((self(images, mask) - self.target(images)) ** 2).mean(dim=2)
        return error[mask].mean() + self.config.visible_weight * error[~mask].mean()


class CrossConfig(MAEConfig):
    predict_share: float = Field(0.25, gt=0, le=1)  # of the hidden patches, in training


@family("mae_cross", config=CrossConfig, label="CrossMAE", version=1)
class CrossMAE(MaskedAutoencoder):
    """A decoder in which every place asks the visible latents and no other place."""

    def __init__(self, config: CrossConfig, space: PixelSpace, generator: Generator):
        super().__init__(config, space, generator)
        self.decoder = CrossTransformer(
            config.decoder_dim,
            config.decoder_depth,
            config.decoder_heads,
            config.decoder_mlp_ratio or config.mlp_ratio,
            config.eps,
        )
        initialise(self.decoder, generator)

    def decode(
        self, latents: Seen, mask: Mask, only_hidden: bool = False
    ) -> Float[Tensor, "batch predicted pixels"]:
        every = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        return self.decode_at(latents, mask, visible_indices(mask)[1] if only_hidden else every)

    def decode_at(
        self, latents: Seen, mask: Mask, chosen: Int64[Tensor, "batch chosen"]
    ) -> Float[Tensor, "batch chosen pixels"]:
        """Predicted patches at chosen places, none of which depends on the others."""
        x = self.decoder_embedding(latents)
        seen = x[:, 1:] + self.decoder_positions[visible_indices(mask)[0]]
        context = torch.cat([x[:, :1], seen], dim=1)
        asking = self.mask_token + self.decoder_positions[chosen]
        return self.head(self.decoder(asking, context))

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        """The loss on a random share of the hidden patches, the same number in every image."""
        hidden = visible_indices(batch.mask)[1]
        every = self.config.predict_share == 1 or self.config.loss_on == "all"
        if every or not hidden.shape[1]:  # nothing is hidden: `loss` says what to do
            yield "loss", self.loss(batch.images, batch.mask)
            return
        count = max(1, int(self.config.predict_share * hidden.shape[1] + 0.5))

        def ranks(whole: int, generator: Generator) -> Tensor:
            return torch.rand(whole, hidden.shape[1], generator=generator)

        chosen = hidden.gather(1, batch.noise(ranks).argsort(dim=1)[:, :count])
        predicted = self.decode_at(self.encode(batch.images, batch.mask), batch.mask, chosen)
        yield "loss", ((predicted - take(self.target(batch.images), chosen)) ** 2).mean()
