"""One set of measures for every model that answers `reconstruct` or `embed`.

Test masks are drawn from a stream that depends on the split, the strategy and the
ratio alone, so every model, whatever its seed, is judged on the same masks of the
same images, and two models can be compared image by image. A test mask is written
`strategy@ratio`, such as `random@0.75`; `none` hides nothing.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from lib.data import Images
from lib.mapped import release
from lib.masking import Grid, draw
from lib.metrics import image_measures, psnr
from lib.patches import pixel_mask
from lib.pixels import Shape, unit_range
from lib.probes import linear_probe, nearest_neighbours
from lib.streams import stream

JUDGED_ON = ("random", "block", "grid")  # strategies of the test masks beyond the quick scale; a longer list makes new records
Measures = dict[str, dict[str, float | int | None]]  # name -> {"value", "n"}


def parse_mask(name: str) -> tuple[str, float]:
    """The strategy and ratio of a test mask. Raises ValueError where it is not `strategy@ratio` or `none`."""
    if name == "none":
        return "random", 0.0
    strategy, at, ratio = name.partition("@")
    try:
        return strategy, float(ratio if at else "")
    except ValueError:
        raise ValueError(f"test mask {name!r} is not written strategy@ratio, such as random@0.75, or none") from None


def test_mask(name: str, split: str, count: int, grid: Grid) -> Bool[Tensor, "count tokens"]:
    """The fixed masks on which models are judged."""
    strategy, ratio = parse_mask(name)
    return draw(strategy, batch=count, grid=grid, ratio=ratio, generator=stream(0, f"{split}/{name}"))


@torch.no_grad()
def in_batches(function, *tensors: Tensor, device: torch.device, batch: int = 256) -> Tensor:
    """Apply a function batch by batch on a device; the result lies on the CPU, in float32."""
    parts = []
    for start in range(0, len(tensors[0]), batch):
        parts.append(function(*(tensor[start : start + batch].to(device) for tensor in tensors)).float().cpu())
        release()
    return torch.cat(parts)


def reconstruct(
    model: nn.Module, images: UInt8[Tensor, "count channels height width"], mask: Bool[Tensor, "count tokens"], device
) -> Float[Tensor, "count channels height width"]:
    """Predictions in [0, 1] for bytes."""
    return in_batches(lambda x, m: model.reconstruct(unit_range(x), m), images, mask, device=device)


def embed(model: nn.Module, images: UInt8[Tensor, "count channels height width"], device) -> np.ndarray:
    """Features [count, features] for bytes."""
    return in_batches(lambda x: model.embed(unit_range(x)), images, device=device).numpy()


def per_image(model: nn.Module, images: Tensor, mask_name: str, split: str, shape: Shape, device) -> pd.DataFrame:
    """The measures of every image under one test mask, a row each."""
    mask = test_mask(mask_name, split, len(images), shape.grid)
    predictions = reconstruct(model, images, mask, device).permute(0, 2, 3, 1).double().numpy()
    truths = unit_range(images).permute(0, 2, 3, 1).double().numpy()
    hidden = pixel_mask(mask, shape.patch, shape.grid)[:, 0].numpy()
    rows = [image_measures(*image) for image in zip(truths, predictions, hidden, strict=True)]
    return pd.DataFrame(rows).astype("float32").assign(split=split, mask=mask_name, image=np.arange(len(rows), dtype="int32"))


def summarise(rows: pd.DataFrame) -> dict[str, Measures]:
    """From rows per image to split -> name -> value and n: PSNR of the mean error, mean SSIM."""
    metrics: dict[str, Measures] = {}
    for (split, mask), group in rows.groupby(["split", "mask"], sort=False):
        for column in group.columns.difference(["split", "mask", "image"], sort=False):
            values = group[column].dropna().astype(float)
            mean = float(values.mean()) if len(values) else None
            value = psnr(mean) if "mse_" in column else mean
            name = f"{mask}/{column.replace('mse_', 'psnr_')}"
            metrics.setdefault(split, {})[name] = {"value": value, "n": len(values)}
    return metrics


def probe(model: nn.Module, splits: dict[str, Images], device) -> dict[str, Measures]:
    """Linear probe and k-NN accuracy on validation and test; None over 0 images where there are not two classes."""
    if any(images.labels is None for images in splits.values()) or len(splits["train"].labels.unique()) < 2:
        nothing = {name: {"value": None, "n": 0} for name in ("probe_accuracy", "knn_accuracy")}
        return {"validation": nothing, "test": dict(nothing)}
    features = {split: embed(model, images.images, device) for split, images in splits.items()}
    labels = {split: images.labels.numpy() for split, images in splits.items()}
    found = {"probe_accuracy": linear_probe(features, labels), "knn_accuracy": nearest_neighbours(features, labels)}
    return {
        split: {name: {"value": scores[split], "n": len(labels[split])} for name, scores in found.items()}
        for split in ("validation", "test")
    }
