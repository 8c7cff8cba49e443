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
from torch.optim.adamw import adamw

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
    labels: Tensor | None = None  # [share], where the training is supervised

    def noise(self, draw: Callable[[int, Generator], Tensor]) -> Tensor:
        """This share of what `draw(count, generator)` gives for the whole batch."""
        return parallel.share(draw(self.whole, self.generator))


class Update:
    """One AdamW over some parameters: call it with losses and weights. Decay spares biases, norms and tokens (rank below 2).

    It is torch's own functional, fused AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): the optimiser
    class would import the compiler, four seconds in every process that trains.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        settings: StepSettings,
        rate: float = 1.0,
        scales: dict[nn.Parameter, float] | None = None,  # of single parameters' learning rates, such as by layer
    ):
        self.parameters, scales = list(parameters), scales or {}
        self.clip, self.betas, self.base = settings.clip, settings.betas, settings.learning_rate * rate
        self.rate = self.base
        grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in sorted(self.parameters, key=lambda p: p.ndim <= 1):
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            grouped.setdefault((scales.get(parameter, 1.0), decay), []).append(parameter)
        self.groups = [(parameters, scale, decay) for (scale, decay), parameters in grouped.items()]
        self.moments: dict[nn.Parameter, dict[str, Tensor]] = {}

    def scale_rate(self, factor: float) -> None:
        self.rate = self.base * factor

    def __call__(self, losses: Iterable[tuple[Tensor, float]]) -> Tensor:
        """Descend the weighted sum of losses, over all processes; returns this process's part of the sum."""
        for parameter in self.parameters:
            parameter.grad = None
        total = torch.zeros((), device=self.parameters[0].device)
        for loss, weight in losses:
            for parameter, gradient in zip(self.parameters, self.gradients(loss * weight), strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            total = total + loss.detach() * weight
        if parallel.size() > 1:
            given = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
            for parameter, gradient in zip(self.parameters, parallel.sums(given), strict=True):
                parameter.grad = gradient
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.descend()
        return total

    @torch.no_grad()
    def descend(self) -> None:
        """One step of AdamW on the gradients there are."""
        for parameters, scale, decay in self.groups:
            moved = [p for p in parameters if p.grad is not None]
            held = [self.moments[p] if p in self.moments else self.moments.setdefault(p, fresh_moments(p)) for p in moved]
            averages, squares, steps = ([moments[name] for moments in held] for name in ("exp_avg", "exp_avg_sq", "step"))
            how = {"lr": self.rate * scale, "beta1": self.betas[0], "beta2": self.betas[1], "weight_decay": decay, "eps": 1e-8}
            if moved:
                adamw(moved, [p.grad for p in moved], averages, squares, [], steps, fused=True, amsgrad=False, maximize=False, **how)

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def state(self) -> dict[str, Tensor]:
        """The optimiser's moments as flat names, ready for safetensors."""
        found = ((i, self.moments.get(p, {})) for i, p in enumerate(self.in_order()))
        return {f"{i}.{name}": value for i, moments in found for name, value in moments.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        order = self.in_order()
        for name, value in state.items():
            index, moment = name.split(".", 1)
            parameter = order[int(index)]
            self.moments.setdefault(parameter, {})[moment] = value.to(parameter.device, copy=True)

    def in_order(self) -> list[nn.Parameter]:
        return [p for parameters, *_ in self.groups for p in parameters]


def fresh_moments(parameter: nn.Parameter) -> dict[str, Tensor]:
    """What AdamW remembers of a parameter before its first step."""
    zeros = {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), device=parameter.device), **zeros}


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
