"""What test_parallel.py has several processes do: `torchrun ... tests/parallel_runs.py OUT`. Alone it is the reference.

Every training family for a few steps, a run that one process began, and a count of
which images each process read. Process 0 writes OUT/RANKS.json.
"""

import json
import sys
from pathlib import Path

import torch

from lib import checkpoint, parallel
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import Step, StepSettings
from lib.pixels import Shape
from lib.streams import stream
from lib.training import Recipe, train

SHAPE = Shape(1, 8, 8, (2, 2))
OPTIONS = {
    "autoencoder": {"hidden": (16,), "latent": 4},
    "conv_autoencoder": {},
    "adversarial": {"hidden": (16,), "discriminator": (8,), "latent": 2},
    "mae": {"dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
}
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.01, evaluations=6, augment="crop_flip", last_batch="keep", clip=1.0)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=stream(seed, "data"))


def draw_mask(batch, generator, progress):
    return draw("random", batch=batch, grid=SHAPE.grid, ratio=0.5, generator=generator)


def training(name: str, accumulate: int = 1, **options) -> list[dict]:
    model = build(name, OPTIONS[name], SHAPE, torch.tensor([0.5]), torch.tensor([0.3]), stream(0, "w"))
    step = MODELS[name].make_step(model, StepSettings(0.01, 0.05, clip=RECIPE.clip, accumulate=accumulate))
    return train(model, step, images(53), images(11, 1), draw_mask, RECIPE, seed=0, **options)


def continued(place: Path) -> list[dict]:
    """A training that one process began: its state at step 7, continued here."""
    return training("mae", run="begun by one", folder=place)


class Reading(Step):
    """Learns nothing and notes what it reads: each image is its own number."""

    def __init__(self, model):
        super().__init__(model, StepSettings(0.01, 0.0))
        self.updates, self.seen = {}, []

    def __call__(self, batch):
        self.seen += (batch.images[:, 0, 0, 0] * 255).round().int().tolist()
        return {"loss": torch.zeros(())}


def reading(last_batch: str) -> list[int]:
    """The numbers of the images that all processes read in one epoch of 53."""
    model = build("autoencoder", OPTIONS["autoencoder"], SHAPE, torch.tensor([0.5]), torch.tensor([0.3]), stream(0, "w"))
    numbered = torch.arange(53, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    step, recipe = Reading(model), Recipe(epochs=1, batch_size=16, evaluations=1, last_batch=last_batch)
    train(model, step, numbered, images(5), draw_mask, recipe, seed=0)
    if parallel.size() == 1:
        return step.seen
    found = [None] * parallel.size()
    torch.distributed.all_gather_object(found, step.seen)
    return [number for seen in found for number in seen]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with parallel.group(torch.device("cpu")):
        found = {name: training(name) for name in OPTIONS}
        found |= {f"{name}, accumulated": training(name, accumulate=3) for name in OPTIONS}
        found |= {"keep": reading("keep"), "drop": reading("drop"), "processes": parallel.size()}
        if (out / "states").exists():
            found["continued"] = continued(out / "states")
            found["states"] = [checkpoint.load(file)[1]["step"] for file in checkpoint.states(out / "states")]
        rank = parallel.rank()
    if rank == 0:
        (out / f"{found['processes']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
