"""One training in several processes, with the numbers of one: data-parallel under torchrun.

Every process draws the same order, augmentation, masks and noise for the *whole*
batch, computes on its own share of it, and sums gradients with the others, weighted by
the size of the shares. So the batch and its randomness do not depend on the number of
processes: no image is read twice or left out, a state saved by n processes is
continued by m, and the loss curve agrees to rounding.

    torchrun --nproc-per-node 8 -m lib.worker JOB.json     (see docs/scale.md)

Outside torchrun there is one process and everything here does nothing. Gradients go
through one flat all-reduce after the backward pass: three optimisers with shares of
the parameters (the adversarial autoencoder) need no special case, and at ViT-B it
should cost 3 % of a step on one machine with eight GPUs (docs/scale.md has the arithmetic).
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")
PATIENCE = datetime.timedelta(minutes=30)  # how long a process waits for the others


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def rank() -> int:
    """The number of this process, 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_device(device: torch.device) -> torch.device:
    """The accelerator of this process where several share a machine, else the device as it is."""
    shared = under_torchrun() and device.type == "cuda" and device.index is None
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if shared else device


@contextlib.contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun has started; alone, nothing happens."""
    if not under_torchrun():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def share(rows: Tensor) -> Tensor:
    """This process's rows of something that all processes hold alike; shares differ by at most one row."""
    return rows if size() == 1 else rows.tensor_split(size())[rank()]


def sums(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor summed over all processes, by one all-reduce."""
    if size() == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def agreed(number: int, device: torch.device) -> int:
    """What process 0 says."""
    if size() == 1:
        return number
    said = torch.tensor(number, device=device)
    distributed.broadcast(said, 0)
    return int(said.item())


def first_alone(function: Callable[[], T]) -> T:
    """Call a function in process 0, then in the others: what downloads or decodes into a shared folder."""
    if rank() == 0:
        found = function()
    if size() > 1:
        distributed.barrier()
    return found if rank() == 0 else function()
