"""What features are worth when labels are few and the model stays as it is.

Two classifiers, each of the labels that it is given and of no others: a linear one, and the
nearest labelled image. The linear one is the probe of measures.py with one difference: the
strength of its penalty is chosen inside the labels (cross-validation; a held-out fifth where
they are many), since whoever has few labels has none to spare for a validation set. On raw
pixels these two are the least that any learning has to beat.
"""

import copy

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lib.data.registry import Images
from lib.evaluate import embed
from lib.measures import Probe, probe_within
from lib.shapes import Pixels

Scores = Float[Tensor, "batch classes"]


class Frozen(nn.Module):
    """A copy of a model that learns nothing more, and what tells classes by its features."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.body = copy.deepcopy(model).requires_grad_(False)


class Linear(Frozen):
    def __init__(self, model: nn.Module, probe: Probe, classes: int):
        super().__init__(model)
        weight = torch.zeros(classes, probe.weight.shape[1])
        bias = torch.full((classes,), -torch.inf)  # of a class without any image
        weight[probe.classes] = torch.from_numpy(probe.weight).float()
        bias[probe.classes] = torch.from_numpy(probe.bias).float()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, images: Pixels) -> Scores:
        return self.body.embed(images) @ self.weight.T + self.bias


class Nearest(Frozen):
    def __init__(
        self,
        model: nn.Module,
        known: Float[Tensor, "labelled features"],
        labels: Int64[Tensor, " labelled"],
        classes: int,
    ):
        super().__init__(model)
        self.classes = classes
        self.register_buffer("known", known)
        self.register_buffer("labels", labels)

    def forward(self, images: Pixels) -> Scores:
        """1 for the class of the nearest labelled image, by Euclidean distance; 0 for the rest."""
        distances = torch.cdist(self.body.embed(images), self.known)
        said = self.labels[distances.argmin(dim=1)]
        return nn.functional.one_hot(said, self.classes).float()


def fit_linear(model: nn.Module, images: Images, device: torch.device) -> Linear:
    """A linear classifier on a model's features of labelled images."""
    probe = probe_within(embed(model, images.images, device), images.labels.numpy())
    return Linear(model, probe, len(images.classes)).to(device)


def fit_nearest(model: nn.Module, images: Images, device: torch.device) -> Nearest:
    """The nearest of some labelled images, in a model's features."""
    known = torch.from_numpy(embed(model, images.images, device))
    return Nearest(model, known, images.labels, len(images.classes)).to(device)


FIT = {"linear": fit_linear, "nearest": fit_nearest}  # by method
