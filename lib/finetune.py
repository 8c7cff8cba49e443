"""Fine-tuning: a classifier on a pre-trained model, all of whose weights go on learning from a share of the labels.

After He et al. 2022, table 9, scaled down to small images and few minutes: AdamW with
betas (0.9, 0.999), layer-wise decay of the learning rate (Clark et al. 2020, arXiv
2003.10555), drop path, label smoothing, warm-up and cosine, mixup and CutMix where asked
for; crops and flips stand for RandAugment. A model is anything that answers `embed(images)`; where it
also tells its `layers` and `layer_of` each parameter, decay and drop path apply. The same
call on an untrained model is the control: supervised learning from scratch.

A model without weights (raw pixels, PCA) cannot be tuned: its classifier is the linear
probe, the least that any start has to beat.

The weights of lowest validation loss are kept. Labels are shared out by class, at
least one each; a seed that gives n images of a class at 1 % gives these n at 10 %, too.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from lib import training
from lib.augment import Augment
from lib.data import Images
from lib.evaluate import embed, in_batches
from lib.layers import initialise
from lib.mixing import mixed
from lib.models.registry import Config, Shares, later
from lib.optim import Batch, Step, StepSettings, Update
from lib.pixels import unit_range
from lib.probes import best_probe
from lib.streams import stream
from lib.transformer import drop_path

VERSION = 1  # raise it when accuracies change: records made before are then stale
BETAS = (0.9, 0.999)


class FineTune(Config):
    """How to fine-tune: part of a run's identity."""

    shares: Shares = Field((0.01, 0.1, 1.0), min_length=1)  # of the training labels, one classifier each
    epochs: int = Field(10, ge=1)  # at all labels
    least_steps: int = Field(500, ge=1)  # for fewer labels, whose epochs are short
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0)  # of AdamW at its peak, in the last layer
    layer_decay: float = Field(0.75, gt=0, le=1)  # factor of the learning rate from a layer to the one before it; 1 = none
    drop_path: float = Field(0.1, ge=0, lt=1)  # probability to leave out a branch of the last block, falling to 0 at the first
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    augment: Augment = "crop_flip"
    mixup: float = later(0.0, before=0.0, ge=0)  # see mixing; 0 = none, 0.8 in the paper
    cutmix: float = later(0.0, before=0.0, ge=0)  # 0 = none, 1.0 in the paper


class Classifier(nn.Module):
    """A linear layer on a model's features."""

    def __init__(self, body: nn.Module, features: int, classes: int, smoothing: float, seed: int):
        super().__init__()
        self.body, self.head, self.smoothing = body, nn.Linear(features, classes), smoothing
        initialise(self.head, stream(seed, "head"))

    def forward(self, images: Float[Tensor, "batch channels height width"], keep: Tensor | None = None) -> Float[Tensor, "batch classes"]:
        return self.head(self.body.embed(images) if keep is None else self.body.embed(images, keep))

    def loss(self, images: Tensor, mask: Tensor, labels: Tensor, keep: Float[Tensor, "batch depth 2"] | None = None) -> Tensor:
        """Cross-entropy against labels [batch] or shares of classes [batch, classes].

        `mask` is what the loop hands to every model: nothing is hidden here.
        """
        logits = self(images, None if keep is None else keep.permute(1, 2, 0))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)


class FineTuneStep(Step):
    """A step whose learning rate falls from the last layer to the first."""

    def __init__(self, model: Classifier, settings: StepSettings, how: FineTune):
        super().__init__(model, settings)
        self.rate = how.drop_path if hasattr(model.body, "layers") else 0.0
        self.mixing = {"mixup": how.mixup, "cutmix": how.cutmix}
        used = dict(model.named_parameters())
        self.updates = {"model": Update(used.values(), settings, scales=layer_scales(model, how.layer_decay))}

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if any(self.mixing.values()):  # across the whole batch: a fine-tuning has one process
            classes = self.model.head.out_features
            images, labels = mixed(batch.images, batch.labels, classes, **self.mixing, generator=batch.generator)
            batch = replace(batch, images=images, labels=labels)
        more = [batch.labels]
        if self.rate:
            depth = self.model.body.layers
            keep = batch.noise(lambda count, generator: drop_path(depth, count, self.rate, generator).permute(2, 0, 1))
            more.append(keep.to(batch.images.device))
        return {"loss": self.updates["model"](self.losses(self.model.loss, batch, *more))}


def layer_scales(model: Classifier, decay: float) -> dict[nn.Parameter, float]:
    """Factor of the learning rate of each parameter: 1 for the head, `decay` less for each layer before it."""
    if not hasattr(model.body, "layer_of"):
        return {}
    return {p: decay ** (model.body.layers + 1 - model.body.layer_of(name)) for name, p in model.body.named_parameters()}


def labelled(labels: Int64[Tensor, " count"], share: float, seed: int) -> Int64[Tensor, " chosen"]:
    """Indices of a share of the images, class by class, ascending. A larger share of the same seed holds the smaller one."""
    generator, chosen = stream(seed, "labelled"), []
    for label in labels.unique(sorted=True):
        of_class = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(of_class), generator=generator)
        chosen.append(of_class[order[: max(1, math.floor(share * len(of_class) + 0.5))]])
    return torch.cat(chosen).sort().values


def recipe_for(how: FineTune, count: int, precision: str) -> training.Recipe:
    """The loop's recipe for so many labelled images."""
    batch = min(how.batch_size, count)
    per_epoch = max(1, count // batch)
    epochs = max(how.epochs, math.ceil(how.least_steps / per_epoch))
    plain = {"epochs": epochs, "batch_size": batch, "learning_rate": how.learning_rate, "weight_decay": how.weight_decay}
    return training.Recipe(**plain, augment=how.augment, precision=precision, keep="best")


def fine_tune(
    model: nn.Module,
    splits: dict[str, Images],
    how: FineTune,
    share: float,
    *,
    seed: int,
    precision: str,
    folder: Path | None = None,
    run: str = "",
    save_every: float = 60.0,
    progress: Callable[[int, int, dict], None] = lambda step, total, row: None,
) -> tuple[Classifier, list[dict[str, float | int]]]:
    """A classifier from a copy of `model`, trained on a share of the labels, and its history.

    Raises ValueError where there are no labels or no features, and NotFinite.
    """
    train, validation = splits["train"], splits["validation"]
    if train.labels is None or len(train.labels.unique()) < 2:
        raise ValueError("fine-tuning needs labels of at least two classes, and this data set has none: leave fine_tune out")
    if not hasattr(model, "embed"):
        raise ValueError(f"a {type(model).__name__} has no features to classify by: choose a model that answers embed(images)")
    chosen = labelled(train.labels, share, seed)
    if not list(model.parameters()):
        return probed(model, splits | {"train": replace(train, images=train.images[chosen], labels=train.labels[chosen])}), []
    body = copy.deepcopy(model).train()
    device = next(body.parameters()).device
    with torch.no_grad():
        features = body.embed(unit_range(train.images[:1]).to(device)).shape[1]
    classifier = Classifier(body, features, len(train.classes), how.label_smoothing, seed).to(device)
    recipe = recipe_for(how, len(chosen), precision)
    settings = StepSettings(recipe.learning_rate, recipe.weight_decay, betas=BETAS, precision=precision)
    history = training.train(
        classifier,
        FineTuneStep(classifier, settings, how),
        train.images if len(chosen) == len(train) else train.images[chosen],
        validation.images,
        lambda batch, generator, done: torch.zeros(batch, 1, dtype=torch.bool),
        recipe,
        seed=seed,
        labels=(train.labels[chosen], validation.labels),
        run=run,
        folder=folder,
        save_every=save_every,
        progress=progress,
    )
    return classifier.eval(), history


def probed(model: nn.Module, splits: dict[str, Images]) -> Classifier:
    """A copy of a model as it stands under its linear probe, fitted on the training split, its strength chosen on validation."""
    model = copy.deepcopy(model).cpu()
    splits = {name: splits[name] for name in ("train", "validation")}
    features = {name: embed(model, images.images, torch.device("cpu")) for name, images in splits.items()}
    scaler, regression = (step for _, step in best_probe(features, {name: i.labels.numpy() for name, i in splits.items()}).steps)
    weight, bias = regression.coef_ / scaler.scale_, regression.intercept_ - regression.coef_ @ (scaler.mean_ / scaler.scale_)
    if len(regression.classes_) == 2:  # scikit-learn keeps one row then
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    classifier = Classifier(model, weight.shape[1], len(splits["train"].classes), smoothing=0.0, seed=0).requires_grad_(False)
    classifier.head.bias.fill_(-torch.inf)  # of a class without any image
    classifier.head.weight[regression.classes_] = torch.from_numpy(weight).float()
    classifier.head.bias[regression.classes_] = torch.from_numpy(bias).float()
    return classifier.eval()


def accuracy(classifier: Classifier, images: Images) -> float:
    """Share of images that are classified rightly."""
    device = next(classifier.parameters()).device
    said = in_batches(lambda x: classifier(unit_range(x)), images.images, device=device).argmax(dim=1)
    return int((said == images.labels).sum()) / len(images)
