"""Masked autoencoders of other projects, as their own examples train them: entrants of benchmarks/mae.py.

Each is a function of a size and a batch that returns a step: called without arguments
it draws masks, computes the loss, goes backward, updates by AdamW, and returns the loss.
`tuned` gives a peer what ours has: bf16 autocast where the machine is fast at it, plain
attention on a CPU, fused AdamW, and (set by benchmarks/mae.py) freed memory that is kept.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.machine import autocast, fast_bf16


@dataclass(frozen=True)
class Size:
    """A ViT-MAE on square images with three channels, 75 % hidden."""

    image: int
    patch: int
    dim: int
    depth: int
    heads: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2


Make = Callable[[Size, Tensor, bool], Callable[[], Tensor]]
RATE, DECAY, RATIO = 1.5e-4, 0.05, 0.75


def stepper(
    model: nn.Module, loss_of: Callable[[], Tensor], device: torch.device, tuned: bool
) -> Callable[[], Tensor]:
    """The usual training step around a loss."""
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=RATE,
        betas=(0.9, 0.95),
        weight_decay=DECAY,
        fused=True if tuned else None,
    )

    def step() -> Tensor:
        optimiser.zero_grad()
        with autocast(device, "bf16") if tuned and fast_bf16(device) else contextlib.nullcontext():
            loss = loss_of()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def transformers(size: Size, images: Tensor, tuned: bool):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=size.dim,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dim,
        image_size=size.image,
        patch_size=size.patch,
        decoder_hidden_size=size.decoder_dim,
        decoder_num_hidden_layers=size.decoder_depth,
        decoder_num_attention_heads=size.decoder_heads,
        decoder_intermediate_size=4 * size.decoder_dim,
        mask_ratio=RATIO,
        **({"attn_implementation": "eager"} if tuned and images.device.type == "cpu" else {}),
    )
    model = ViTMAEForPreTraining(config).to(images.device).train()
    return stepper(model, lambda: model(images).loss, images.device, tuned)


def vit_pytorch(size: Size, images: Tensor, tuned: bool):
    from vit_pytorch import MAE, ViT

    encoder = ViT(
        image_size=size.image,
        patch_size=size.patch,
        num_classes=10,
        dim=size.dim,
        depth=size.depth,
        heads=size.heads,
        dim_head=size.dim // size.heads,
        mlp_dim=4 * size.dim,
        pool="mean",  # its default pool fails in MAE
    )
    model = MAE(
        encoder=encoder,
        masking_ratio=RATIO,
        decoder_dim=size.decoder_dim,
        decoder_depth=size.decoder_depth,
        decoder_heads=size.decoder_heads,
        decoder_dim_head=size.decoder_dim // size.decoder_heads,
    )
    model = model.to(images.device).train()  # its attention is written out already
    return stepper(model, lambda: model(images), images.device, tuned)


def lightly(size: Size, images: Tensor, tuned: bool):
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from timm.layers import set_fused_attn
    from timm.models.vision_transformer import VisionTransformer

    set_fused_attn(not (tuned and images.device.type == "cpu"))
    widths = {"embed_dim": size.dim, "depth": size.depth, "num_heads": size.heads}
    vit = VisionTransformer(img_size=size.image, patch_size=size.patch, num_classes=0, **widths)
    backbone = MaskedVisionTransformerTIMM(vit=vit)
    decoder = MAEDecoderTIMM(
        num_patches=size.tokens,
        patch_size=size.patch,
        embed_dim=size.dim,
        decoder_embed_dim=size.decoder_dim,
        decoder_depth=size.decoder_depth,
        decoder_num_heads=size.decoder_heads,
    )
    set_fused_attn(True)
    model = nn.ModuleList([backbone, decoder]).to(images.device).train()
    count, length = len(images), size.tokens + 1

    def loss_of() -> Tensor:
        kept, hidden = utils.random_token_mask(
            size=(count, length), mask_ratio=RATIO, device=images.device
        )
        encoded = backbone.encode(images=images, idx_keep=kept)
        x = decoder.embed(encoded)
        tokens = utils.repeat_token(decoder.mask_token, (count, length))
        tokens = utils.set_at_index(tokens, kept, x.type_as(tokens))
        predicted = decoder.predict(utils.get_at_index(decoder.decode(tokens), hidden))
        target = utils.get_at_index(utils.patchify(images, size.patch), hidden - 1)
        return nn.functional.mse_loss(predicted, target)

    return stepper(model, loss_of, images.device, tuned)


PEERS: dict[str, Make] = {
    "transformers": transformers,
    "vit-pytorch": vit_pytorch,
    "lightly": lightly,
}
