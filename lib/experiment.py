"""The unit of work: settings in, one record out. Nothing else in the study trains or measures.

Whatever a later table may need is measured before a run ends, on validation and on
test, under every test mask, with the error of each image kept.

At the quick scale a run is always done anew, so that a replay of a notebook tests
the code and not a file. At the larger scales a finished record is read, an
interrupted run goes on, and `rerun=True` does it again; of several processes that ask
for the same run at once one does it and the others wait for its record.
"""

import contextlib
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from lib import about, checkpoint, evaluate, finetune, parallel, records, training, worker
from lib.data import DataError, Images, load
from lib.data.registry import SPLITS
from lib.leash import LEDGER
from lib.locks import only_one
from lib.machine import Threads, describe, keep_freed_memory, resolve_device
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import StepSettings
from lib.pixels import Shape, channel_statistics, unit_range
from lib.progress import bar
from lib.settings import Execution, Experiment
from lib.streams import stream


@dataclass(frozen=True)
class Run:
    """What an experiment gives back."""

    record: records.Record
    model: nn.Module | None  # None where the record was read and its weights are not on this machine
    images: pd.DataFrame  # measures of every image
    splits: dict[str, Images] | None  # None where the data is not at hand

    def value(self, name: str, split: str = "test") -> float:
        """One measure, NaN where it is not defined. Raises KeyError naming those there are."""
        found = self.record.value(name, split)
        return float("nan") if found is None else found


def load_splits(experiment: Experiment, execution: Execution) -> dict[str, Images]:
    """Training images (the subset), validation and test."""
    common = {"root": execution.data_root, "size": experiment.image_size}
    return {s: load(experiment.dataset, s, subset=experiment.subset if s == "train" else None, **common) for s in SPLITS}


def run(experiment: Experiment, execution: Execution, *, need_model: bool = True) -> Run:
    """Do an experiment, or read its record where it is done. One that fine-tunes does, or reads, its pre-training first.

    need_model   whether to train again, at the larger scales, where the record is here but the weights are not

    Raises DataError (data missing or not those of the record), ValueError (parameters
    that do not go together) and NotFinite (training diverged), each before a record is written.
    """
    again = execution.scale == "quick" or execution.rerun
    with contextlib.nullcontext() if execution.scale == "quick" else only_one(execution.checkpoints(experiment.key)):
        found = None if again else finished(experiment, execution)
        if found is None or (found.model is None and need_model and experiment.fine_tune is None):
            how = perform_fine_tuning if experiment.fine_tune else perform_together if execution.processes > 1 else perform
            found = how(experiment, execution)
    note(found.record)
    return found


def finished(experiment: Experiment, execution: Execution) -> Run | None:
    """A finished run from disk, None where there is none that can be trusted; a damaged record is named in a warning."""
    file = records.find(execution.results, experiment.key)
    try:
        return reread(file, experiment, execution) if file else None
    except records.DamagedRecord as error:
        warnings.warn(f"{error}; it is run again now", stacklevel=3)
        return None


def perform_together(experiment: Experiment, execution: Execution) -> Run:
    """Train in several processes, then read what they wrote."""
    worker.launch(experiment, execution)
    return reread(records.find(execution.results, experiment.key), experiment, execution)


def note(record: records.Record) -> None:
    """Tell a sweep which records its run made or read (see `leash`)."""
    if os.environ.get(LEDGER):
        with Path(os.environ[LEDGER]).open("a") as ledger:
            ledger.write(f"{record.scale}/{record.name}.json\n")


def reread(file: Path, experiment: Experiment, execution: Execution) -> Run:
    """A finished run from disk, with its weights and data where they are at hand."""
    record = records.read(file)
    try:
        splits = load_splits(experiment, execution)
    except DataError:
        return Run(record, None, records.read_images(file, record), None)
    check_data(record, splits)
    weights = execution.checkpoints(record.key) / "model.safetensors"
    model = None
    if not MODELS[experiment.model].trained or weights.exists():
        model = new_model(experiment, splits)
        if MODELS[experiment.model].trained:
            model = with_weights(model, weights)
        else:
            model.fit(unit_range(splits["train"].images))
    return Run(record, model, records.read_images(file, record), splits)


def check_data(record: records.Record, splits: dict[str, Images]) -> None:
    """Raises DataError where the data at hand is not what the record was made from."""
    here = {split: images.sha256 for split, images in splits.items()}
    if here != record.data.sha256:
        raise DataError(
            f"record {record.name} was made from other data than lies here (variant {record.data.variant}, here "
            f"{splits['train'].variant}): use another output folder, or rerun=True to replace the record"
        )


def with_weights(model: nn.Module, file: Path) -> nn.Module | None:
    """A model brought to its weights on disk; None, with a warning, where they cannot be trusted."""
    try:
        model.load_state_dict(checkpoint.load(file)[0])
    except checkpoint.DamagedCheckpoint as error:
        warnings.warn(f"{error}", stacklevel=2)
        return None
    return model


def new_model(experiment: Experiment, splits: dict[str, Images]) -> nn.Module:
    images = splits["train"].images
    shape = Shape(*images.shape[1:], patch=experiment.patch)
    mean, std = channel_statistics(images)
    return build(experiment.model, experiment.options, shape, mean, std, stream(experiment.seed, "weights"))


def perform(experiment: Experiment, execution: Execution) -> Run | None:
    """Train, measure, write; under torchrun all processes train and process 0 does the rest."""
    begun, device = about.beginning(), prepared(execution)
    with parallel.group(device):
        splits, processes = parallel.first_alone(lambda: load_splits(experiment, execution)), parallel.size()
        first, clock = parallel.rank() == 0, [time.perf_counter()]
        model, history = trained_model(experiment, execution, splits, device)
    if not first:
        return None
    clock.append(time.perf_counter())
    measured, rows = measure(model, experiment, splits, device)
    clock.append(time.perf_counter())
    if (execution.scale != "quick" or processes > 1) and MODELS[experiment.model].trained:
        checkpoint.save(execution.checkpoints(experiment.key) / "model.safetensors", model.state_dict(), {"key": experiment.key})
    described = {"data": about.data(experiment, splits), "model": about.model(model, experiment, device), "history": history}
    machine = begun | {"machine": describe(device, processes), "seconds": about.seconds(clock)}
    record = write_record(experiment, execution, rows, metrics=measured, provenance=records.Provenance(**machine), **described)
    return Run(record, model.cpu(), rows, splits)


def perform_fine_tuning(experiment: Experiment, execution: Execution) -> Run:
    """Fine-tune a copy of the pre-trained model on each share of the labels, measure, write."""
    base = run(experiment.pretraining, execution)
    if base.splits is None:
        raise DataError(f"fine-tuning needs the data of {experiment.dataset!r}, and it is not at hand: give its folder as data_root")
    begun, device, nothing = about.beginning(), prepared(execution), pd.DataFrame()
    model, measured, history, clock = base.model.to(device), {"validation": {}, "test": {}}, [], [time.perf_counter()]
    folder, evaluating, threads = execution.checkpoints(experiment.key), 0.0, Threads(execution.threads)
    for share in experiment.fine_tune.shares:
        place = None if execution.scale == "quick" else folder / f"{share:g}"
        with bar(execution.progress, f"fine-tuning on {share:.3g} of the labels, seed {experiment.seed}") as progress:
            how = {"run": f"{experiment.key} on {base.splits['train'].sha256}", "folder": place, "progress": threads.watching(progress)}
            how |= {"seed": experiment.seed, "precision": experiment.recipe.precision, "save_every": execution.save_every}
            classifier, rows = finetune.fine_tune(model, base.splits, experiment.fine_tune, share, **how)
        history += [{"share": share} | row for row in rows]
        before = time.perf_counter()
        for split, found in measured.items():
            images = base.splits[split]
            found[f"finetune_accuracy@{share:g}"] = {"value": finetune.accuracy(classifier, images), "n": len(images)}
        evaluating += time.perf_counter() - before
    clock += [time.perf_counter() - evaluating, time.perf_counter()]
    described = {"data": base.record.data, "model": base.record.model, "history": history}
    machine = begun | {"machine": describe(device), "seconds": about.seconds(clock)}
    record = write_record(experiment, execution, nothing, metrics=measured, provenance=records.Provenance(**machine), **described)
    for share in experiment.fine_tune.shares:
        checkpoint.drop_states(folder / f"{share:g}")
    return Run(record, None, nothing, base.splits)


def prepared(execution: Execution) -> torch.device:
    """The device to work on, this process set up as asked."""
    if execution.threads:
        torch.set_num_threads(execution.threads)
    keep_freed_memory()
    return parallel.own_device(resolve_device(execution.device))


def write_record(experiment: Experiment, execution: Execution, rows: pd.DataFrame, **found) -> records.Record:
    """The record, as the last act of a run: after it only the record and the weights remain."""
    plain = {"key": experiment.key, "scale": execution.scale, "notebook": execution.notebook}
    plain |= {"parameters": experiment.identity(), "components": experiment.components()}
    record = records.write(records.Record(**plain, **found), rows, execution.results)
    checkpoint.drop_states(execution.checkpoints(record.key))
    return record


def trained_model(experiment: Experiment, execution: Execution, splits: dict[str, Images], device: torch.device):
    """A model ready to be measured, and its history."""
    model = new_model(experiment, splits)
    family, recipe = MODELS[experiment.model], experiment.recipe
    if not family.trained:
        model.fit(unit_range(splits["train"].images))
        return model.to(device), []
    model.to(device).train()
    how = {"clip": recipe.clip, "precision": recipe.precision, "accumulate": execution.accumulate}
    settings = StepSettings(recipe.learning_rate, recipe.weight_decay, **how)
    grid = model.space.grid

    def draw_mask(batch, generator, progress):
        return draw(experiment.strategy, batch=batch, grid=grid, ratio=experiment.mask_ratio, generator=generator, progress=progress)

    threads = Threads(execution.threads)
    with bar(execution.progress, f"{family.label}, {experiment.strategy} {experiment.mask_ratio:g}, seed {experiment.seed}") as progress:
        history = training.train(
            model,
            family.make_step(model, settings),
            splits["train"].images,
            splits["validation"].images,
            draw_mask,
            recipe,
            seed=experiment.seed,
            run=f"{experiment.key} on {splits['train'].sha256}" + (", again" if execution.rerun else ""),
            folder=None if execution.scale == "quick" else execution.checkpoints(experiment.key),
            save_every=execution.save_every,
            progress=threads.watching(progress),
        )
    return model.eval(), history


def measure(model: nn.Module, experiment: Experiment, splits: dict[str, Images], device: torch.device):
    """All measures as split -> name -> measure, and the rows per image."""
    shape, frames = model.space.shape, []
    if hasattr(model, "reconstruct"):
        for split in ("validation", "test"):
            images = splits[split].some(experiment.evaluate_images).images
            frames += [evaluate.per_image(model, images, mask, split, shape, device) for mask in experiment.test_masks]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    measured = evaluate.summarise(rows) if frames else {}
    if experiment.probe and hasattr(model, "embed"):
        fewer = splits | {"train": splits["train"].some(experiment.probe_images)}
        for split, found in evaluate.probe(model, fewer, device).items():
            measured.setdefault(split, {}).update(found)
    return measured, rows
