"""What this machine can do, found by asking it and never by its name.

`auto` picks cuda, then mps, then cpu, and bf16 autocast only where the hardware multiplies bf16
natively (on a CPU: AVX512-BF16 or AMX). The *resolved* precision is part of a record's identity,
since it changes the numbers a little; the device and the number of threads are not.
`keep_freed_memory` changes no number, `Threads` their last digits.
"""

import contextlib
import ctypes
import os
import platform
import re
import time
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor

from lib.mapped import IN_MEMORY

Precision = Literal["float32", "bf16"]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
TORCHS_CHOICE = torch.get_num_threads()  # before anybody has set it
MOST_THREADS = max(1024, 4 * (os.cpu_count() or 1))  # beyond some, torch takes the process down
LOOK = 0.2  # seconds over which other processes are watched before a training
AGAIN = 1.0  # seconds between looks while it runs, at least
CRAWLS = (
    "this processor does not multiply bf16 but imitates it, up to a hundred times slower than "
    "float32: take another machine, or precision 'float32', whose records are told apart"
)


def resolve_device(wanted: str) -> torch.device:
    """`auto`, `cpu`, `mps`, `cuda` or `cuda:1` as a device.

    Raises ValueError for other text, and where the device is not there.
    """
    if wanted == "auto":
        return torch.device(best_device())
    named = re.fullmatch(r"(cpu|mps|cuda)|cuda:([0-9]{1,4})", wanted)
    if named is None:
        raise ValueError(
            f"device {wanted[:200]!r} is no device: use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:1'"
        )
    kind = named[1] or "cuda"
    if int(named[2] or 0) >= how_many(kind):
        raise ValueError(
            f"device {wanted!r} is not available here ({how_many(kind)} of {kind} found): "
            "use 'auto' or 'cpu'"
        )
    return torch.device(wanted)


def best_device() -> str:
    """The fastest kind of device that is there."""
    return next(kind for kind in ("cuda", "mps", "cpu") if how_many(kind))


def how_many(kind: str) -> int:
    """How many devices of a kind this machine has."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """`float32` and `bf16` as they are; `auto` is bf16 where the hardware is fast at it."""
    if wanted != "auto":
        return wanted
    return "bf16" if fast_bf16(device) else "float32"


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    names = ("amx_tile", "amx_bf16", "avx512_bf16")
    return any(capabilities.get(name, False) for name in names)


def crawls(precision: Precision, device: torch.device) -> bool:
    """Whether software imitates a precision here, so that products take ten times as long or more.

    torch does so with bf16 on a CPU without AVX-512: some hundred times as long.
    """
    if precision == "float32" or device.type != "cpu" or fast_bf16(device):
        return False
    return seconds_of_product(torch.bfloat16) > 10 * seconds_of_product(torch.float32)


def seconds_of_product(kind: torch.dtype) -> float:
    """Of two small matrices, the faster of two."""
    matrix = torch.ones(256, 256, dtype=kind)
    took = []
    for _ in range(2):
        began = time.perf_counter()
        matrix @ matrix
        took.append(time.perf_counter() - began)
    return min(took)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """The context in which a forward pass runs."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def nearest(images: Tensor, device: torch.device) -> Tensor:
    """A whole set where its batches are taken from.

    That is the device, or where the set lies if it would fill half of the device's free memory.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2 * IN_MEMORY
    return images.to(device) if images.nbytes < free / 2 else images


class Threads:
    """As many threads for torch as there are cores that no other process keeps busy, at least one.

    torch's threads wait for each other by spinning: where another process holds a core of theirs,
    each of a training's many small parallel regions waits for a time slice, and the training is
    two to eight times slower (docs/speed.md). So whoever trains makes one of these, which looks
    around, and calls `look` now and then. A wanted number, or one that the user has set in the
    environment, is kept. The numbers of a training depend on it in their last digits.
    """

    def __init__(self, wanted: int | None = None):
        self.fixed = wanted is not None or any(os.environ.get(name) for name in THREAD_SETTINGS)
        self.looked = time.monotonic()
        self.others = others_seconds()
        if wanted is not None:
            torch.set_num_threads(wanted)
        if not self.fixed:
            time.sleep(LOOK)
            self.look(LOOK)

    def look(self, least: float = AGAIN) -> None:
        """Take the cores that other processes have left since the last look.

        Nothing happens where that is less than `least` seconds ago.
        """
        passed = time.monotonic() - self.looked
        if self.fixed or passed < least:
            return
        before = self.others
        self.others = others_seconds()
        self.looked += passed
        busy = (self.others - before) / passed  # cores
        torch.set_num_threads(max(1, TORCHS_CHOICE - round(busy)))


def others_seconds() -> float:
    """Seconds that all other processes have used since some moment of the cores that are ours."""
    cores = psutil.cpu_times(percpu=True)
    if hasattr(os, "sched_getaffinity"):
        cores = [cores[number] for number in os.sched_getaffinity(0) if number < len(cores)]
    own = psutil.Process().cpu_times()
    every = sum(core.user + core.system + getattr(core, "nice", 0.0) for core in cores)
    return every - own.user - own.system


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step.

    A training step frees and asks again for the same large blocks. By default glibc returns them
    to the system, which hands them back page by page, zeroed: a sixth of a step
    (benchmarks/mae.py).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # glibc's numbers for its settings, from malloc.h.
    trim_threshold = -1
    mmap_threshold = -3
    mmap_max = -4
    mallopt(mmap_max, 0)
    mallopt(mmap_threshold, 32 * 2**20)  # what glibc's own adaptation ends at
    mallopt(trim_threshold, 2**31 - 1)


def describe(device: torch.device, processes: int = 1) -> dict[str, str | int]:
    """Processor, cores, system and accelerator for a record's provenance; no host name, no path."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),  # of each process
        "processes": processes,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def processor() -> str:
    """The processor's own name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
