"""One set of measures for every model that answers `reconstruct` or `embed`.

Every model, whatever its seed, is judged on the same masks of the same images (masks.py), so two
models can be compared image by image. What each measure is stands in measures.py.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.data.registry import Images
from lib.mapped import release
from lib.masking import STRATEGIES
from lib.masks import test_mask
from lib.measures import best_probe, image_measures, nearest_neighbours, psnr
from lib.patches import pixel_mask
from lib.pixels import Shape, unit_range
from lib.shapes import Bytes, Mask, Pixels

# Strategies of the test masks beyond the quick scale; a longer list makes new records.
JUDGED_ON = ("random", "block", "grid")
# Test masks of the sweeps of masks, which ask for "every"; a longer list makes new records.
AT_THREE_QUARTERS = (
    *("random", "block", "grid", "uniform", "units", "poisson_disk", "visible_square", "blockwise"),
    *("inverse_block", "multi_block", "rows", "columns", "centre", "border"),
    *("red_noise", "blue_noise", "green_noise", "purple_noise", "busiest", "calmest", "edges"),
    *("mixture", "attention_high", "attention_hint", "hard_patches", "hardest"),
)
AT_ONE_HALF = ("random", "checkerboard", "half")
EVERY = (*(f"{n}@0.75" for n in AT_THREE_QUARTERS), *(f"{n}@0.5" for n in AT_ONE_HALF))
# Of a table of images, what is no measure.
PLACE = ["split", "mask", "image"]

Metrics = dict[str, dict[str, dict[str, float | int | None]]]  # split -> name -> value and n


def own_mask(name: str, ratio: float, judged: Container[str]) -> str:
    """The test mask that is a strategy's own, of those that were judged.

    That of the strategy it ends as, where it has none itself; of a strategy that no test mask
    knows, random patches.
    """
    masks = [f"{own}@{ratio:g}" for own in (name, STRATEGIES[name].ends_as) if own]
    return next((mask for mask in masks if mask in judged), f"random@{ratio:g}")


@torch.no_grad()
def in_batches(
    function: Callable[..., Tensor], *tensors: Tensor, device: torch.device, batch: int = 256
) -> Float[Tensor, "count ..."]:
    """What a function makes of tensors, a row for each of theirs, computed batch by batch.

    function   of as many tensors on `device`, each a batch of rows
    The result is in order, on the CPU, in float32.
    """
    made = []
    for start in range(0, len(tensors[0]), batch):
        rows = [tensor[start : start + batch].to(device) for tensor in tensors]
        made.append(function(*rows).float().cpu())
        release()
    return torch.cat(made)


def reconstruct(model: nn.Module, images: Bytes, mask: Mask, device: torch.device) -> Pixels:
    """Predictions in [0, 1] for bytes."""

    def predicted(part: Tensor, hidden: Tensor) -> Tensor:
        return model.reconstruct(unit_range(part), hidden)

    return in_batches(predicted, images, mask, device=device)


def embed(
    model: nn.Module, images: Bytes, device: torch.device
) -> Float[np.ndarray, "count features"]:
    """Features for bytes, nothing hidden."""

    def features(part: Tensor) -> Tensor:
        return model.embed(unit_range(part))

    return in_batches(features, images, device=device).numpy()


def per_image(
    model: nn.Module, images: Bytes, mask_name: str, split: str, shape: Shape, device: torch.device
) -> pd.DataFrame:
    """The measures of every image under one test mask, a row each, in the order of the images.

    Columns: those of `measures.image_measures`, and split, mask and image (its number).
    """
    mask = test_mask(mask_name, split, images, shape.patch)
    predictions = reconstruct(model, images, mask, device)
    hidden = pixel_mask(mask, shape.patch, shape.grid)[:, 0].numpy()
    rows = [
        image_measures(as_array(unit_range(image[None])[0]), as_array(prediction), gaps)
        for image, prediction, gaps in zip(images, predictions, hidden, strict=True)
    ]
    release()
    numbers = np.arange(len(rows), dtype="int32")
    return pd.DataFrame(rows).astype("float32").assign(split=split, mask=mask_name, image=numbers)


def as_array(
    image: Float[Tensor, "channels height width"],
) -> Float[np.ndarray, "height width channels"]:
    return image.permute(1, 2, 0).double().numpy()


def summarise(rows: pd.DataFrame) -> Metrics:
    """From rows of images to split -> mask/measure -> value and n.

    A column of squared errors (`mse_`) becomes the PSNR of its mean (`psnr_`), any other its
    mean. n counts the images that have the measure.
    """
    found: Metrics = {}
    for (split, mask), group in rows.groupby(["split", "mask"], sort=False):
        for column in group.columns.difference(PLACE, sort=False):
            values = group[column].dropna().astype(float)
            if values.empty:
                continue
            mean = float(values.mean())
            value = psnr(mean) if "mse_" in column else mean
            name = f"{mask}/{column.replace('mse_', 'psnr_')}"
            found.setdefault(split, {})[name] = {"value": value, "n": len(values)}
    return found


@dataclass(frozen=True)
class Probed:
    """What features are good for."""

    metrics: Metrics
    strength: float | None  # of the probe, chosen on validation
    edge: bool  # whether it is an end of the grid

    @property
    def warnings(self) -> list[str]:
        """What a reader of these measures must know, a sentence each."""
        if not self.edge:
            return []
        return [
            f"the linear probe does best at C={self.strength:g}, an end of its grid: "
            "a strength beyond it may do better"
        ]


def probe(model: nn.Module, splits: dict[str, Images], device: torch.device) -> Probed:
    """Linear probe and k-NN on a model's features, fitted on `train`.

    Of validation and test `probe_accuracy` and `knn_accuracy`; of validation, which chooses it,
    `probe_strength` too. None over 0 images where there are not two classes.
    """
    if not classified(splits):
        return Probed(metrics_of_features({}, {}, None, {}), None, False)
    features = {split: embed(model, images.images, device) for split, images in splits.items()}
    labels = {split: images.labels.numpy() for split, images in splits.items()}
    best = best_probe(features, labels)
    right = {split: best.accuracy(features[split], labels[split]) for split in splits}
    near = nearest_neighbours(features, labels)
    sizes = {split: len(images) for split, images in splits.items()}
    return Probed(metrics_of_features(right, near, best.strength, sizes), best.strength, best.edge)


def classified(splits: dict[str, Images]) -> bool:
    """Whether all splits have labels, and the training split two classes of them."""
    if any(images.labels is None for images in splits.values()):
        return False
    return len(splits["train"].labels.unique()) > 1


def metrics_of_features(
    probed: dict[str, float], near: dict[str, float], strength: float | None, sizes: dict[str, int]
) -> Metrics:
    """Accuracies by split as measures; None over 0 images for a split that has none."""
    found: Metrics = {}
    for split in ("validation", "test"):
        count = sizes.get(split, 0)
        found[split] = {
            "probe_accuracy": {"value": probed.get(split), "n": count},
            "knn_accuracy": {"value": near.get(split), "n": count},
        }
    found["validation"]["probe_strength"] = {"value": strength, "n": sizes.get("validation", 0)}
    return found
