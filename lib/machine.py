"""What this machine can do, found by asking it and never by its name.

`auto` picks cuda, then mps, then cpu, and bf16 autocast only where the hardware
multiplies bf16 natively (on a CPU: AVX512-BF16 or AMX). The *resolved* precision is
part of a record's identity, since it changes the numbers a little; the device and
the number of threads are not. `keep_freed_memory` changes no number, `Threads` their last digits.
"""

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor

from lib.mapped import IN_MEMORY

Precision = Literal["float32", "bf16"]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
TORCHS_CHOICE = torch.get_num_threads()  # before anybody has set it
LOOK, AGAIN = 0.2, 1.0  # seconds over which other processes are watched: before a training, and at least while it runs


def resolve_device(wanted: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps`. Raises ValueError where it is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(wanted.split(":")[0], False):
        raise ValueError(f"device {wanted!r} is not available here: use 'auto' or 'cpu'")
    return torch.device(wanted)


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """`float32` and `bf16` as they are; `auto` is bf16 where the hardware is fast at it."""
    return wanted if wanted != "auto" else "bf16" if fast_bf16(device) else "float32"


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and any(capabilities.get(name, False) for name in ("amx_tile", "amx_bf16", "avx512_bf16"))


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """The context in which a forward pass runs."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def nearest(images: Tensor, device: torch.device) -> Tensor:
    """A whole set where its batches are taken from: the device, or where it lies if it would fill half of the device's free memory."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2 * IN_MEMORY
    return images.to(device) if images.nbytes < free / 2 else images


class Threads:
    """As many threads for torch as there are cores that no other process keeps busy, at least one.

    torch's threads wait for each other by spinning: where another process holds a core of theirs, each of a
    training's many small parallel regions waits for a time slice, and the training is 3 to 50 times slower
    (benchmarks/threads.py). So whoever trains looks around first, and then now and then. A wanted number, or one
    that the user has set in the environment, is kept. The numbers of a training depend on it in their last digits.
    """

    def __init__(self, wanted: int | None = None):
        self.fixed = wanted is not None or any(os.environ.get(name) for name in THREAD_SETTINGS)
        if wanted is not None:
            torch.set_num_threads(wanted)
        self.looked, self.others = time.monotonic(), others_seconds()
        if not self.fixed:
            time.sleep(LOOK)
            self.look(LOOK)

    def look(self, least: float = AGAIN) -> None:
        """See what other processes have done since the last look, if it is `least` seconds ago, and take the cores that they leave."""
        passed = time.monotonic() - self.looked
        if self.fixed or passed < least:
            return
        before, self.others = self.others, others_seconds()
        self.looked += passed
        torch.set_num_threads(max(1, TORCHS_CHOICE - round((self.others - before) / passed)))

    def watching(self, progress: Callable[..., None]) -> Callable[..., None]:
        """`progress` of a training, and a look each time that it is called."""

        def both(*news) -> None:
            self.look()
            progress(*news)

        return both


def others_seconds() -> float:
    """Processor time that all other processes of this machine have used, in seconds since some moment."""
    every, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return every.user + every.system + getattr(every, "nice", 0.0) - own.user - own.system


def keep_freed_memory(kept: bool = True) -> bool:
    """Let glibc keep freed memory for the next step; `False` goes back to its habit. Gives whether anything was changed.

    A training step frees and asks again for the same large blocks. By default glibc returns them
    to the system, which hands them back page by page, zeroed: a sixth of a step (benchmarks/mae.py).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.libc_ver()[0] == "glibc" else None
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4  # glibc's names for its settings, from malloc.h
    mallopt(mmap_max, 0 if kept else 65536)
    mallopt(mmap_threshold, 32 * 2**20)  # what glibc's own adaptation ends at
    return bool(mallopt(trim_threshold, 2**31 - 1 if kept else 64 * 2**20))


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
