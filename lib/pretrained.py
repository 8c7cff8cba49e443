"""Published weights in, our weights out: the ViT-MAE of the transformers library and of the original release.

`load_pretrained` reads a folder or a Hugging Face hub id (config.json and
model.safetensors, of any version of transformers), or a `.pth` of the original
release; `save_pretrained` writes the published Hugging Face layout. A `.pth` is a pickle:
it is read with torch's restricted loader, which builds tensors and the one harmless class
that the releases hold (argparse.Namespace) and refuses everything else.

Positions come with the weights and are interpolated to another image size as the
transformers library does it. The published weights expect pixels with ImageNet's mean and
deviation; a preprocessor_config.json beside them says otherwise where it is so.
"""

import argparse
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib.files import replace_file
from lib.models.mae import MAEConfig, MaskedAutoencoder
from lib.patches import Size, grid_of
from lib.pixels import PixelSpace, Shape
from lib.streams import stream
from lib.weight_names import POSITIONS, PretrainedError, to_ours, to_published

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of each channel
HEADS = {768: 12, 1024: 16, 1280: 16}  # of the original release's encoders, by width; its decoders have 16


def load_pretrained(source: str | Path, *, image_size: int | Size | None = None) -> MaskedAutoencoder:
    """A ViT-MAE with published weights, in float32.

    source       a folder with config.json and model.safetensors, a hub id such as facebook/vit-mae-base, or a .pth file
    image_size   side in pixels, or (height, width); None = as it was trained

    Raises PretrainedError.
    """
    path = Path(source)
    if path.suffix in (".pth", ".pt", ".bin"):
        tensors, about = read_original(path)
    else:
        folder = path if path.is_dir() else from_hub(str(source))
        tensors, about = read_folder(folder)
    ours = to_ours(tensors)
    config, shape, (mean, std) = described(ours, about)
    try:
        asked = shape if image_size is None else resized(shape, image_size)
        model = MaskedAutoencoder(config, PixelSpace(asked, mean, std), stream(0, "weights"))
    except ValueError as error:
        raise PretrainedError(f"{source} does not become a model: {error}") from error
    return fit(model, ours, shape.grid)


def from_hub(name: str) -> Path:
    """The folder of a hub id's files, downloaded on first use."""
    by_hand = f"place its config.json and model.safetensors in a folder by hand (from huggingface.co/{name}) and give that folder"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PretrainedError(f"there is no folder {name!r}, and it is no hub id such as facebook/vit-mae-base")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "preprocessor_config.json", "model.safetensors"]))
    except Exception as error:  # its errors share no base: no network, no such name, no right to read
        raise PretrainedError(f"{name!r} is no folder here and cannot be had from the hub ({type(error).__name__}): {by_hand}") from error


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by their published names, and config.json with preprocessor_config.json under `preprocessor`."""
    try:
        about = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise PretrainedError(f"{folder} does not hold a readable config.json and model.safetensors: {error}") from error
    if about.get("model_type") != "vit_mae":
        raise PretrainedError(f"{folder} holds a model of type {about.get('model_type')!r}, expected 'vit_mae'")
    for name, wanted in (("hidden_act", "gelu"), ("qkv_bias", True)):
        if about.get(name, wanted) != wanted:
            raise PretrainedError(f"{folder} was made with {name}={about[name]!r}, and this model has {name}={wanted!r} only")
    return tensors, about | {"preprocessor": read_preprocessor(folder / "preprocessor_config.json")}


def read_preprocessor(file: Path) -> dict[str, Any]:
    """What a preprocessor_config.json says; nothing where there is none."""
    try:
        return dict(json.loads(file.read_text())) if file.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise PretrainedError(f"{file} is not readable as JSON ({error}): mend it, or remove it to take ImageNet's pixels") from error


def read_original(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of an original release, and what its arguments and shapes say as a config.json would."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise PretrainedError(f"there is no file {file}") from error
    except Exception as error:  # whatever a file of unknown origin makes the loader raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PretrainedError(f"{file} was not read: it is damaged, or holds code and not only weights ({first})") from error
    tensors = held.get("model", held) if isinstance(held, Mapping) else None
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()) or "patch_embed.proj.weight" not in tensors:
        raise PretrainedError(f"{file} does not hold the weights of an original MAE release (no patch_embed.proj.weight)")
    weight, width = tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.weight"].shape[0]
    side = round((tensors["pos_embed"].shape[1] - 1) ** 0.5) * weight.shape[2]
    arguments = vars(held["args"]) if isinstance(held.get("args"), argparse.Namespace) else {}
    about = {"num_attention_heads": HEADS.get(width, max(1, width // 64)), "layer_norm_eps": 1e-6, "image_size": side}
    about |= {"decoder_num_attention_heads": 16, "norm_pix_loss": bool(arguments.get("norm_pix_loss", False))}
    return dict(tensors), about


def described(ours: Mapping[str, Tensor], about: dict[str, Any]) -> tuple[MAEConfig, Shape, tuple[Tensor, Tensor]]:
    """Configuration, image shape, and mean and deviation of the pixels, from tensors and config."""

    def depth(stack: str) -> int:
        return 1 + max((int(name.split(".")[2]) for name in ours if name.startswith(f"{stack}.blocks.")), default=-1)

    def size(name: str, axis: int, otherwise: str) -> int:
        return ours[name].shape[axis] if name in ours else about[otherwise]

    try:
        dim = ours["positions"].shape[1]
        decoder_dim = size("decoder_embedding.weight", 0, "decoder_hidden_size") if depth("decoder") else 512
        options = {"dim": dim, "depth": depth("encoder"), "heads": about["num_attention_heads"], "eps": about["layer_norm_eps"]}
        options |= {
            "decoder_dim": decoder_dim,
            "decoder_depth": depth("decoder") or 8,
            "decoder_heads": about["decoder_num_attention_heads"],
        }
        options["mlp_ratio"] = ours["encoder.blocks.0.mlp.0.weight"].shape[0] / dim
        options["decoder_mlp_ratio"] = (
            size("decoder.blocks.0.mlp.0.weight", 0, "decoder_intermediate_size") / decoder_dim if depth("decoder") else 4.0
        )
        config = MAEConfig(**options, normalise_target=about["norm_pix_loss"])
        height, width = pair(about["image_size"])
        pixels = ours["patch_embedding.weight"].shape[1]
        channels = about.get("num_channels", 3)
        patch = pair(about["patch_size"]) if "patch_size" in about else pair(round((pixels / channels) ** 0.5))
    except (KeyError, ValidationError) as error:
        raise PretrainedError(f"these weights do not describe a ViT-MAE: {error}") from error
    given = about.get("preprocessor", {})
    default = IMAGENET if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    mean, std = (given.get(name, usual) for name, usual in zip(("image_mean", "image_std"), default, strict=True))
    try:
        pixels_are = torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise PretrainedError(f"image_mean {mean!r} and image_std {std!r} beside these weights are no lists of numbers") from error
    if any(values.shape != (channels,) for values in pixels_are) or not (pixels_are[1] > 0).all():
        raise PretrainedError(f"image_mean {mean} and image_std {std} beside these weights: expected {channels} each, deviations above 0")
    return config, Shape(channels, height, width, patch), pixels_are


def pair(size: int | Size | list[int]) -> Size:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def resized(shape: Shape, image_size: int | Size) -> Shape:
    height, width = pair(image_size)
    grid_of((height, width), shape.patch)
    return Shape(shape.channels, height, width, shape.patch)


def fit(model: MaskedAutoencoder, ours: Mapping[str, Tensor], grid: Size) -> MaskedAutoencoder:
    """Put weights that were trained on a grid into a model. Raises PretrainedError naming the first tensor that does not fit."""
    given = dict(ours)
    for name in POSITIONS:
        if name in given:
            setattr(model, name, interpolate_positions(given.pop(name), grid, model.grid))
    own = model.state_dict()
    own = {name: tensor for name, tensor in own.items() if not name.startswith("space.")}
    decoder = {name for name in own if name.startswith(("decoder", "head", "mask_token"))}
    if not decoder & given.keys():
        warnings.warn("these weights have no decoder: it is left as it was drawn, so features are good and pictures are not", stacklevel=3)
        own = {name: tensor for name, tensor in own.items() if name not in decoder}
    for name, tensor in own.items():
        if name not in given:
            raise PretrainedError(f"these weights lack {name} {tuple(tensor.shape)}: they are of another architecture")
        if given[name].shape != tensor.shape:
            raise PretrainedError(f"{name} is {tuple(given[name].shape)} in these weights and {tuple(tensor.shape)} in the model")
    unknown = sorted(given.keys() - own.keys())
    if unknown:
        raise PretrainedError(f"these weights hold {unknown[0]} {tuple(given[unknown[0]].shape)}, which the model does not have")
    model.load_state_dict(given, strict=False)
    return model


def interpolate_positions(positions: Float[Tensor, "tokens dim"], old: Size, new: Size) -> Float[Tensor, "new_tokens dim"]:
    """Positions of a grid for another grid: bicubic, as the transformers library does it (and ViT, appendix of arXiv 2010.11929)."""
    if old == new:
        return positions.clone()
    laid = positions.reshape(1, *old, -1).permute(0, 3, 1, 2)
    return F.interpolate(laid, size=new, mode="bicubic", align_corners=False).permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)


def save_pretrained(model: MaskedAutoencoder, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json, preprocessor_config.json and model.safetensors in the published Hugging Face layout.

    Weights are stored as `dtype`, positions as they are. Raises PretrainedError for a model that has no such layout.
    """
    config, shape = model.config, model.space.shape
    if config.mask_token_in_encoder or config.decoder == "cross" or shape.patch[0] != shape.patch[1]:
        raise PretrainedError("the Hugging Face layout has no place for mask tokens in the encoder, cross-attention or oblong patches")
    mean, std = ([round(value, 8) for value in values.flatten().tolist()] for values in (model.space.mean, model.space.std))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in to_published(model, dtype).items()}
    replace_file(folder / "model.safetensors", lambda aside: save_file(tensors, aside, {"format": "pt"}))
    preprocessor = {"image_processor_type": "ViTImageProcessor", "image_mean": mean, "image_std": std}
    preprocessor |= {"do_resize": True, "do_normalize": True, "do_rescale": True, "size": {"height": shape.height, "width": shape.width}}
    for name, content in (("config", published_config(model)), ("preprocessor_config", preprocessor)):
        replace_file(folder / f"{name}.json", lambda aside, content=content: aside.write_text(json.dumps(content, indent=1) + "\n"))


def published_config(model: MaskedAutoencoder) -> dict[str, Any]:
    config, shape = model.config, model.space.shape
    square = shape.height == shape.width
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": model.encoder.blocks[0].mlp[0].out_features,
        "decoder_hidden_size": config.decoder_dim,
        "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder_heads,
        "decoder_intermediate_size": model.decoder.blocks[0].mlp[0].out_features,
        "layer_norm_eps": config.eps,
        "image_size": shape.height if square else [shape.height, shape.width],
        "patch_size": shape.patch[0],
        "num_channels": shape.channels,
        "norm_pix_loss": config.normalise_target,
    }
