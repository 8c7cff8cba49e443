"""A slow copy of the model that learns, which tells a strategy where to hide.

As in AttMask and HPM the copy is an average of the model's weights over its last steps (Tarvainen
& Valpola 2017, mean teacher, arXiv 1703.01780), so that masks do not follow every wobble of the
model. Its attention is that to a whole image, which it never saw in its training; its errors are
measured while three quarters are hidden, in pixels, whatever the model's target is. Its weights are
saved with the training's. A step costs 1.8 times one with random masks.
"""

import copy

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from lib.judge import attention_of, error_of
from lib.machine import Precision, autocast
from lib.shapes import Mask, Pixels, Scores
from lib.streams import stream

VERSION = 1  # raise it when a teacher says otherwise
MOMENTUM = 0.996  # what the average keeps of itself in a step, at most; AttMask begins with it
TOGETHER = 256  # images that are looked at in one go


class Teacher:
    """What the average of a model says of patches: its attention, or its errors."""

    def __init__(self, model: nn.Module, looks_at: str, seed: int, precision: Precision):
        self.model = model
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.looks_at = looks_at
        self.seed = seed
        self.precision = precision

    def scores(self, images: Pixels, first: int, whole: int, step: int) -> Scores:
        """Of images that are rows of a step's batch of `whole`, from `first` on."""
        self.follow(step)
        noise = self.noise(first, len(images), whole, step)
        with autocast(images.device, self.precision):
            said = [
                self.say(some, seen)
                for some, seen in zip(images.split(TOGETHER), noise.split(TOGETHER), strict=True)
            ]
        return torch.cat(said).float().cpu()

    def say(self, images: Pixels, noise: Float[Tensor, "batch tokens"]) -> Scores:
        if self.looks_at == "attention":
            return attention_of(self.average, images)
        return error_of(self.average, images, noise[None])

    def follow(self, step: int) -> None:
        """Move towards the model: an average over about a ninth of the steps there were."""
        kept = min(MOMENTUM, (step + 1) / (step + 10))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for own, theirs in pairs:
            own.lerp_(theirs.detach(), 1 - kept)

    def noise(self, first: int, count: int, whole: int, step: int) -> Tensor:
        """Which patches are seen when errors are measured: these images' rows."""
        tokens = self.model.space.grid[0] * self.model.space.grid[1]
        generator: Generator = stream(self.seed, f"teacher/{step}")
        return torch.rand(whole, tokens, generator=generator)[first : first + count]

    def learn(self, images: Pixels, mask: Mask, whole: int) -> None:
        """A teacher learns from the model alone."""

    def tensors(self) -> dict[str, Tensor]:
        return self.average.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.average.load_state_dict(tensors)
