"""Published weights in, our weights out: the ViT-MAE of the transformers library and the original.

`load_pretrained` reads a folder or a Hugging Face hub id (of any version of transformers), or a
`.pth` of the original release (He et al. 2022, arXiv 2111.06377); `save_pretrained` writes the
layout on the hub. The files are read in published_files.py, names and axes are changed in
published_names.py, and here the two become a model. Widths and depths are read from the tensors,
and a config.json that says otherwise is refused; the model is laid out without memory first, so
that no number in a file makes it large. The one thing that tensors do not show is the number of
heads: where no file says it and no release has the width, it has to be given. Positions come
with the weights and are interpolated to another image size as the transformers library does it.
Published weights expect pixels with ImageNet's mean and deviation where no file says otherwise.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from lib.files import replace_file, write_json
from lib.models.mae import MAEConfig, MaskedAutoencoder
from lib.models.published_files import (
    Source,
    as_pair,
    first_fault,
    published_config,
    published_preprocessor,
    read_source,
    shown,
)
from lib.models.published_names import POSITIONS, PretrainedError, relaid, renamed, to_published
from lib.patches import Size, grid_of
from lib.pixels import PixelSpace, Shape
from lib.streams import stream

__all__ = ["PretrainedError", "load_pretrained", "save_pretrained"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ENCODER_HEADS = {768: 12, 1024: 16, 1280: 16}  # of the releases ViT-B, L and H, by width
DECODER_HEADS = {512: 16}
DECODER = ("decoder", "head.", "mask_token")  # how the names of its tensors begin


# --- what the tensors show


@dataclass(frozen=True)
class TransformerSize:
    """Widths and depth of one transformer."""

    width: int
    depth: int
    inner: int  # width of its perceptrons

    @property
    def ratio(self) -> float:
        return self.inner / self.width


RELEASED_DECODER = TransformerSize(512, 8, 2048)  # drawn anew where only an encoder was published


@dataclass(frozen=True)
class Architecture:
    """What the shapes of the tensors show of a model."""

    channels: int
    patch: Size
    tokens: int
    encoder: TransformerSize
    decoder: TransformerSize | None  # None: these weights have none


def architecture_of(named: Mapping[str, Tensor]) -> Architecture:
    """What weights that have our names are of.

    Raises PretrainedError where one is not to be had.
    """
    width, channels, *patch = axes(named, "patch_embedding.weight", 4)
    tokens = axes(named, "positions", 3)[1] - 1  # without [CLS]
    decoder = None
    if any(name.startswith(DECODER) for name in named):
        decoder = transformer_size(named, "decoder", axes(named, "decoder_embedding.weight", 2)[0])
    encoder = transformer_size(named, "encoder", width)
    check_positions(named, "positions", (1, tokens + 1, width))
    if decoder and "decoder_positions" in named:
        check_positions(named, "decoder_positions", (1, tokens + 1, decoder.width))
    return Architecture(channels, (patch[0], patch[1]), tokens, encoder, decoder)


def axes(named: Mapping[str, Tensor], name: str, count: int) -> tuple[int, ...]:
    """The lengths of a tensor's axes, none of them 0."""
    shape = tuple(named[name].shape) if name in named else None
    if shape is None or len(shape) != count or 0 in shape:
        found = "missing" if shape is None else f"of shape {shown(shape)}"
        raise PretrainedError(
            f"{name} is {found} in these weights, expected {count} axes: they are no ViT-MAE"
        )
    return shape


def transformer_size(named: Mapping[str, Tensor], stack: str, width: int) -> TransformerSize:
    """Depth is the number of blocks that are there, whatever they are numbered."""
    numbered = re.compile(rf"{stack}\.blocks\.(\d+)\.")
    found = {match[1] for name in named if (match := numbered.match(name))}
    return TransformerSize(width, len(found), axes(named, f"{stack}.blocks.0.mlp.0.weight", 2)[0])


def check_positions(named: Mapping[str, Tensor], name: str, expected: tuple[int, ...]) -> None:
    if axes(named, name, 3) != expected:
        raise PretrainedError(
            f"{name} are {tuple(named[name].shape)} in these weights, expected {expected}: "
            "one for [CLS] and each patch, as wide as the transformer"
        )


def check_agreement(source: Source, found: Architecture) -> None:
    """Raise PretrainedError where config.json says something else than the tensors show."""
    shows = {
        "patch_size": found.patch,
        "num_channels": found.channels,
        "hidden_size": found.encoder.width,
        "num_hidden_layers": found.encoder.depth,
        "intermediate_size": found.encoder.inner,
    }
    if found.decoder:
        shows["decoder_hidden_size"] = found.decoder.width
        shows["decoder_num_hidden_layers"] = found.decoder.depth
        shows["decoder_intermediate_size"] = found.decoder.inner
    for field, value in shows.items():
        said = getattr(source.stated, field)
        if said is not None and said != value:
            raise PretrainedError(
                f"{field} in {source.config_file}: {shown(said)}, but the weights beside it have "
                f"{value}: one of the two files is damaged or of another model"
            )


# --- both together


@dataclass(frozen=True)
class Part:
    """Where the heads of one of the two transformers may be said."""

    argument: str  # of load_pretrained
    field: str  # of config.json
    released: Mapping[int, int]  # by width


ENCODER_PART = Part("heads", "num_attention_heads", ENCODER_HEADS)
DECODER_PART = Part("decoder_heads", "decoder_num_attention_heads", DECODER_HEADS)


def heads_of(part: Part, width: int, source: Source, given: int | None) -> int:
    """How many heads share a width: as the file says, or the caller, or the releases have it.

    Raises PretrainedError where that is unknown, contradictory or no divisor.
    """
    said = getattr(source.stated, part.field)
    if said is not None and given is not None and said != given:
        raise PretrainedError(
            f"{part.argument}={shown(given)} was given, but {part.field} in {source.config_file} "
            f"is {shown(said)}: leave {part.argument} out"
        )
    known = (said, given, part.released.get(width))
    heads = next((number for number in known if number is not None), None)
    if heads is None:
        raise PretrainedError(
            f"{source.config_file} does not say how many heads share a width of {width}, its "
            "weights do not show it, and no release has that width: "
            f"give load_pretrained(..., {part.argument}=...)"
        )
    if heads < 1 or width % heads:
        raise PretrainedError(
            f"{part.field} in {source.config_file}, or {part.argument}: {shown(heads)} heads "
            f"cannot share a width of {width}, which has to be a multiple"
        )
    return heads


def configuration(
    source: Source, found: Architecture, heads: int | None, decoder_heads: int | None
) -> MAEConfig:
    """Raises PretrainedError where the model does not allow a number."""
    encoder = found.encoder
    decoder = found.decoder or RELEASED_DECODER
    heads = heads_of(ENCODER_PART, encoder.width, source, heads)
    if found.decoder:
        decoder_heads = heads_of(DECODER_PART, decoder.width, source, decoder_heads)
    elif decoder_heads is None:
        decoder_heads = DECODER_HEADS[decoder.width]
    try:
        return MAEConfig(
            dim=encoder.width,
            depth=encoder.depth,
            heads=heads,
            decoder_dim=decoder.width,
            decoder_depth=decoder.depth,
            decoder_heads=decoder_heads,
            mlp_ratio=encoder.ratio,
            decoder_mlp_ratio=decoder.ratio,
            normalise_target=source.stated.norm_pix_loss,
            eps=source.stated.layer_norm_eps,
        )
    except ValidationError as error:
        field, fault = first_fault(error)
        raise PretrainedError(
            f"{source.config_file} and its weights do not become a model: {field}: {fault}"
        ) from error


def trained_shape(source: Source, found: Architecture) -> Shape:
    """The shape of the images that the weights were made for; a square where no file says it."""
    file, size, patch = source.config_file, source.stated.image_size, found.patch
    if size is None:
        side = isqrt(found.tokens)
        size = (side * patch[0], side * patch[1])
    try:
        rows, columns = grid_of(size, patch)
    except ValueError as error:
        raise PretrainedError(f"image_size in {file}: {error}") from error
    if rows * columns != found.tokens:
        raise PretrainedError(
            f"image_size in {file}: {size[0]}x{size[1]} pixels make {rows}x{columns} patches, "
            f"but the weights have positions for {found.tokens}"
        )
    return Shape(found.channels, *size, patch)


def pixel_statistics(source: Source, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation, each [channels], of the pixels that the weights expect."""
    said = source.preprocessor
    if not said.do_normalize:
        return torch.zeros(channels), torch.ones(channels)
    usual = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels,) * 2
    mean = torch.tensor(usual[0] if said.image_mean is None else said.image_mean)
    std = torch.tensor(usual[1] if said.image_std is None else said.image_std)
    allowed = {
        "image_mean": mean.isfinite(),
        "image_std": std.isfinite() & (std > 0),
    }
    for field, fine in allowed.items():
        if fine.shape != (channels,) or not fine.all():
            raise PretrainedError(
                f"{field} in {source.preprocessor_file}: {shown(getattr(said, field))}, expected "
                f"{channels} finite numbers, deviations above 0"
            )
    return mean, std


def asked_shape(trained: Shape, image_size: int | Size | None) -> Shape:
    """Raises PretrainedError for a size that the patches do not tile."""
    if image_size is None:
        return trained
    height, width = as_pair(image_size)
    if min(height, width) < 1:
        raise PretrainedError(f"image_size={image_size} is no size: give pixels, 1 or more")
    try:
        grid_of((height, width), trained.patch)
    except ValueError as error:
        raise PretrainedError(f"image_size={image_size}: {error}") from error
    return Shape(trained.channels, height, width, trained.patch)


def load_pretrained(
    source: str | Path,
    *,
    image_size: int | Size | None = None,
    heads: int | None = None,
    decoder_heads: int | None = None,
) -> MaskedAutoencoder:
    """A ViT-MAE with published weights, in float32 on the CPU.

    source          a model that comes with the code (imagenette-mae), a folder with config.json
                    and model.safetensors, a hub id such as facebook/vit-mae-base, or a .pth of
                    the original release
    image_size      side in pixels, or (height, width); None = as it was trained
    heads           of the encoder, and
    decoder_heads   of the decoder: for a source that does not say it (a .pth of another size
                    than the released ViT-B, L and H)

    Warns where there is no decoder; raises PretrainedError for whatever cannot be used.
    """
    read = read_source(source)
    named = renamed(read.tensors)
    found = architecture_of(named)
    check_agreement(read, found)
    config = configuration(read, found, heads, decoder_heads)
    trained = trained_shape(read, found)
    mean, std = pixel_statistics(read, found.channels)
    space = PixelSpace(asked_shape(trained, image_size), mean, std)
    given = relaid(named)
    check_fit(given, config, space)
    if found.decoder is None:
        warnings.warn(
            f"the weights of {source} have no decoder: it is left as it was drawn, "
            "so features are good and pictures are not",
            stacklevel=2,
        )
    return fill(MaskedAutoencoder(config, space, stream(0, "weights")), given, trained.grid)


def check_fit(given: Mapping[str, Tensor], config: MAEConfig, space: PixelSpace) -> None:
    """Raise PretrainedError naming the first tensor that is missing, misshapen or unknown."""
    own = shapes_of(config, space)
    if not any(name.startswith(DECODER) for name in given):
        own = {name: shape for name, shape in own.items() if not name.startswith(DECODER)}
    for name, shape in own.items():
        if name not in given:
            raise PretrainedError(
                f"these weights lack {name} {shape}: they are of another architecture"
            )
        if given[name].shape != shape:
            raise PretrainedError(
                f"{name} is {tuple(given[name].shape)} in these weights and {shape} in the model"
            )
    for name in sorted(given.keys() - own.keys() - set(POSITIONS)):
        raise PretrainedError(
            f"these weights hold {name[:200]} {tuple(given[name].shape)}, "
            "which the model does not have"
        )


def shapes_of(config: MAEConfig, space: PixelSpace) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights, from one without memory: asking costs nothing."""
    with torch.device("meta"):
        model = MaskedAutoencoder(config, space, stream(0, "weights"))
    state = model.state_dict()
    return {name: tuple(state[name].shape) for name in state if not name.startswith("space.")}


def fill(model: MaskedAutoencoder, given: Mapping[str, Tensor], trained: Size) -> MaskedAutoencoder:
    """Put weights that were trained on a grid into a model."""
    for name in POSITIONS:
        if name in given:
            fitted = interpolate_positions(given[name], trained, model.grid)
            setattr(model, name, fitted.to(getattr(model, name)))
    weights = {name: tensor for name, tensor in given.items() if name not in POSITIONS}
    model.load_state_dict(weights, strict=False)
    return model


def interpolate_positions(
    positions: Float[Tensor, "tokens dim"], old: Size, new: Size
) -> Float[Tensor, "new_tokens dim"]:
    """Positions of a grid for another one: bicubic, as the transformers library does it.

    As in ViT, arXiv 2010.11929, section 3.2.
    """
    if old == new:
        return positions.clone()
    laid = positions.reshape(1, *old, -1).permute(0, 3, 1, 2)  # 1 dim rows columns
    laid = F.interpolate(laid, size=new, mode="bicubic", align_corners=False)
    return laid.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)


# --- out


def save_pretrained(
    model: MaskedAutoencoder, folder: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write config.json, preprocessor_config.json and model.safetensors as on the hub.

    Weights are stored as `dtype`, positions as they are. `loss_on` is not kept: what is loaded
    has its loss on hidden patches. Raises PretrainedError for a model that the layout has no
    place for: a variant (lib/models/variants.py), oblong patches, features from [CLS].
    """
    check_published(model)
    folder = Path(folder)
    tensors = {name: tensor.contiguous() for name, tensor in to_published(model, dtype).items()}

    content = save(tensors, {"format": "pt"})  # save_file would let nobody else read it
    replace_file(folder / "model.safetensors", lambda aside: aside.write_bytes(content))
    write_json(folder / "config.json", published_config(model))
    write_json(folder / "preprocessor_config.json", published_preprocessor(model))


def check_published(model: MaskedAutoencoder) -> None:
    patch = model.space.shape.patch
    if type(model) is not MaskedAutoencoder:
        fault = f"a {type(model).__name__}, which computes otherwise with the same names"
    elif patch[0] != patch[1]:
        fault = f"oblong patches ({patch[0]}x{patch[1]})"
    elif model.config.pooling != "mean":
        fault = f"pooling={model.config.pooling!r}: what is loaded would take the mean of patches"
    else:
        return
    raise PretrainedError(
        f"the Hugging Face layout has no place for {fault}: "
        "write its state_dict() with safetensors instead"
    )
