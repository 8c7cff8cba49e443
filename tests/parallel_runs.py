"""What test_parallel.py has several processes do: `torchrun ... tests/parallel_runs.py OUT`.

Every family for a few steps, some of them twice, a run that one process began, and a count of
which images each process read. Process 0 writes OUT/COUNT.json. Alone it is the reference.
"""

import json
import sys
from pathlib import Path

import torch
from families import TRAINED, small

from lib.feed import ALONE, Processes
from lib.masks import Masks, masks_of
from lib.models.family import Batch, Model
from lib.pixels import Shape
from lib.run import parallel, states
from lib.run.states import States
from lib.streams import stream
from lib.training import Recipe, State, train

SHAPE = Shape(1, 8, 8, (2, 2))
MASKS = Masks("random", 0.5, SHAPE.patch, seed=0)
RECIPE = Recipe(
    epochs=3,
    batch_size=16,
    learning_rate=0.01,
    evaluations=6,
    augment="crop_flip",
    last_batch="keep",
    clip=1.0,
)
BEGUN = "begun by one"
TWICE = ("adversarial", "mae_cross")  # three optimisers; noise drawn by its place in the step
ASKING = ("attention_high", "hard_patches", "adversarial")  # strategies that ask the model


def images(count: int, seed: int = 0) -> torch.Tensor:
    size = (count, 1, 8, 8)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(seed, "data"))


def training(name: str, processes: Processes = ALONE, **options) -> list[dict]:
    model = small(name, SHAPE)
    return train(
        model, images(53), images(11, 1), MASKS, RECIPE, seed=0, processes=processes, **options
    )


def asking(strategy: str, processes: Processes) -> list[dict]:
    """A training whose masks ask the model that learns."""
    model = small("mae", SHAPE)
    masks = masks_of(model, strategy, 0.5, SHAPE.patch, 0, "float32", processes)
    given = images(50), images(11, 1)  # two images in the last batch: none for a third process
    return train(model, *given, masks, RECIPE, seed=0, processes=processes)


def continued(place: Path, processes: Processes) -> list[dict]:
    """A training that one process began: its state at step 7, continued here."""
    kept = States(place, BEGUN, every=0.0)

    def watch(state: State) -> None:
        if processes.rank == 0 and state.step == state.total:
            kept.save(state)

    return training("mae", processes, start=kept.at(7), watch=watch)


class Reading(Model):
    """Learns nothing and notes what it reads: each image is its own number."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def phases(self, batch: Batch):
        self.seen += (batch.images[:, 0, 0, 0] * 255).round().int().tolist()
        yield "loss", self.nothing.sum()

    def watched(self, batch: Batch) -> torch.Tensor:
        return self.nothing.sum()


def reading(last_batch: str, processes: Processes) -> list[int]:
    """The numbers of the images that all processes read in one epoch of 53."""
    model = Reading()
    numbered = torch.arange(53, dtype=torch.uint8)[:, None, None, None]
    numbered = numbered.expand(-1, 1, 8, 8).contiguous()
    recipe = Recipe(epochs=1, batch_size=16, evaluations=1, last_batch=last_batch)
    train(model, numbered, images(5), MASKS, recipe, seed=0, processes=processes)
    if processes.size == 1:
        return model.seen
    found = [None] * processes.size
    torch.distributed.all_gather_object(found, model.seen)
    return [number for seen in found for number in seen]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with parallel.group(torch.device("cpu")) as processes:
        found = {"processes": processes.size}
        for name in TRAINED:
            found[name] = training(name, processes)
        for name in TWICE if processes.size > 1 else ():
            found[f"{name}, again"] = training(name, processes)
            found[f"{name}, accumulated"] = training(name, processes, accumulate=3)
        for strategy in ASKING:
            found[f"{strategy} masks"] = asking(strategy, processes)
        for last_batch in ("keep", "drop"):
            found[last_batch] = reading(last_batch, processes)
        if (out / "states").exists():
            found["continued"] = continued(out / "states", processes)
            there = states.files(out / "states")
            found["states"] = [states.load(file)[1]["step"] for file in there]
        rank = processes.rank
    if rank == 0:
        (out / f"{found['processes']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
