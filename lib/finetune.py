"""Fine-tuning: a classifier on a pre-trained model, all of whose weights go on learning.

After He et al. 2022, table 9, scaled down to small images and few minutes: AdamW with betas
(0.9, 0.999), layer-wise decay of the learning rate (Clark et al. 2020, arXiv 2003.10555),
drop path, label smoothing, warm-up and cosine, mixup and CutMix where asked for; crops and
flips stand for RandAugment. A model is anything that answers `embed(images)`; where it also
tells its `layers` and `layer_of` each parameter, decay and drop path apply. The same call on
an untrained model is the control: supervised learning from scratch.

A budget of labels is a budget: nothing here is chosen by labels beyond it. The last weights are
kept, the validation loss is only watched. What features are worth as they are is `method`
linear or nearest (lib/frozen.py), the only ones for a model without weights (raw pixels, PCA).
Labels are shared out by class, at least one each; a seed that gives n images of a class at 1 %
gives these n at 10 %, too.
"""

import copy
import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field, field_validator
from torch import Generator, Tensor, nn

from lib.augment import Augment, mixed
from lib.config import Config, Shares
from lib.data.registry import Images
from lib.evaluate import in_batches
from lib.feed import NoMasks
from lib.frozen import FIT
from lib.models.family import Batch, Group, Model
from lib.models.layers import initialise
from lib.models.transformer import drop_path
from lib.pixels import unit_range
from lib.shapes import Loss, Pixels
from lib.streams import stream
from lib.training import Recipe, train

VERSION = 3  # raise it when accuracies change: records made before are then stale
BETAS = (0.9, 0.999)


class FineTune(Config):
    """How to fine-tune: part of a run's identity."""

    shares: Shares = Field((0.01, 0.1, 1.0), min_length=1)  # of the labels, a classifier each
    method: Literal["all", "linear", "nearest"] = "all"  # weights that learn; the rest: lib.frozen
    epochs: int = Field(10, ge=1, le=1_000_000)  # at all labels
    least_steps: int = Field(500, ge=1)  # for fewer labels, whose epochs are short
    extra_steps: int = Field(0, ge=0)  # beyond these: a pre-training's, for a control without one
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0, lt=1)  # of AdamW at its peak, in the last layer
    layer_decay: float = Field(0.75, gt=0, le=1)  # of the rate, to the layer before; 1 = none
    drop_path: float = Field(0.1, ge=0, lt=1)  # share of the last block's branches left out
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    augment: Augment = "crop_flip"
    mixup: float = Field(0.0, ge=0)  # see augment.mixed; 0 = none, 0.8 in the paper
    cutmix: float = Field(0.0, ge=0)  # 0 = none, 1.0 in the paper

    @field_validator("shares")
    @classmethod
    def told_apart(cls, shares: Shares) -> Shares:
        """States and measures are named by six digits of a share."""
        if len({f"{share:g}" for share in shares}) < len(shares):
            raise ValueError("one share stands twice: give each once")
        return shares

    def recipe(self, count: int, precision: str) -> Recipe:
        """The loop's recipe for so many labelled images."""
        batch = min(self.batch_size, count)
        in_epoch = max(1, count // batch)
        steps = max(self.epochs * in_epoch, self.least_steps) + self.extra_steps
        return Recipe(
            epochs=math.ceil(steps / in_epoch),
            batch_size=batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            augment=self.augment,
            precision=precision,
            keep="last",
        )


class Classifier(Model):
    """A linear layer on a model's features; nothing is hidden from it."""

    def __init__(self, body: nn.Module, features: int, classes: int, how: FineTune, seed: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, classes)
        self.how = how
        initialise(self.head, stream(seed, "head"))

    def forward(
        self, images: Pixels, keep: Float[Tensor, "depth 2 batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        features = self.body.embed(images) if keep is None else self.body.embed(images, keep)
        return self.head(features)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Loss:
        """Against labels [batch] or shares of classes [batch, classes]."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.how.label_smoothing)

    def groups(self) -> dict[str, Group]:
        """All parameters, with a learning rate that falls from the last layer to the first."""
        scales = layer_scales(self.body, self.how.layer_decay)
        return {"loss": Group(list(self.parameters()), betas=BETAS, scales=scales)}

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        images, labels = self.mixed(batch)
        yield "loss", self.cross_entropy(self(images, self.kept_branches(batch)), labels)

    def watched(self, batch: Batch) -> Loss:
        return self.cross_entropy(self(batch.images), batch.labels)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and labels, mixed where asked for: across a batch that is whole."""
        how = self.how
        if not how.mixup and not how.cutmix:
            return batch.images, batch.labels
        return mixed(
            batch.images,
            batch.labels,
            self.head.out_features,
            mixup=how.mixup,
            cutmix=how.cutmix,
            generator=batch.generator("mix"),
        )

    def kept_branches(self, batch: Batch) -> Float[Tensor, "depth 2 batch"] | None:
        """Factors of the body's branches, where it has layers (see `transformer.drop_path`)."""
        if not self.how.drop_path or not hasattr(self.body, "layers"):
            return None
        depth, rate = self.body.layers, self.how.drop_path

        def by_image(count: int, generator: Generator) -> Float[Tensor, "batch depth 2"]:
            return drop_path(depth, count, rate, generator).permute(2, 0, 1)

        return batch.noise(by_image, "drop_path").permute(1, 2, 0)


def layer_scales(body: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Factor of each parameter's learning rate: `decay` less for each layer below the head."""
    if not hasattr(body, "layer_of"):
        return {}
    top = body.layers + 1
    return {p: decay ** (top - body.layer_of(name)) for name, p in body.named_parameters()}


def labelled(labels: Int64[Tensor, " count"], share: float, seed: int) -> Int64[Tensor, " chosen"]:
    """Indices of a share of the images, class by class, ascending.

    A larger share of the same seed holds the smaller one.
    """
    chosen = []
    for label in labels.unique(sorted=True).tolist():
        of_class = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(of_class), generator=stream(seed, f"labelled/{label}"))
        count = max(1, math.floor(share * len(of_class) + 0.5))
        chosen.append(of_class[order[:count]])
    return torch.cat(chosen).sort().values


def new_classifier(model: nn.Module, train_split: Images, how: FineTune, seed: int) -> Classifier:
    """A classifier on a copy of a model, whose head has learned nothing."""
    body = copy.deepcopy(model)
    device = next(body.parameters()).device
    with torch.no_grad():
        features = body.embed(unit_range(train_split.images[:1]).to(device)).shape[1]
    return Classifier(body, features, len(train_split.classes), how, seed).to(device)


def check_labels(splits: dict[str, Images]) -> None:
    """Raises ValueError where there is nothing to learn from labels."""
    labels = splits["train"].labels
    if labels is None or len(labels.unique()) < 2:
        raise ValueError(
            "fine-tuning needs labels of at least two classes, and this data set has none: "
            "leave fine_tune out"
        )


def fine_tune(
    model: nn.Module,
    splits: dict[str, Images],
    how: FineTune,
    share: float,
    *,
    seed: int,
    precision: str,
    **watching,
) -> tuple[nn.Module, list[dict[str, float | int]]]:
    """A classifier from a copy of `model`, made with a share of the labels, and its history.

    watching   `start` and `watch` of `training.train`

    Raises ValueError where there are no labels or no features, and NotFinite.
    """
    check_labels(splits)
    if not hasattr(model, "embed"):
        raise ValueError(
            f"a {type(model).__name__} has no features to classify by: "
            "choose a model that answers embed(images)"
        )
    everything = splits["train"]
    chosen = labelled(everything.labels, share, seed)
    some = everything if len(chosen) == len(everything) else everything.take(chosen)
    if how.method != "all":
        device = model.space.mean.device  # a baseline has no parameters
        return FIT[how.method](model, some, device), []
    classifier = new_classifier(model, everything, how, seed)
    history = train(
        classifier,
        some.images,
        splits["validation"].images,
        NoMasks(),
        how.recipe(len(chosen), precision),
        seed=seed,
        labels=(some.labels, splits["validation"].labels),
        **watching,
    )
    return classifier.eval(), history


def accuracy(classifier: nn.Module, images: Images, device: torch.device) -> float:
    """Share of images that are classified rightly."""

    def logits(batch: Tensor) -> Tensor:
        return classifier(unit_range(batch))

    said = in_batches(logits, images.images, device=device).argmax(dim=1)
    return int((said == images.labels).sum()) / len(images)
