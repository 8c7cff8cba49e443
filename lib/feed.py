"""What a training step is fed: batches gathered from bytes, augmented and masked, without a loop.

All randomness is drawn by the name of the epoch or step for the whole of a batch, and every
process keeps its own rows. The bytes may lie on the model's device, in memory, or in a file
larger than memory.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lib.augment import AUGMENTATIONS
from lib.mapped import release
from lib.models.family import Batch
from lib.pixels import unit_range
from lib.shapes import Bytes, Mask, Pixels
from lib.streams import stream


@runtime_checkable
class MaskSource(Protocol):
    """Where masks come from: `masks.Masks`, or what keeps a state of its own, saved with it."""

    def __call__(self, images: Pixels, first: int, whole: int, step: int, progress: float) -> Mask:
        """The masks of images that are rows of a step's batch of `whole`, from `first` on.

        progress   the share of training done
        """

    def validation(self, images: Bytes) -> Mask:
        """The fixed masks of validation."""

    def tensors(self) -> dict[str, Tensor]:
        """Its state, where it has one."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Be in the state that `tensors` says."""


@dataclass(frozen=True)
class NoMasks:
    """Nothing is hidden: one token that is seen."""

    def __call__(
        self, images: Pixels, first: int, whole: int, step: int, progress: float
    ) -> Bool[Tensor, "batch 1"]:
        return torch.zeros(len(images), 1, dtype=torch.bool)

    def validation(self, images: Bytes) -> Bool[Tensor, "batch 1"]:
        return torch.zeros(len(images), 1, dtype=torch.bool)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        pass


class Processes:
    """The processes that train together; this one is alone (lib.run.parallel has the others)."""

    rank = 0
    size = 1

    def rows(self, count: int) -> slice:
        """Which of `count` rows are this process's own."""
        return slice(0, count)

    def sums(self, tensors: list[Tensor]) -> list[Tensor]:
        """Each tensor summed over all processes."""
        return tensors


ALONE = Processes()


@dataclass(frozen=True)
class Feed:
    """Where the batches of a training come from."""

    images: Bytes
    labels: Int64[Tensor, " batch"] | None  # on the device
    masks: MaskSource
    augment: str
    batch_size: int
    keep_last: bool  # whether an epoch ends with the images that do not fill a batch
    seed: int
    device: torch.device  # the model's
    processes: Processes = ALONE

    @property
    def steps(self) -> int:
        """Of an epoch."""
        count = len(self.images) / self.batch_size
        return math.ceil(count) if self.keep_last else math.floor(count)

    def order(self, epoch: int) -> Int64[Tensor, " count"]:
        """In which order an epoch sees the images."""
        generator = stream(self.seed, f"order/{epoch}")
        return torch.randperm(len(self.images), generator=generator)

    def batch(self, step: int, order: Int64[Tensor, " count"], progress: float) -> Batch:
        """This process's rows of the batch of a step; `order` is its epoch's."""
        start = step % self.steps * self.batch_size
        index = order[start : start + self.batch_size]
        whole = len(index)
        own = self.processes.rows(whole)
        images = self.augmented(index, own, step)
        mask = self.masks(images, own.start, whole, step, progress).to(self.device)
        labels = None if self.labels is None else self.labels[index[own].to(self.device)]
        return Batch(images, mask, whole, own.start, labels, self.seed, step)

    def augmented(self, index: Int64[Tensor, " whole"], own: slice, step: int) -> Tensor:
        """This process's images of a batch, augmented, in [0, 1]."""
        augmentation = AUGMENTATIONS[self.augment]
        height, width = self.images.shape[2:]
        generator = stream(self.seed, f"augment/{step}")
        choices = augmentation.draw(len(index), height, width, generator)[own].to(self.device)
        images = self.images[index[own].to(self.images.device)].to(self.device)
        release()
        return unit_range(augmentation.apply(images, choices))
