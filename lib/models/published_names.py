"""The names and shapes of a ViT-MAE's weights: ours, the transformers library's, the original's.

Three layouts hold the same numbers. They differ in names; in queries, keys and values being
one matrix or three; in the patch embedding being a convolution [dim, channels, height, width]
or, here, a linear layer on patches flattened as (height, width, channels), see lib/patches.py;
and in positions, which have a row of zeros for [CLS] in front there and none here. The
transformers library has used several names for the same tensor, and all of them are read; what
is written are the names of the weights on the hub. What those numbers mean is in published.py.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lib.models.mae import MaskedAutoencoder

POSITIONS = ("positions", "decoder_positions")
PARTS = ("query", "key", "value")  # in the order in which ours are joined

# Names of both sources to ours, each pattern applied to what the one before has made.
RENAMES = (
    (r"^vit\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^(embeddings\.position_embeddings|pos_embed)$", "positions"),
    (r"^(embeddings\.patch_embeddings\.projection|patch_embed\.proj)\.", "patch_embedding."),
    (r"^decoder\.(decoder_layers|decoder_encoder\.layer)\.", "decoder.blocks."),
    (r"^decoder_blocks\.", "decoder.blocks."),
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
    (r"^positions$", "vit.embeddings.position_embeddings"),
    (r"^decoder_positions$", "decoder.decoder_pos_embed"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attention\.project\.", ".attention.output.dense."),
    (r"\.mlp\.0\.", ".intermediate.dense."),
    (r"\.mlp\.2\.", ".output.dense."),
)


class PretrainedError(ValueError):
    """Weights that cannot be used: what was found, what was expected and what to do."""


# --- in


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names, still in their shapes.

    Raises PretrainedError where two of them are called the same.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = substituted(name, RENAMES)
        if ours in found:
            raise PretrainedError(
                f"these weights hold {ours[:200]} twice, by two layouts' names: remove one of them"
            )
        tensor = tensor.detach()
        found[ours] = tensor if tensor.dtype == torch.float64 else tensor.float()
    return found


def substituted(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def relaid(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that have our names, in our shapes.

    Raises PretrainedError where the parts of an attention are not all there, and where the
    position of [CLS] is not zero.
    """
    found = dict(named)
    for query in [name for name in found if ".attention.query." in name]:
        join_parts(found, query)
    if "patch_embedding.weight" in found:
        convolution = found["patch_embedding.weight"]  # dim channels height width
        found["patch_embedding.weight"] = convolution.permute(0, 2, 3, 1).flatten(1)
    for name in POSITIONS:
        if name in found:
            found[name] = without_cls(found[name], name)
    return found


def join_parts(found: dict[str, Tensor], query: str) -> None:
    """Put one matrix (or bias) in the place of a query, its key and its value."""
    names = [query.replace(".query.", f".{part}.") for part in PARTS]
    parts = [found.pop(name, torch.empty(0)) for name in names]
    shapes = [tuple(part.shape) for part in parts]
    if len(set(shapes)) > 1 or not parts[0].dim():
        raise PretrainedError(
            f"{query[:200]}, its key and its value have shapes {shapes}, expected three alike: "
            "these weights are damaged or incomplete"
        )
    found[query.replace(".query.", ".qkv.")] = torch.cat(parts)


def without_cls(
    positions: Float[Tensor, "1 all dim"], name: str = "positions"
) -> Float[Tensor, "tokens dim"]:
    """Positions of the patches alone. Raises PretrainedError where [CLS] has one of its own."""
    if positions[0, 0].any():
        raise PretrainedError(
            f"{name} of [CLS] are not zero: no published MAE has such, "
            "and this model has no place for them"
        )
    return positions[0, 1:]


# --- out


def to_published(model: MaskedAutoencoder, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors under their names on the hub: weights as `dtype`, positions as they are."""
    published: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("space."):  # goes into preprocessor_config.json
            continue
        weight = tensor.detach().cpu().to(dtype)
        if name == "patch_embedding.weight":
            weight = as_convolution(weight, model)
        published |= published_parts(name, weight)
    for name in POSITIONS:
        with_cls = F.pad(getattr(model, name).cpu(), (0, 0, 1, 0))  # a row of zeros in front
        published |= published_parts(name, with_cls[None])
    return published


def as_convolution(
    weight: Float[Tensor, "dim pixels"], model: MaskedAutoencoder
) -> Float[Tensor, "dim channels height width"]:
    shape = model.space.shape
    return weight.unflatten(1, (*shape.patch, shape.channels)).permute(0, 3, 1, 2)


def published_parts(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of ours under its published name; queries, keys and values apart."""
    theirs = substituted(name, TO_PUBLISHED)
    if ".attention.qkv." not in theirs:
        return {theirs: tensor}
    pieces = zip(PARTS, tensor.chunk(3), strict=True)
    return {theirs.replace(".qkv.", f".attention.{part}."): piece for part, piece in pieces}
