"""Training on a set that need not fit in memory: `python -m benchmarks.large_data`.

Makes up a set of 10 GB (64x64 colour images of noise) and writes it as a decoder of
files would; then reads it whole, to check it, and trains on random batches
from all of it, with random resized crops. Each part is a process of its own, whose
peak memory is given; the same on a set small enough to be held in memory stands beside.
Writes reports/tables/large_data.json. Needs the disk space for some minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lib import mapped, records
from lib.data import cache
from lib.feed import Feed
from lib.files import replace_file
from lib.machine import describe, keep_freed_memory
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import StepSettings
from lib.paths import REPORTS
from lib.pixels import Shape, channel_statistics
from lib.streams import stream

SIDE, BATCH = 64, 256
STEPS = 60


def make(file: Path, gigabytes: float) -> dict[str, float]:
    """Write images of noise one by one."""
    count = int(gigabytes * 1e9 / (3 * SIDE * SIDE))
    random = np.random.default_rng(0)

    def decode(keep: cache.Keep) -> cache.Details:
        for _ in range(count):
            keep(random.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8))
        return cache.Details(labels=None, classes=(), variant="noise", sha256="", licence="none", citation="made up")

    cache.write(file, decode)
    return {"images": count, "gigabytes": round(file.stat().st_size / 1e9, 2)}


def train(file: Path) -> dict[str, float]:
    """Read the set whole, then train on batches from all of it."""
    keep_freed_memory()
    began = time.perf_counter()
    images = cache.read(file).images
    reading = time.perf_counter() - began
    shape = Shape(3, SIDE, SIDE, (8, 8))
    options = {"dim": 128, "depth": 6, "heads": 4, "decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4}
    model = build("mae", options, shape, *channel_statistics(images), stream(0, "weights"))
    step = MODELS["mae"].make_step(model, StepSettings(1e-3, 0.05))

    def mask(batch: int, generator: torch.Generator, progress: float) -> torch.Tensor:
        return draw("random", batch=batch, grid=shape.grid, ratio=0.75, generator=generator)

    feed = Feed(images, None, mask, "resized_crop_flip", torch.device("cpu"))
    generators = {name: stream(0, name) for name in ("order", "augment", "mask", "noise")}
    order = torch.randperm(len(images), generator=generators["order"])[: (2 * STEPS + 5) * BATCH].split(BATCH)

    def timed(use, indices) -> float:
        began = time.perf_counter()
        for index in indices:
            use(feed.batch(index, generators, 0.0))
        return len(indices) * BATCH / (time.perf_counter() - began)

    timed(step, order[:5])
    return {
        "seconds to read": round(reading, 1),
        "batches alone, images/s": round(timed(lambda batch: None, order[5 + STEPS :])),
        "training, images/s": round(timed(step, order[5 : 5 + STEPS])),
        "mapped": bool(len(mapped.mappings)),
    }


PARTS = {"make": make, "train": train}


def part(name: str, *arguments: object) -> dict[str, float]:
    """One part in a process of its own, with its peak memory."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.large_data", "--part", name, *map(str, arguments)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_data", description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        name, file, *size = chosen.part
        found = PARTS[name](Path(file), *map(float, size))
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(found | {"peak MB": round(kilobytes / 1024)}))
        return
    found = {}
    with tempfile.TemporaryDirectory(dir=cache.DATA) as folder:  # not in /tmp, which may be memory
        for title, size in (("held in memory", 0.4), ("mapped", chosen.gigabytes)):
            file = Path(folder) / "noise.images"
            found[title] = {"making it": part("make", file, size), "using it": part("train", file)}
            print(json.dumps({title: found[title]}, indent=1), flush=True)
    found |= {"machine": describe(torch.device("cpu")), "commit": records.commit()[0]}
    replace_file(REPORTS / "tables" / "large_data.json", lambda aside: aside.write_text(json.dumps(found, indent=1) + "\n"))


if __name__ == "__main__":
    main()
