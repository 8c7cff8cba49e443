"""Steps: how one batch changes one model.

A step owns the optimisers and the gradients, so the training loop needs no special
case: a plain model has one optimiser (`GradientStep`), the adversarial autoencoder
brings its own step with three. A step answers `step(batch)` with the losses it saw,
and lets the loop scale its learning rates and save its state. The losses of a large
batch can be taken in parts, in turn (`accumulate`, less memory) and by several
processes (see `parallel`); each counts by its number of images.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lib import parallel
from lib.machine import Precision, autocast


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know of the recipe."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.95)  # He et al. 2022, table 8
    clip: float | None = None  # largest gradient norm, None = no clipping
    precision: Precision = "float32"
    accumulate: int = 1  # parts in which a process takes its share of a batch


@dataclass(frozen=True)
class Batch:
    """This process's share of a batch."""

    images: Tensor  # [share, channels, height, width] in [0, 1]
    mask: Tensor  # [share, tokens], True = hidden
    whole: int  # images of the batch over all processes
    generator: Generator  # of the model's own noise: draw for the whole batch, keep the share

    def noise(self, draw: Callable[[int, Generator], Tensor]) -> Tensor:
        """This share of what `draw(count, generator)` gives for the whole batch."""
        return parallel.share(draw(self.whole, self.generator))


class Update:
    """One AdamW over some parameters: call it with losses and weights. Decay spares biases, norms and tokens (rank below 2)."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: StepSettings, rate: float = 1.0):
        self.parameters = list(parameters)
        self.clip, self.base = settings.clip, settings.learning_rate * rate
        matrices = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=self.base, betas=settings.betas, fused=True)

    def scale_rate(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.base * factor

    def __call__(self, losses: Iterable[tuple[Tensor, float]]) -> Tensor:
        """Descend the weighted sum of losses, over all processes; returns this process's part of the sum."""
        for parameter in self.parameters:
            parameter.grad = None
        total = torch.zeros((), device=self.parameters[0].device)
        for loss, weight in losses:
            for parameter, gradient in zip(self.parameters, self.gradients(loss * weight), strict=True):
                parameter.grad = gradient if parameter.grad is None or gradient is None else parameter.grad + gradient
            total = total + loss.detach() * weight
        if parallel.size() > 1:
            given = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
            for parameter, gradient in zip(self.parameters, parallel.sums(given), strict=True):
                parameter.grad = gradient
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return total

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def state(self) -> dict[str, Tensor]:
        """The optimiser's moments as flat names, ready for safetensors."""
        order = [p for group in self.optimizer.param_groups for p in group["params"]]
        found = ((i, self.optimizer.state.get(p, {})) for i, p in enumerate(order))
        return {f"{i}.{name}": value for i, moments in found for name, value in moments.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        order = [p for group in self.optimizer.param_groups for p in group["params"]]
        for name, value in state.items():
            index, moment = name.split(".", 1)
            parameter = order[int(index)]
            self.optimizer.state.setdefault(parameter, {})[moment] = value.to(parameter.device, copy=True)


class Step:
    """The shared part of all steps: a model and named updates."""

    updates: dict[str, Update]

    def __init__(self, model: nn.Module, settings: StepSettings):
        self.model, self.settings = model, settings

    def losses(self, function: Callable[..., Tensor], batch: Batch, *more: Tensor) -> Iterator[tuple[Tensor, float]]:
        """`function(images, mask, *more)` on each part of the share, one at a time, with its part in the whole batch."""
        held = (batch.images, batch.mask, *more)
        rows = -(-len(batch.images) // self.settings.accumulate) or 1
        for part in zip(*(tensor.split(rows) for tensor in held), strict=True):
            if len(part[0]):
                with autocast(batch.images.device, self.settings.precision):
                    loss = function(*part)
                yield loss, len(part[0]) / batch.whole

    def scale_rate(self, factor: float) -> None:
        for update in self.updates.values():
            update.scale_rate(factor)

    def state(self) -> dict[str, Tensor]:
        return {f"{key}.{name}": value for key, update in self.updates.items() for name, value in update.state().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        for key, update in self.updates.items():
            update.load({name.removeprefix(f"{key}."): v for name, v in state.items() if name.startswith(f"{key}.")})


class GradientStep(Step):
    """One gradient step on `model.loss(images, mask)`."""

    def __init__(self, model: nn.Module, settings: StepSettings):
        super().__init__(model, settings)
        self.updates = {"model": Update(model.parameters(), settings)}

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.updates["model"](self.losses(self.model.loss, batch))}
