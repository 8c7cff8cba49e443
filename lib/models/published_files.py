"""The files of a published ViT-MAE, read without trust and written: two layouts of one model.

On the hub and in the transformers library it is a folder: config.json, model.safetensors and
preprocessor_config.json (how pixels are standardised). The original release (He et al. 2022,
arXiv 2111.06377) is a `.pth`, which is a pickle: it is read with torch's restricted loader,
which builds tensors and the one harmless class that the releases hold (argparse.Namespace) and
refuses everything else. Here a file is read, its fields have the right types and ranges, and its
tensors are floats that lie in it; whether fields and tensors make a model is for published.py.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lib.config import as_tuple
from lib.files import WEIGHTS, resolve
from lib.models.mae import MaskedAutoencoder
from lib.models.published_names import PretrainedError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# --- in


def as_pair(value: Any) -> Any:
    """One side as (side, side), a list as a tuple."""
    return as_tuple(value) if isinstance(value, list | tuple) else (value, value)


Count = Annotated[int, Field(ge=1)]
Pair = Annotated[tuple[Count, Count], BeforeValidator(as_pair)]


class Stated(BaseModel):
    """What a config.json says of a ViT-MAE, in its own names; None = it does not say."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    model_type: Literal["vit_mae"]
    hidden_act: Literal["gelu"] = "gelu"
    qkv_bias: Literal[True] = True
    layer_norm_eps: float = Field(gt=0, le=1)
    norm_pix_loss: bool
    image_size: Pair | None = None
    num_attention_heads: Count | None = None
    decoder_num_attention_heads: Count | None = None
    # the rest repeats what the tensors show
    patch_size: Pair | None = None
    num_channels: Count | None = None
    hidden_size: Count | None = None
    num_hidden_layers: Count | None = None
    intermediate_size: Count | None = None
    decoder_hidden_size: Count | None = None
    decoder_num_hidden_layers: Count | None = None
    decoder_intermediate_size: Count | None = None


class Preprocessor(BaseModel):
    """What a preprocessor_config.json says of pixels in [0, 1]."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    do_normalize: bool = True
    image_mean: list[float] | None = None
    image_std: list[float] | None = None


@dataclass(frozen=True)
class Source:
    """Weights as they were found, by their own names, and what the files beside them say."""

    tensors: dict[str, Tensor]
    stated: Stated
    config_file: Path  # which says it, for messages
    preprocessor: Preprocessor
    preprocessor_file: Path


Said = TypeVar("Said", Stated, Preprocessor)


def read_json(file: Path, kind: type[Said]) -> Said:
    """A JSON file as a checked object. Raises PretrainedError naming the file and the field."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise PretrainedError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        field, fault = first_fault(error)
        where = f"{field} in {file}" if field else str(file)
        advice = "mend the file, or take it anew from where it came"
        raise PretrainedError(f"{where}: {fault}: {advice}") from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong ("" = the whole), and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("missing", "json_invalid"):  # there is no value to show
        return field, first["msg"]
    return field, f"{first['msg']}, got {shown(first['input'])}"


def shown(given: object) -> str:
    """What was given, for a message: not more of it than helps."""
    return repr(given)[:200]


def read_source(source: str | Path) -> Source:
    try:
        path = resolve(source)
    except RuntimeError as error:  # `~somebody`
        raise PretrainedError(f"there is no folder {shown(str(source))} ({error})") from None
    if path.suffix in (".pth", ".pt", ".bin"):
        return read_original(path)
    if path.is_dir():
        return read_folder(path)
    name = str(source)
    return read_folder(WEIGHTS / name if name in own_names() else from_hub(name))


def own_names() -> list[str]:
    """The trained models that come with the code."""
    return sorted(file.parent.name for file in WEIGHTS.glob("*/config.json"))


def from_hub(name: str) -> Path:
    """The folder of a hub id's files, downloaded on first use."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PretrainedError(
            f"there is no folder {shown(name)}, it is none of the models that come with the code "
            f"({', '.join(own_names())}), and no hub id such as facebook/vit-mae-base"
        )
    # half a second that who reads a folder does not wait
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "preprocessor_config.json", "model.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # no base in common: no network, no such name, no right to read
        raise PretrainedError(
            f"{shown(name)} is no folder here and cannot be had from the hub "
            f"({type(error).__name__}): place its config.json and model.safetensors in a folder "
            f"by hand (from huggingface.co/{name[:200]}) and give that folder"
        ) from error


def read_folder(folder: Path) -> Source:
    """config.json, model.safetensors and, where there is one, preprocessor_config.json."""
    config_file = folder / "config.json"
    stated = read_json(config_file, Stated)
    file = folder / "model.safetensors"
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise PretrainedError(
            f"{file} cannot be read ({first_line(error)}): take it anew from where it came"
        ) from error
    check_tensors(tensors, file)
    preprocessor_file = folder / "preprocessor_config.json"
    exists = preprocessor_file.exists()
    preprocessor = read_json(preprocessor_file, Preprocessor) if exists else Preprocessor()
    return Source(tensors, stated, config_file, preprocessor, preprocessor_file)


def read_original(file: Path) -> Source:
    """An original release: weights, and perhaps the arguments of its training."""
    held = load_restricted(file)
    tensors = held.get("model", held)
    if not isinstance(tensors, Mapping) or "patch_embed.proj.weight" not in tensors:
        raise PretrainedError(
            f"{file} does not hold the weights of an original MAE release (no "
            "patch_embed.proj.weight): give that release, or a folder in the Hugging Face layout"
        )
    check_tensors(tensors, file)
    arguments = held.get("args")
    told = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    stated = Stated(
        model_type="vit_mae",
        layer_norm_eps=1e-6,
        norm_pix_loss=told.get("norm_pix_loss") is True,
    )
    return Source(dict(tensors), stated, file, Preprocessor(), file)


def load_restricted(file: Path) -> Mapping[Any, Any]:
    """What a `.pth` holds, tensors and plain data alone; nothing where that is no mapping."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise PretrainedError(f"there is no file {file}") from error
    except Exception as error:  # whatever a file of unknown origin makes the loader raise
        raise PretrainedError(
            f"{file} was not read: it is damaged, or holds code and not only weights "
            f"({first_line(error)})"
        ) from error
    return held if isinstance(held, Mapping) else {}


def first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]


def check_tensors(tensors: Mapping[Any, Any], file: Path) -> None:
    """Raise PretrainedError unless these are names and floats, all of which lie in the file.

    A tensor of a `.pth` may claim any shape over a few bytes that it repeats.
    """
    for name, tensor in tensors.items():
        plain = isinstance(name, str) and isinstance(tensor, Tensor)
        plain = plain and tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.dtype not in FLOATS:
            raise PretrainedError(
                f"{shown(name)} in {file} is no tensor of floats (16, 32 or 64 bits): "
                "only a model's weights may lie there"
            )
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if claimed > file.stat().st_size:
        raise PretrainedError(
            f"the tensors of {file} claim {claimed} bytes, which is more than the file holds"
        )


# --- out


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


def published_preprocessor(model: MaskedAutoencoder) -> dict[str, Any]:
    space = model.space
    return {
        "image_processor_type": "ViTImageProcessor",
        "image_mean": space.mean.flatten().tolist(),
        "image_std": space.std.flatten().tolist(),
        "do_resize": True,
        "do_normalize": True,
        "do_rescale": True,
        "size": {"height": space.shape.height, "width": space.shape.width},
    }
