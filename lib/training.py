"""One training loop that knows no model, no files and no processes.

A model says which losses to descend, in which order and for which parameters (`phases`,
`groups`); the loop descends them. It owns epochs, schedule, optimisers, precision, clipping,
parts of a batch and the sum over processes. Everything random is drawn by name and step
(see streams), so a run that goes on from a state needs its step and tensors, and ends with
the bits of an uninterrupted one (same machine, same threads).

Three things about descending were each seen to go wrong. A batch's parts are taken one by
one, so that a part's graph is gone before the next one's is built. Autocast is entered anew
for every phase: one context around them all would multiply with weights of before the
update. And a loss moves the parameters of its own group alone.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW

from lib.augment import Augment
from lib.config import Config
from lib.feed import ALONE, Feed, MaskSource, NoMasks, Processes
from lib.machine import Precision, autocast, nearest
from lib.mapped import release
from lib.models.family import Batch, Group, Model
from lib.pixels import unit_range
from lib.shapes import Bytes, Mask

VERSION = 2  # raise it when the loop's results change: records made before are then stale
CHECK_EVERY = 50  # steps between looks at losses, which wait for an accelerator and for others


class Recipe(Config):
    """How to train: part of a run's identity."""

    epochs: int = Field(ge=0, le=1_000_000)  # 0 measures the untrained model
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0, lt=1)  # of AdamW at its peak
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)  # share of the steps with a rising learning rate
    clip: float | None = Field(None, gt=0)  # largest gradient norm
    augment: Augment = "none"
    keep: Literal["best", "last"] = "best"  # weights to end with: lowest validation loss, or last
    evaluations: int = Field(10, ge=1)  # validations over the run, evenly spaced
    precision: Precision = "float32"
    last_batch: Literal["drop", "keep"] = "drop"  # images of an epoch that do not fill a batch

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step."""
        return self.learning_rate * rate_factor(step, total, self.warmup)


class NotFinite(ArithmeticError):
    """A loss that is no longer a number."""


def rate_factor(step: int, total: int, warmup: float) -> float:
    """Linear warm-up to 1, then half a cosine to 0 (He et al. 2022, table 8)."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def adamw(group: Group, recipe: Recipe) -> AdamW:
    """The optimiser of a group (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Decay spares biases and norms, whose rank is below 2; tokens decay, as in the original
    pre-training. Each of its own groups remembers its factor of the recipe's learning rate.
    """
    decay = recipe.weight_decay if group.decay is None else group.decay
    sorted_out: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in group.parameters:
        kind = (group.scales.get(parameter, 1.0), decay if parameter.ndim > 1 else 0.0)
        sorted_out.setdefault(kind, []).append(parameter)
    groups = [
        {"params": parameters, "factor": group.rate * scale, "weight_decay": of_these}
        for (scale, of_these), parameters in sorted_out.items()
    ]
    return AdamW(groups, lr=recipe.learning_rate, betas=group.betas, fused=True)


def parameters_of(optimiser: AdamW) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def moments(optimiser: AdamW) -> dict[str, Tensor]:
    """An optimiser's tensors, named by the place of their parameter."""
    return {
        f"{number}.{moment}": value
        for number, parameter in enumerate(parameters_of(optimiser))
        for moment, value in optimiser.state[parameter].items()
    }


def restore_moments(optimiser: AdamW, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser the tensors that `moments` named."""
    for number, parameter in enumerate(parameters_of(optimiser)):
        own = named(tensors, f"{number}.")
        optimiser.state[parameter] = {
            name: value.to(parameter.device, copy=True) for name, value in own.items()
        }


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What is named with a prefix, under the rest of its name."""
    chosen = (name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in chosen}


@dataclass
class State:
    """All that changes while training: what a run that is taken up again needs."""

    model: Model
    optimisers: dict[str, AdamW]
    total: int  # steps
    masks: MaskSource = field(default_factory=NoMasks)
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # losses since the last row
    counted: int = 0
    history: list[dict[str, float | int]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = math.inf

    def tensors(self) -> dict[str, Tensor]:
        """Those of the model, the best model, the optimisers and the masks, by flat names."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        found |= {f"best.{name}": value for name, value in self.best.items()}
        for group, optimiser in self.optimisers.items():
            found |= {f"adamw.{group}.{n}": value for n, value in moments(optimiser).items()}
        return found | {f"masks.{name}": value for name, value in self.masks.tensors().items()}

    def numbers(self) -> dict[str, Any]:
        """The rest, as JSON data."""
        return {
            "step": self.step,
            "sums": self.sums,
            "counted": self.counted,
            "history": self.history,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
        }

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Be what `tensors` and `numbers` say, model and optimisers too."""
        self.model.load_state_dict(named(tensors, "model."))
        self.best = named(tensors, "best.")
        for group, optimiser in self.optimisers.items():
            restore_moments(optimiser, named(tensors, f"adamw.{group}."))
        self.masks.restore(named(tensors, "masks."))
        self.step = numbers["step"]
        self.sums = numbers["sums"]
        self.counted = numbers["counted"]
        self.history = numbers["history"]
        best_loss = numbers["best_loss"]
        self.best_loss = math.inf if best_loss is None else best_loss


def ignore(state: State) -> None:
    """What watches a training where nobody does."""


def train(
    model: Model,
    images: Bytes,
    validation: UInt8[Tensor, "validation channels height width"],
    masks: MaskSource,
    recipe: Recipe,
    *,
    seed: int,
    labels: tuple[Tensor, Tensor] | None = None,
    processes: Processes = ALONE,
    accumulate: int = 1,
    start: tuple[dict[str, Tensor], dict[str, Any]] | None = None,
    watch: Callable[[State], None] = ignore,
) -> list[dict[str, float | int]]:
    """Train `model` in place and return the history, one row per validation.

    images, validation   uint8, kept on the model's device where they fit; may be mapped files
    labels               of images and of validation, where the model wants them
    accumulate           parts in which a process takes its share of a batch
    start                tensors and numbers of a state to go on from
    watch                called with the state whenever the losses so far have been looked at

    Raises NotFinite, naming the step and the learning rate.
    """
    device = next(model.parameters()).device
    own_labels, held_labels = (None, None) if labels is None else labels
    feed = Feed(
        images=nearest(images, device),
        labels=None if own_labels is None else own_labels.to(device),
        masks=masks,
        augment=recipe.augment,
        batch_size=min(recipe.batch_size, len(images)),
        keep_last=recipe.last_batch == "keep",
        seed=seed,
        device=device,
        processes=processes,
    )
    held_out = HeldOut(
        nearest(validation, device),
        masks.validation(validation).to(device),
        None if held_labels is None else held_labels.to(device),
    )
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    state = State(model, optimisers, total=recipe.epochs * feed.steps, masks=masks)
    if start is not None:
        state.restore(*start)
    model.train()
    look_often = device.type == "cpu" and processes.size == 1
    rows_at = {
        math.ceil(state.total * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)
    }
    recent: list[dict[str, Tensor]] = []
    for batch in batches(feed, state):
        recent.append(descend(state, batch, recipe, accumulate, processes))
        state.step += 1
        row_due = state.step in rows_at
        if look_often or row_due or len(recent) == CHECK_EVERY:
            collect(recent, state, recipe, processes)
            recent = []
        if row_due:
            close_row(state, held_out, recipe, processes)
        if not recent:
            watch(state)
    if recipe.keep == "best" and state.best:
        model.load_state_dict(state.best)
    return state.history


def batches(feed: Feed, state: State) -> Iterator[Batch]:
    """The batches that remain, by the state's step."""
    epoch = None
    while state.step < state.total:
        if state.step // feed.steps != epoch:
            epoch = state.step // feed.steps
            order = feed.order(epoch)
        yield feed.batch(state.step, order, state.step / state.total)


def descend(
    state: State, batch: Batch, recipe: Recipe, accumulate: int, processes: Processes
) -> dict[str, Tensor]:
    """One step: every phase on every part, each group moved before the next phase begins.

    Gives this process's part of each loss.
    """
    parts = batch.split(accumulate)
    phases = [state.model.phases(part) for part in parts]
    losses = {}
    for name, optimiser in state.optimisers.items():
        parameters = parameters_of(optimiser)
        for parameter in parameters:  # as zero_grad, whose hooks cost a small model a tenth
            parameter.grad = None
        losses[name] = torch.zeros((), device=batch.images.device)
        for part, phase in zip(parts, phases, strict=True):
            with autocast(batch.images.device, recipe.precision):
                group, loss = next(phase)
            if group != name:
                raise RuntimeError(f"phase {group!r} came where group {name!r} was due")
            loss = loss * (len(part) / batch.whole)
            add_gradients(loss, parameters)
            losses[name] += loss.detach()
            del loss  # and its graph, before the next part's is built
        share_gradients(parameters, processes)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip)
        rate = recipe.rate(state.step, state.total)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        optimiser.step()
    return losses


def add_gradients(loss: Tensor, parameters: list[nn.Parameter]) -> None:
    """Add a loss's gradients to those of its own group, and to no others."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def share_gradients(parameters: list[nn.Parameter], processes: Processes) -> None:
    """Sum the gradients over all processes, by one message."""
    if processes.size == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter, gradient in zip(parameters, processes.sums(own), strict=True):
        parameter.grad = gradient


def collect(
    recent: list[dict[str, Tensor]], state: State, recipe: Recipe, processes: Processes
) -> None:
    """Add recent losses, over all processes, to the running sums. Raises NotFinite."""
    names = list(recent[0])
    own = torch.stack([torch.stack([losses[name] for name in names]) for losses in recent])
    (values,) = processes.sums([own])
    for ago, losses in enumerate(values.tolist()):
        step = state.step - len(recent) + ago
        for name, value in zip(names, losses, strict=True):
            if not math.isfinite(value):
                rate = recipe.rate(step, state.total)
                raise NotFinite(
                    f"{name} became {value} at step {step} of {state.total}, "
                    f"learning rate {rate:.2e}: lower learning_rate or set clip"
                )
            state.sums[name] = state.sums.get(name, 0.0) + value
        state.counted += 1


@dataclass(frozen=True)
class HeldOut:
    """Validation images under their fixed masks."""

    images: Bytes
    masks: Mask
    labels: Tensor | None


def close_row(state: State, held_out: HeldOut, recipe: Recipe, processes: Processes) -> None:
    """Add a row to the history: mean losses since the last one, and validation's; keep the best."""
    validation_loss = mean_loss(state.model, held_out, recipe.precision, processes)
    if not math.isfinite(validation_loss):
        raise NotFinite(
            f"the validation loss became {validation_loss} at step {state.step} of {state.total}: "
            "lower learning_rate or set clip"
        )
    row = {"step": state.step, "learning_rate": recipe.rate(state.step - 1, state.total)}
    row |= {name: total / state.counted for name, total in state.sums.items()}
    state.history.append(row | {"validation_loss": validation_loss})
    state.sums = {}
    state.counted = 0
    if recipe.keep == "best" and validation_loss < state.best_loss:
        state.best_loss = validation_loss
        weights = state.model.state_dict()
        state.best = {name: value.detach().clone() for name, value in weights.items()}


@torch.no_grad()
def mean_loss(
    model: Model,
    held_out: HeldOut,
    precision: Precision,
    processes: Processes = ALONE,
    batch_size: int = 512,
) -> float:
    """The loss that validation watches, over a set of images; each process takes its rows."""
    model.eval()
    count = len(held_out.images)
    own = processes.rows(count)
    device = held_out.masks.device
    wide = torch.float32 if device.type == "mps" else torch.float64  # which MPS has not
    total = torch.zeros((), dtype=wide, device=device)
    for start in range(own.start, own.stop, batch_size):
        rows = slice(start, min(start + batch_size, own.stop))
        images = unit_range(held_out.images[rows].to(device))
        labels = None if held_out.labels is None else held_out.labels[rows]
        with autocast(device, precision):
            loss = model.watched(Batch(images, held_out.masks[rows], count, start, labels))
        total += loss.to(wide) * len(images)
        release()
    model.train()
    (total,) = processes.sums([total])
    return total.item() / count
