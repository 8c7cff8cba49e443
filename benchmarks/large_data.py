"""Training on a set that need not fit in memory: `python -m benchmarks.large_data`.

Makes up a set of 10 GB (64x64 colour images of noise) and writes it as a decoder of files
would; then reads it whole, to check it, and trains on random batches from all of it, with
random resized crops. Each part is a process of its own, whose peak memory is given; the same
on a set small enough to be held in memory stands beside. Writes
reports/tables/large_data.json. Needs the disk space for some minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lib import mapped
from lib.data import cache
from lib.feed import ALONE, Feed
from lib.files import DATA, REPORTS, write_json
from lib.machine import describe, keep_freed_memory
from lib.masks import Masks
from lib.models.family import Batch, build
from lib.pixels import Shape, channel_statistics
from lib.run.provenance import commit
from lib.streams import stream
from lib.training import Recipe, State, adamw, descend

SIDE = 64  # pixels
BATCH = 256
WARM_UP = 5  # steps that are not timed
STEPS = 60
MODEL = {
    "dim": 128,
    "depth": 6,
    "heads": 4,
    "decoder_dim": 64,
    "decoder_depth": 2,
    "decoder_heads": 4,
}


def make(file: Path, gigabytes: float) -> dict[str, float]:
    """Write images of noise one by one."""
    count = int(gigabytes * 1e9 / (3 * SIDE * SIDE))
    random = np.random.default_rng(0)

    def decode(keep: cache.Keep) -> cache.Details:
        for _ in range(count):
            keep(random.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8))
        return cache.Details(
            labels=None, classes=(), variant="noise", sha256="", licence="none", citation="made up"
        )

    cache.write(file, decode)
    return {"images": count, "gigabytes": round(file.stat().st_size / 1e9, 2)}


def train(file: Path) -> dict[str, float]:
    """Read the set whole, then train on batches from all of it."""
    keep_freed_memory()
    began = time.perf_counter()
    images = cache.read(file).images
    reading = time.perf_counter() - began
    shape = Shape(3, SIDE, SIDE, (8, 8))
    model = build("mae", MODEL, shape, *channel_statistics(images), stream(0, "weights"))
    recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=1e-3, augment="resized_crop_flip")
    masks = Masks("random", 0.75, shape.patch, seed=0)
    cpu = torch.device("cpu")
    feed = Feed(images, None, masks, recipe.augment, BATCH, False, seed=0, device=cpu)
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    state = State(model, optimisers, total=feed.steps)
    order = feed.order(0)

    def step_on(batch: Batch) -> None:
        descend(state, batch, recipe, accumulate=1, processes=ALONE)
        state.step += 1

    def rate(use: Callable[[Batch], None], steps: range) -> float:
        """Images a second."""
        began = time.perf_counter()
        for step in steps:
            use(feed.batch(step, order, progress=0.0))
        return len(steps) * BATCH / (time.perf_counter() - began)

    rate(step_on, range(WARM_UP))
    training = rate(step_on, range(WARM_UP, WARM_UP + STEPS))
    alone = rate(drop, range(WARM_UP + STEPS, WARM_UP + 2 * STEPS))
    return {
        "seconds to read": round(reading, 1),
        "batches alone, images/s": round(alone),
        "training, images/s": round(training),
        "mapped": bool(len(mapped.mappings)),
    }


def drop(batch: Batch) -> None:
    """A batch that nobody wants: what making it costs."""


PARTS = {"make": make, "train": train}


def part(name: str, *arguments: object) -> dict[str, float]:
    """One part in a process of its own, with its peak memory."""
    python = [sys.executable, "-W", "ignore", "-m", "benchmarks.large_data"]
    words = [*python, "--part", name, *map(str, arguments)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    summary = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_data", description=summary)
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
    with tempfile.TemporaryDirectory(dir=DATA) as folder:  # not in /tmp, which may be memory
        for title, size in (("held in memory", 0.4), ("mapped", chosen.gigabytes)):
            file = Path(folder) / "noise.images"
            found[title] = {"making it": part("make", file, size), "using it": part("train", file)}
            print(json.dumps({title: found[title]}, indent=1), flush=True)
    found |= {"machine": describe(torch.device("cpu")), "commit": commit()[0]}
    write_json(REPORTS / "tables" / "large_data.json", found)


if __name__ == "__main__":
    main()
