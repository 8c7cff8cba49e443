"""One training in several processes, with the numbers of one: data-parallel under torchrun.

Every process draws the same order, augmentation, masks and noise for the *whole* batch,
computes on its own rows of it, and sums gradients with the others, weighted by the size of
the shares. So the batch and its randomness do not depend on the number of processes: no image
is read twice or left out, a state saved by n processes is continued by m, and the loss curve
agrees to rounding.

    torchrun --nproc-per-node 8 -m lib.run.worker JOB.json     (see docs/scale.md)

Outside torchrun there is one process (`feed.ALONE`). Gradients go through one flat all-reduce
after the backward pass: three optimisers with shares of the parameters (the adversarial
autoencoder) need no special case, and at ViT-B it should cost 3 % of a step on one machine
with eight GPUs (docs/scale.md has the arithmetic).
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, distributed

from lib.feed import ALONE, Processes

T = TypeVar("T")
PATIENCE = datetime.timedelta(minutes=30)  # how long a process waits for the others


class Together(Processes):
    """The processes that torchrun has started."""

    def __init__(self, device: torch.device):
        self.device = device
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def rows(self, count: int) -> slice:
        """Shares differ by at most one row."""
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def sums(self, tensors: list[Tensor]) -> list[Tensor]:
        """By one all-reduce."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def own_device(device: torch.device) -> torch.device:
    """The accelerator of this process where several share a machine, else the device as it is."""
    shared = under_torchrun() and device.type == "cuda" and device.index is None
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if shared else device


@contextlib.contextmanager
def group(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that torchrun has started; alone, nothing happens."""
    if not under_torchrun():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Together(device)
    finally:
        distributed.destroy_process_group()


def agreed(number: int, processes: Processes) -> int:
    """What process 0 says."""
    if processes.size == 1:
        return number
    said = torch.tensor(number, device=processes.device)
    distributed.broadcast(said, 0)
    return int(said.item())


def first_alone(function: Callable[[], T], processes: Processes) -> T:
    """Call a function in process 0, then in the others: what downloads or decodes into a folder."""
    if processes.rank == 0:
        found = function()
    if processes.size > 1:
        distributed.barrier()
    return found if processes.rank == 0 else function()
