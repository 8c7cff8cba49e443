"""What a model family is, and the register of them.

A family is one file in this folder: a configuration and a module. The module is built as
`Module(config, space, generator)` and answers

    reconstruct(images, mask) -> images in [0, 1], every pixel predicted
    embed(images)             -> features [batch, features], nothing hidden

(a baseline may lack one of the two). What is trained is a `Model`: it says which losses to
descend, in which order and for which parameters, and the loop in lib/training.py descends
them. What is fitted in closed form or not at all has `fit(images)` instead. Evaluation,
figures and tables hold models by this interface alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Generator, Tensor, nn

from lib.config import Config, unknown
from lib.pixels import PixelSpace, Shape
from lib.register import Register
from lib.shapes import Bytes, Loss, Mask, Pixels
from lib.streams import stream


@dataclass(frozen=True)
class Batch:
    """Images of one training step, or a part of them: a process's share, a part of that."""

    images: Pixels  # in [0, 1]
    mask: Mask  # True = hidden
    whole: int  # images of the step, over all parts and processes
    first: int = 0  # place of the first of these among them
    labels: Tensor | None = None  # [batch], where the training is supervised
    seed: int = 0
    step: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def generator(self, name: str) -> Generator:
        """The generator of this step for one purpose, the same for every part of the batch."""
        return stream(self.seed, f"{name}/{self.step}")

    def noise(self, draw: Callable[[int, Generator], Tensor], name: str = "noise") -> Tensor:
        """These images' rows of what `draw(count, generator)` gives for the whole step.

        So numbers do not depend on how the step was divided. What is drawn twice in a step
        needs two names.
        """
        rows = draw(self.whole, self.generator(name))[self.first : self.first + len(self)]
        return rows.to(self.images.device)

    def split(self, parts: int) -> list["Batch"]:
        """At most so many parts, in order; none without images."""
        size = -(-len(self) // parts) or 1
        return [self.rows(start, start + size) for start in range(0, len(self), size)]

    def rows(self, start: int, end: int) -> "Batch":
        labels = None if self.labels is None else self.labels[start:end]
        images, mask = self.images[start:end], self.mask[start:end]
        first = self.first + start
        return replace(self, images=images, mask=mask, first=first, labels=labels)


@dataclass(frozen=True)
class Group:
    """Parameters that one loss moves, and how AdamW moves them."""

    parameters: list[nn.Parameter]
    rate: float = 1.0  # relative to the recipe's learning rate
    betas: tuple[float, float] = (0.9, 0.95)  # He et al. 2022, table 8
    decay: float | None = None  # weight decay; None = the recipe's
    scales: dict[nn.Parameter, float] = field(default_factory=dict)  # further factors of the rate


class Model(nn.Module):
    """What is trained: by default one loss and one group of all parameters."""

    hides_patches = True  # whether it is trained under masks of patches

    def prepare(self, images: Bytes) -> None:
        """Learn from the training images what the training itself needs; most need nothing.

        Before the model goes to its device.
        """

    def loss(self, images: Pixels, mask: Mask) -> Loss:
        raise NotImplementedError

    def groups(self) -> dict[str, Group]:
        """The groups of parameters by name, in the order of their phases."""
        return {"loss": Group(list(self.parameters()))}

    def phases(self, batch: Batch) -> Iterator[tuple[str, Loss]]:
        """(group, loss), each loss computed after the group before it has moved.

        What is kept from one loss to the next is kept for all parts of a batch at once.
        """
        yield "loss", self.loss(batch.images, batch.mask)

    def watched(self, batch: Batch) -> Loss:
        """The loss that validation looks at."""
        return self.loss(batch.images, batch.mask)


@dataclass(frozen=True)
class Family:
    """A registered model family."""

    name: str
    module: type[nn.Module]
    config: type[Config]
    label: str  # for figures and tables
    trained: bool  # False: fitted in closed form or not at all
    version: int  # raise it when its results change: records made before are then stale

    def under(self, strategy: str, ratio: float) -> str:
        """The label, with which patches its training hides."""
        if not self.module.hides_patches:
            return self.label
        hidden = f"{strategy} {100 * ratio:.3g}%" if ratio else "not masked"
        return f"{self.label}, {hidden}"


MODELS: Register[Family] = Register("lib.models")


def family(
    name: str, *, config: type[Config], label: str, trained: bool = True, version: int = 1
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register an `nn.Module` class as a model family."""

    def register(module: type[nn.Module]) -> type[nn.Module]:
        MODELS.add(name, Family(name, module, config, label, trained, version), module.__module__)
        return module

    return register


def build(
    name: str,
    options: dict[str, Any],
    shape: Shape,
    mean: Tensor,
    std: Tensor,
    generator: Generator,
) -> nn.Module:
    """A new model with weights drawn from `generator`.

    Raises ValueError for an unknown family or option.
    """
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    config = MODELS[name].config(**options)
    return MODELS[name].module(config, PixelSpace(shape, mean, std), generator)
