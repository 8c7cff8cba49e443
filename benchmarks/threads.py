"""Small trainings beside other work: `python -m benchmarks.threads` (a quarter of an hour).

Steps a second of the notebooks' trainings, with 0, 1 and 2 other busy processes, for each
way to use a processor's cores: all of them, waiting for each other by spinning (torch's
own way); the same with passive waiting, where a waiting thread gives its core away; one
thread; and ours (`lib.machine.Threads`), which takes the cores that nobody else keeps busy.
Each way is a process of its own, they take turns, and when the load comes is said:
before the training, or a second into it. Writes reports/tables/threads.json,
medians of ratios to torch's own way on the idle machine; docs/speed.md shows them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch

from lib.files import REPORTS, write_json
from lib.machine import TORCHS_CHOICE, Threads, describe, keep_freed_memory
from lib.masks import Masks
from lib.models.family import build
from lib.pixels import Shape
from lib.run import provenance
from lib.streams import stream
from lib.training import Recipe, State, train

WAYS = {
    "spinning": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {},
    "ours": {},
}  # name -> environment
VIT = {"dim": 96, "depth": 3, "heads": 3, "decoder_dim": 64, "decoder_depth": 1, "decoder_heads": 4}
TRAININGS = {  # name -> family, its options, the images, images a batch
    "autoencoder, 8x8 digits": (
        "autoencoder",
        {"hidden": (128, 64), "latent": 16},
        Shape(1, 8, 8, (2, 2)),
        128,
    ),
    "adversarial autoencoder, 8x8 digits": (
        "adversarial",
        {"hidden": (128, 128)},
        Shape(1, 8, 8, (2, 2)),
        64,
    ),
    "ViT-MAE, 8x8 digits": (
        "mae",
        VIT | {"dim": 64, "depth": 2, "heads": 4, "decoder_dim": 32},
        Shape(1, 8, 8, (2, 2)),
        128,
    ),
    "ViT-MAE, 32x32 photographs": ("mae", VIT, Shape(3, 32, 32, (8, 8)), 64),
}
LOADS = (
    (0, False),
    (1, False),
    (2, False),
    (1, True),
)  # other busy processes, and whether they come during the training
BEFORE, DURING = 1.0, 2.5  # seconds that a training runs before it is timed, and while it is


class Enough(Exception):
    """The training has been timed."""


def steps_a_second(name: str, way: str, load: int, late: bool) -> float:
    """Train, and time the steps of some seconds."""
    family, options, shape, batch = TRAININGS[name]
    keep_freed_memory()
    threads = Threads({"one thread": 1, "ours": None}.get(way, TORCHS_CHOICE))
    mean, std = torch.zeros(shape.channels), torch.ones(shape.channels)
    model = build(family, options, shape, mean, std, stream(0, "weights"))
    size = (8 * batch, shape.channels, shape.height, shape.width)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(0, "data"))
    timing = Timing(threads, load, late)
    # A row of the history every fourth step.
    recipe = Recipe(epochs=10**5, batch_size=batch, evaluations=2 * 10**5)
    try:
        train(
            model,
            images,
            images[:64],
            Masks("random", 0.75, shape.patch, seed=0),
            recipe,
            seed=0,
            watch=timing.watch,
        )
    except Enough:
        return timing.rate()
    finally:
        timing.end()


class Timing:
    """Watches a training: lets it run, then times it, with the load before it or during it."""

    def __init__(self, threads: Threads, load: int, late: bool):
        self.threads = threads
        self.load = load
        self.others = [] if late else busy(load)
        self.began = time.perf_counter()
        self.seen: list[tuple[int, float]] = []

    def watch(self, state: State) -> None:
        self.threads.look()
        now = time.perf_counter()
        if not self.seen and now - self.began > BEFORE:
            self.seen.append((state.step, now))
            self.others = self.others or busy(self.load)
        elif self.seen and now - self.seen[0][1] > DURING:
            self.seen.append((state.step, now))
            raise Enough

    def rate(self) -> float:
        """Steps a second."""
        (first, start), (last, end) = self.seen
        return (last - first) / (end - start)

    def end(self) -> None:
        for process in self.others:
            process.kill()


def busy(count: int) -> list[subprocess.Popen]:
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]


def measured(way: str) -> dict[str, list[float]]:
    """Every training under every load, in a process of its own."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OMP_", "MKL_", "GOMP_"))
    }
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.threads", "--one", way]
    return json.loads(
        subprocess.run(
            command, env=clean | WAYS[way], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=WAYS, help="one round of one way, in this process")
    chosen = parser.parse_args()
    if chosen.one:
        print(
            json.dumps(
                {
                    name: [steps_a_second(name, chosen.one, *load) for load in LOADS]
                    for name in TRAININGS
                }
            )
        )
        return
    rounds = []
    for _ in range(chosen.rounds):
        rounds.append({way: measured(way) for way in WAYS})
        print(json.dumps(rounds[-1]), flush=True)
    found = {}
    for name in TRAININGS:
        idle = statistics.median(each["spinning"][name][0] for each in rounds)
        found[name] = {"steps/s of torch's own way, idle": round(idle, 1)}
        for place, (load, late) in enumerate(LOADS):
            title = f"{load} busy {'later' if late else 'from the start'}" if load else "idle"
            values = {way: [each[way][name][place] for each in rounds] for way in WAYS}
            found[name][title] = {
                way: round(statistics.median(steps) / idle, 2) for way, steps in values.items()
            }
    print(json.dumps(found, indent=1))
    about = {
        "trainings": found,
        "rounds": chosen.rounds,
        "machine": describe(torch.device("cpu")),
        "commit": provenance.commit()[0],
    }
    write_json(REPORTS / "tables" / "threads.json", about)


if __name__ == "__main__":
    main()
