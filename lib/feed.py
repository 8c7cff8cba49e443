"""What a training step is fed: batches gathered from bytes, augmented and masked, without a loop over images.

All randomness is drawn for the whole of a batch, and every process keeps its own share.
The bytes may lie on the model's device, in memory, or in a file larger than memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor

from lib import parallel
from lib.augment import AUGMENTATIONS
from lib.mapped import release
from lib.optim import Batch
from lib.pixels import unit_range

DrawMask = Callable[[int, Generator, float], Tensor]  # (batch, generator, progress) -> mask, True = hidden


@dataclass(frozen=True)
class Feed:
    """Where batches come from."""

    images: UInt8[Tensor, "count channels height width"]
    labels: Int64[Tensor, " count"] | None  # on the device
    draw_mask: DrawMask
    augment: str
    device: torch.device  # the model's

    def batch(self, index: Int64[Tensor, " whole"], generators: dict[str, Generator], progress: float) -> Batch:
        """This process's share of the batch at `index`; `progress` is the share of training done."""
        augmentation, whole = AUGMENTATIONS[self.augment], len(index)
        choices = parallel.share(augmentation.draw(whole, *self.images.shape[2:], generators["augment"])).to(self.device)
        mask = parallel.share(self.draw_mask(whole, generators["mask"], progress)).to(self.device)
        own = parallel.share(index)
        chosen = augmentation.apply(self.images[own.to(self.images.device)].to(self.device), choices)
        release()
        labels = None if self.labels is None else self.labels[own.to(self.device)]
        return Batch(unit_range(chosen), mask, whole, generators["noise"], labels)


def epoch_order(count: int, generator: Generator, began: Tensor) -> Int64[Tensor, " count"]:
    """An epoch's permutation, the same whether the epoch begins here or a resumed run is inside it; `began`: the generator's state then."""
    generator.set_state(began)
    return torch.randperm(count, generator=generator)
