"""The names and shapes of a ViT-MAE's weights: ours, the transformers library's, the original release's.

They differ in names, in queries, keys and values being one matrix or three, and in the
patch embedding being a convolution [dim, channel, height, width] or, here, a linear
layer on patches flattened as (height, width, channel). Their positions have a row of
zeros for [CLS], ours do not. transformers has used several names for the same tensor.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.mae import MaskedAutoencoder

POSITIONS = ("positions", "decoder_positions")

# Names of both sources to ours, in this order.
RENAMES = (
    (r"^vit\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^(embeddings\.position_embeddings|pos_embed)$", "positions"),
    (r"^(embeddings\.patch_embeddings\.projection|patch_embed\.proj)\.", "patch_embedding."),
    (r"^(decoder\.decoder_layers|decoder\.decoder_encoder\.layer|decoder_blocks)\.", "decoder.blocks."),
    (r"^(encoder\.layer|layers|blocks)\.", "encoder.blocks."),
    (r"^(layernorm|norm)\.", "encoder.norm."),
    (r"^(decoder\.)?decoder_norm\.", "decoder.norm."),
    (r"^(decoder\.)?decoder_embed\.", "decoder_embedding."),
    (r"^(decoder\.)?decoder_pred\.", "head."),
    (r"^decoder\.mask_token$", "mask_token"),
    (r"^(decoder\.)?decoder_pos_embed$", "decoder_positions"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attention.\1."),
    (r"\.attention\.q_proj\.", ".attention.query."),
    (r"\.attention\.k_proj\.", ".attention.key."),
    (r"\.attention\.v_proj\.", ".attention.value."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.(attention\.output\.dense|attention\.o_proj|attn\.proj)\.", ".attention.project."),
    (r"\.(intermediate\.dense|mlp\.fc1)\.", ".mlp.0."),
    (r"\.(output\.dense|mlp\.fc2)\.", ".mlp.2."),
)

# Ours to the names on the hub, for what is stored whole.
TO_PUBLISHED = (
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^patch_embedding\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^encoder\.blocks\.", "vit.encoder.layer."),
    (r"^encoder\.norm\.", "vit.layernorm."),
    (r"^decoder\.blocks\.", "decoder.decoder_layers."),
    (r"^decoder\.norm\.", "decoder.decoder_norm."),
    (r"^decoder_embedding\.", "decoder.decoder_embed."),
    (r"^head\.", "decoder.decoder_pred."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attention\.project\.", ".attention.output.dense."),
    (r"\.mlp\.0\.", ".intermediate.dense."),
    (r"\.mlp\.2\.", ".output.dense."),
)


class PretrainedError(ValueError):
    """Weights that cannot be used; the message says what was found, what was expected and what to do."""


def to_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names and in our shapes, float32 (float64 stays)."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor if tensor.dtype == torch.float64 else tensor.float()
    for name in [name for name in found if ".attention.query." in name]:
        parts = [found.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        found[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    if "patch_embedding.weight" in found:
        found["patch_embedding.weight"] = found["patch_embedding.weight"].permute(0, 2, 3, 1).flatten(1)  # (h, w, channel), see patches
    for name in POSITIONS:
        if name in found:
            if found[name][0, 0].any():
                raise PretrainedError(f"{name} of [CLS] are not zero: no published MAE has such, and this model has no place for them")
            found[name] = found[name][0, 1:]
    return found


def to_published(model: MaskedAutoencoder, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors under their published names."""
    patch = model.space.shape.patch
    found = {name: tensor.detach().cpu().to(dtype) for name, tensor in model.state_dict().items() if not name.startswith("space.")}
    weight = found.pop("patch_embedding.weight").unflatten(1, (*patch, model.space.shape.channels)).permute(0, 3, 1, 2)
    published = {"vit.embeddings.patch_embeddings.projection.weight": weight}
    named = {"vit.embeddings.position_embeddings": "positions", "decoder.decoder_pos_embed": "decoder_positions"}
    published |= {theirs: F.pad(getattr(model, ours).cpu(), (0, 0, 1, 0))[None] for theirs, ours in named.items()}  # a zero row for [CLS]
    for name, tensor in found.items():
        for theirs, part in published_parts(name, tensor):
            published[theirs] = part
    return published


def published_parts(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A tensor of ours under its published name; queries, keys and values apart."""
    for pattern, replacement in TO_PUBLISHED:
        name = re.sub(pattern, replacement, name)
    if ".attention.qkv." not in name:
        return [(name, tensor)]
    parts = tensor.chunk(3)
    return [
        (name.replace(".attention.qkv.", f".attention.attention.{part}."), piece)
        for part, piece in zip(("query", "key", "value"), parts, strict=True)
    ]
