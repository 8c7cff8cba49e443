"""One training loop that knows no model.

It knows time (epochs, schedule, validation), devices, checkpoints and a step
function; the step owns gradients and optimisers. Everything random comes from named
generators derived from one seed: the order of images, their augmentation, the masks
and the model's own noise are separate streams, so that a model that draws more noise
still sees the same images under the same masks. Interrupted at any step, a run
continues from its last state; on a CPU it ends with the same bits (same machine and threads).
Under torchrun every process holds this same state and computes a share of each batch
(see `parallel`); only process 0 writes it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Generator, Tensor, nn

from lib import checkpoint, parallel
from lib.augment import Augment
from lib.feed import DrawMask, Feed, epoch_order
from lib.machine import Precision, autocast, nearest
from lib.mapped import release
from lib.models.registry import Config, later
from lib.optim import Step
from lib.pixels import unit_range
from lib.streams import stream

VERSION = 1  # raise it when the loop's results change: records made before are then stale
STREAMS = ("order", "augment", "mask", "noise")
CHECK_EVERY = 50  # steps between looks at the losses, which wait for an accelerator and for other processes


class Recipe(Config):
    """How to train: part of a run's identity."""

    epochs: int = Field(ge=0)  # 0 measures the untrained model
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0)  # of AdamW at its peak
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)  # share of the steps with a rising learning rate
    clip: float | None = Field(None, gt=0)  # largest gradient norm
    augment: Augment = "none"
    keep: Literal["best", "last"] = "best"  # weights to end with: lowest validation loss, or the last
    evaluations: int = Field(10, ge=1)  # validations over the run, evenly spaced
    precision: Precision = "float32"
    last_batch: Literal["drop", "keep"] = later("drop", before="drop")  # what an epoch does with images that do not fill a batch


class NotFinite(ArithmeticError):
    """A loss that is no longer a number."""


@dataclass
class State:
    """All that changes while training, beside the model and the optimisers."""

    generators: dict[str, Generator]
    step: int = 0
    epoch_start: Tensor | None = None  # the order stream's state when the current epoch began
    sums: dict[str, float] = field(default_factory=dict)  # losses since the last row of the history
    counted: int = 0
    history: list[dict[str, float | int]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = math.inf


def rate_factor(step: int, total: int, warmup: float) -> float:
    """Linear warm-up to 1, then half a cosine to 0 (He et al. 2022, table 8), as a factor of the peak rate."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def train(
    model: nn.Module,
    step: Step,
    images: UInt8[Tensor, "count channels height width"],
    validation: UInt8[Tensor, "validation channels height width"],
    draw_mask: DrawMask,
    recipe: Recipe,
    *,
    seed: int,
    labels: tuple[Tensor, Tensor] | None = None,
    run: str = "",
    folder: Path | None = None,
    save_every: float = 60.0,
    progress: Callable[[int, int, dict], None] = lambda step, total, row: None,
) -> list[dict[str, float | int]]:
    """Train `model` in place by `step` and return the history, one row per validation.

    images, validation   uint8, kept on the model's device where they fit; may be mapped from files (see `mapped`)
    draw_mask            (batch, generator, share of training done) -> mask, True = hidden
    labels               of images and of validation, where `model.loss(images, mask, labels)` wants them
    run, folder          a name for this run and where its states lie; None keeps none
    save_every           seconds between states
    progress             called with the step, their number and the last row

    Raises NotFinite, naming the step, the learning rate and the last good state.
    """
    device = next(model.parameters()).device
    images, validation = nearest(images, device), nearest(validation, device)
    own_labels, validation_labels = (None, None) if labels is None else (labels[0].to(device), labels[1].to(device))
    feed = Feed(images, own_labels, draw_mask, recipe.augment, device)
    batch = min(recipe.batch_size, len(images))
    per_epoch = len(images) // batch if recipe.last_batch == "drop" else math.ceil(len(images) / batch)
    total = recipe.epochs * per_epoch
    state = restored(model, step, seed, run, folder) or State({name: stream(seed, name) for name in STREAMS})
    rows_at = {math.ceil(total * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    fixed = validation_masks(len(validation), draw_mask, seed).to(device)
    order, recent, saved = None, [], time.monotonic()
    while state.step < total:
        place = state.step % per_epoch
        if place == 0:
            state.epoch_start = state.generators["order"].get_state()
        if place == 0 or order is None:
            order = epoch_order(len(images), state.generators["order"], state.epoch_start)
        step.scale_rate(rate_factor(state.step, total, recipe.warmup))
        index = order[place * batch : (place + 1) * batch]
        recent.append(step(feed.batch(index, state.generators, state.step / total)))
        state.step += 1
        row_due = state.step in rows_at
        if (device.type == "cpu" and parallel.size() == 1) or row_due or len(recent) == CHECK_EVERY:
            collect(recent, state, recipe, total, folder)
        if row_due:
            row = close_row(model, state, (validation, fixed, validation_labels), recipe, total)
            progress(state.step, total, row)
        if folder is not None and not recent and (time.monotonic() - saved >= save_every or state.step == total):
            if parallel.rank() == 0:
                write_state(model, step, state, run, folder)
            saved = time.monotonic()
    if recipe.keep == "best" and state.best:
        model.load_state_dict(state.best)
    return state.history


def collect(recent: list[dict[str, Tensor]], state: State, recipe: Recipe, total: int, folder: Path | None) -> None:
    """Add recent losses, over all processes, to the running sums and empty the list. Raises NotFinite."""
    first, names = state.step - len(recent), list(recent[0])
    (values,) = parallel.sums([torch.stack([torch.stack([losses[name].float() for name in names]) for losses in recent])])
    for offset, losses in enumerate(values.tolist()):
        for name, value in zip(names, losses, strict=True):
            if not math.isfinite(value):
                at = first + offset
                rate = recipe.learning_rate * rate_factor(at, total, recipe.warmup)
                good = checkpoint.states(folder)[-1:] if folder else []
                where = f"the last good state is {good[0]}" if good else "no state was saved before it"
                raise NotFinite(
                    f"{name} became {value} at step {at} of {total}, learning rate {rate:.2e}; {where}. Lower learning_rate or set clip"
                )
            state.sums[name] = state.sums.get(name, 0.0) + value
        state.counted += 1
    recent.clear()


def close_row(model, state, validation: tuple[Tensor, Tensor, Tensor | None], recipe: Recipe, total: int) -> dict[str, float | int]:
    """One row of the history: mean training losses since the last row, and the validation loss; keeps the best."""
    row = {"step": state.step, "learning_rate": recipe.learning_rate * rate_factor(state.step - 1, total, recipe.warmup)}
    row |= {name: value / state.counted for name, value in state.sums.items()}
    images, masks, labels = validation
    validation_loss = mean_loss(model, images, masks, recipe.precision, labels)
    if not math.isfinite(validation_loss):
        raise NotFinite(f"the validation loss became {validation_loss} at step {state.step} of {total}: lower learning_rate or set clip")
    row["validation_loss"] = validation_loss
    state.history.append(row)
    state.sums, state.counted = {}, 0
    if row["validation_loss"] < state.best_loss:
        state.best_loss = row["validation_loss"]
        state.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return row


def validation_masks(count: int, draw_mask: DrawMask, seed: int) -> Tensor:
    return draw_mask(count, stream(seed, "validation"), 1.0)


@torch.no_grad()
def mean_loss(
    model: nn.Module, images: Tensor, masks: Tensor, precision: Precision, labels: Tensor | None = None, batch: int = 512
) -> float:
    """The model's loss over a set of images under fixed masks, with labels where it wants them; each process takes a share."""
    model.eval()
    count, total = len(images), 0.0
    images, more = parallel.share(images), [parallel.share(tensor) for tensor in (masks, labels) if tensor is not None]
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        with autocast(masks.device, precision):
            total += model.loss(unit_range(images[part].to(masks.device)), *(tensor[part] for tensor in more)).item() * len(images[part])
        release()
    model.train()
    if parallel.size() > 1:
        total = parallel.sums([torch.tensor(total, dtype=torch.float64).to(masks.device)])[0].item()
    return total / count


def write_state(model: nn.Module, step: Step, state: State, run: str, folder: Path) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in state.best.items()}
    tensors |= {f"step.{name}": value for name, value in step.state().items()}
    tensors |= {f"generator.{name}": g.get_state() for name, g in state.generators.items()}
    tensors["epoch_start"] = state.epoch_start
    about: dict[str, Any] = {"run": run, "history": state.history, "sums": state.sums, "counted": state.counted}
    about["best_loss"] = state.best_loss if math.isfinite(state.best_loss) else None
    checkpoint.save_state(folder, state.step, tensors, about)


def restored(model: nn.Module, step: Step, seed: int, run: str, folder: Path | None) -> State | None:
    """The state of an interrupted run, model and optimisers brought to it; None to begin at the beginning."""
    if folder is None:
        return None
    found = checkpoint.latest_state(folder, run) if parallel.rank() == 0 else None
    at = parallel.agreed(found[1]["step"] if found else -1, next(model.parameters()).device)
    if at < 0:
        return None
    tensors, about = found or checkpoint.load(checkpoint.state_file(folder, at))  # all from the state that process 0 chose

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    step.load(part("step."))
    state = State({name: stream(seed, name) for name in STREAMS}, step=about["step"], epoch_start=tensors["epoch_start"])
    for name, value in part("generator.").items():
        state.generators[name].set_state(value)
    state.best, state.best_loss = part("best."), about["best_loss"] if about["best_loss"] is not None else math.inf
    state.history, state.sums, state.counted = about["history"], about["sums"], about["counted"]
    return state
