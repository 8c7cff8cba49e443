"""The unit of work: settings in, one record out. Nothing else in the study trains or measures.

Whatever a later table may need is measured before a run ends, on validation and on test,
under every test mask, with the error of each image kept. Fine-tuning is another way to train
and to measure, after the training that it begins from.

At the quick scale a run is always done anew, so that a replay of a notebook tests the code
and not a file. At the larger scales a finished record is read, an interrupted run goes on,
and `rerun=True` does it again; of several processes that ask for the same run at once one
does it and the others wait for its record.
"""

import contextlib
import functools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from lib import evaluate, finetune, training
from lib.data.registry import SPLITS, DataError, Images, load
from lib.feed import Processes
from lib.files import only_one
from lib.machine import CRAWLS, Threads, crawls, describe, keep_freed_memory, resolve_device
from lib.masking import hidden_count
from lib.masks import masks_of
from lib.models.family import build
from lib.patches import grid_of
from lib.pixels import Shape, channel_statistics, unit_range
from lib.run import jobs, parallel, provenance, records, states
from lib.run.guard import LEDGER
from lib.run.progress import Sample, shown
from lib.run.settings import Execution, Experiment
from lib.run.sheets import Sheet, packed, read_sheet, sheet_of
from lib.streams import stream

Splits = dict[str, Images]
WATCHED = 8  # images on which a training is watched by who looks at it
ANEW = (
    "published records were made from other bytes than lie here under the same name: "
    "what they hold is made anew"
)


class OtherData(DataError):
    """The data at hand is not what a record was made from."""


@dataclass(frozen=True)
class Run:
    """What an experiment gives back."""

    record: records.Record
    model: nn.Module | None  # None where its weights are not on this machine
    images: pd.DataFrame  # measures of every image
    splits: Splits | None  # None where the data is not at hand
    kept: Sheet | None = None  # its pictures from disk

    def value(self, name: str) -> float:
        """One measure on test images, or NaN. Raises KeyError naming those there are."""
        found = self.record.value(name)
        return float("nan") if found is None else found

    @functools.cached_property
    def sheet(self) -> Sheet:
        """Its pictures: those kept with its record, or made by its model now.

        Raises ValueError where there is neither.
        """
        if self.kept is not None:
            return self.kept
        if self.splits is None or not hasattr(self.model, "reconstruct"):
            raise ValueError(
                f"{self.record.name} keeps no pictures, and no model is here to make any"
            )
        given = self.record.parameters
        test = self.splits["test"].some(given["evaluate_images"]).images
        return sheet_of(self.model, test, tuple(given["test_masks"]), torch.device("cpu"))


@dataclass
class Found:
    """What a run has found so far: what its record will say."""

    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: evaluate.Metrics = field(default_factory=lambda: {"validation": {}, "test": {}})
    warnings: list[str] = field(default_factory=list)
    images: pd.DataFrame = field(default_factory=pd.DataFrame)
    earlier: float = 0.0  # seconds of training in sittings before this one
    sheet: bytes | None = None  # pictures, and
    on_sheet: records.SheetRecord | None = None  # what lies where in them


def run(
    experiment: Experiment,
    execution: Execution,
    *,
    need_model: bool = True,
    pretrained: dict[str, Run] | None = None,
) -> Run:
    """Do an experiment, or read its record where it is done.

    One that fine-tunes does, or reads, its pre-training first.

    need_model   whether to train or fit again where the record is here but the weights are not
    pretrained   pre-trainings by key: taken from here and left here, so that those who hand the
        same dictionary to several runs pre-train once

    Raises DataError (data missing or not those of the record), ValueError (parameters that do
    not go together) and NotFinite (training diverged), each before a record is written.
    """
    place = execution.checkpoints(experiment.key)
    with only_one(place):
        done = finished(experiment, execution, need_model)
        if done is None or (done.model is None and need_model and experiment.fine_tune is None):
            done = start(experiment, execution, pretrained)
    note(done.record)
    return done


def start(
    experiment: Experiment, execution: Execution, pretrained: dict[str, Run] | None = None
) -> Run:
    """Do an experiment, here or in several processes."""
    check(experiment, execution)
    if experiment.fine_tune is None and execution.processes > 1:
        jobs.launch(experiment, execution)
        file = records.find(execution.results, experiment.key)
        return reread(file, experiment, execution, need_model=True)
    return perform(experiment, execution, pretrained)


def pre_training(
    experiment: Experiment, execution: Execution, pretrained: dict[str, Run] | None
) -> Run | None:
    """The run that an experiment fine-tunes, None where it does not."""
    if experiment.fine_tune is None:
        return None
    asked = experiment.pretraining
    known = {} if pretrained is None else pretrained
    found = known.get(asked.key)
    if found is None or found.model is None:  # its record was read, its weights were not here
        found = known[asked.key] = run(asked, execution)
    return found


def check(experiment: Experiment, execution: Execution) -> None:
    """What can be known to be wrong is refused before any training, at every scale.

    Raises ValueError naming the parameter, DataError, or OSError for an output that cannot be
    written.
    """
    resolve_device(execution.device)
    probe_output(execution.results)
    splits = load_splits(experiment, execution)
    if experiment.fine_tune:
        finetune.check_labels(splits)
    check_images(experiment, splits)


def check_images(experiment: Experiment, splits: Splits) -> None:
    """Raises DataError or ValueError where a run on these images could only fail later."""
    shapes = {split: tuple(images.images.shape[1:]) for split, images in splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"the splits of {experiment.dataset_name} differ in channels, height or width, "
            f"{shapes}: give image_size, to which all are resized"
        )
    tokens = prod(grid_of(splits["train"].images.shape[2:], experiment.patch))
    for parameter, ratio in experiment.ratios:
        hidden = hidden_count(tokens, ratio)
        if ratio and hidden in (0, tokens):
            how_many = "none" if hidden == 0 else "all"
            raise ValueError(
                f"{parameter}: a ratio of {ratio:g} hides {how_many} of {tokens} patches: "
                "choose another ratio, or smaller patches"
            )


def probe_output(folder: Path) -> None:
    """Raises OSError, which names the parameter, where nothing can be written to a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp"):
            pass
    except OSError as error:
        raise OSError(
            f"output: nothing can be written to {folder} ({error}): give another folder"
        ) from error


def perform(
    experiment: Experiment, execution: Execution, pretrained: dict[str, Run] | None = None
) -> Run | None:
    """Load, train, measure, write; of several processes the first gives the run."""
    begun = provenance.beginning()
    base = pre_training(experiment, execution, pretrained)
    device = prepared(execution)
    if crawls(experiment.recipe.precision, device):
        warnings.warn(CRAWLS, stacklevel=2)
    with parallel.group(device) as processes:
        splits = parallel.first_alone(lambda: load_splits(experiment, execution), processes)
        check_images(experiment, splits)
        clock = Clock()
        if base is None:
            model, found = trained(experiment, execution, splits, device, processes)
        else:
            model, found = fine_tuned(base, experiment, execution, splits, device)
        clock.lap("training")
    if processes.rank > 0:
        return None
    if base is None:
        measure(model, experiment, splits, device, found)
        if execution.keeps and hasattr(model, "reconstruct"):
            test = splits["test"].some(experiment.evaluate_images).images
            sheet = sheet_of(model, test, experiment.pictured, device)
            found.sheet, found.on_sheet = packed(sheet)
        keep_weights(model, experiment, execution, splits, processes)
    clock.lap("evaluation")
    clock.seconds["training"] = round(clock.seconds["training"] + found.earlier, 2)
    origin = begun | {"machine": describe(device, processes.size), "seconds": clock.seconds}
    record = write_record(model, experiment, execution, splits, found, origin)
    kept = read_sheet(execution.results / f"{record.name}.json", record)
    model.cpu()  # that of a pre-training, too, which others go on using
    return Run(record, None if base else model, found.images, splits, kept)


class Clock:
    """Seconds of one part of a run after another."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.began = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self.began, 2)
        self.began = now


def load_splits(experiment: Experiment, execution: Execution) -> Splits:
    """Training images (the subset), validation and test."""
    splits = {}
    for split in SPLITS:
        splits[split] = load(
            experiment.dataset,
            split,
            root=execution.data_root,
            size=experiment.image_size,
            subset=experiment.subset if split == "train" else None,
        )
    return splits


def prepared(execution: Execution) -> torch.device:
    """The device to work on, this process set up as asked."""
    if execution.threads:
        torch.set_num_threads(execution.threads)
    keep_freed_memory()
    return parallel.own_device(resolve_device(execution.device))


def new_model(experiment: Experiment, splits: Splits) -> nn.Module:
    """The experiment's model before it has learned anything."""
    images = splits["train"].images
    shape = Shape(*images.shape[1:], patch=experiment.patch)
    mean, std = channel_statistics(images)
    weights = stream(experiment.seed, "weights")
    return build(experiment.model, experiment.options, shape, mean, std, weights)


def trained(
    experiment: Experiment,
    execution: Execution,
    splits: Splits,
    device: torch.device,
    processes: Processes,
) -> tuple[nn.Module, Found]:
    """A model ready to be measured."""
    if not experiment.family.trained:
        return fitted(experiment, splits).to(device), Found()
    model = new_model(experiment, splits)
    model.prepare(splits["train"].images)
    model.to(device)
    masks = masks_of(
        model,
        experiment.strategy,
        experiment.mask_ratio,
        experiment.patch,
        experiment.seed,
        experiment.recipe.precision,
        processes,
    )
    saved = states_of(experiment, execution, splits, "")
    label = experiment.family.under(experiment.strategy, experiment.mask_ratio)
    title = f"{label}, seed {experiment.seed}"

    def sample() -> Sample:
        few = splits["validation"].images[:WATCHED]
        return few, masks.validation(few)

    with watching(execution, title, saved, processes, sample) as watch:
        history = training.train(
            model,
            splits["train"].images,
            splits["validation"].images,
            masks,
            experiment.recipe,
            seed=experiment.seed,
            processes=processes,
            accumulate=execution.accumulate,
            start=taken_up(saved, processes),
            watch=watch,
        )
    earlier = 0.0 if saved is None else saved.earlier
    return model.eval(), Found(history=history, earlier=earlier)


def fine_tuned(
    base: Run,
    experiment: Experiment,
    execution: Execution,
    splits: Splits,
    device: torch.device,
) -> tuple[nn.Module, Found]:
    """The pre-trained model, and what a copy of it is worth on each share of the labels."""
    found = Found()
    model = base.model.to(device)
    for share in experiment.fine_tune.shares:
        saved = states_of(experiment, execution, splits, f"{share:g}")
        title = f"{share:.3g} of the labels, seed {experiment.seed}"
        with watching(execution, title, saved, training.ALONE) as watch:
            classifier, history = finetune.fine_tune(
                model,
                splits,
                experiment.fine_tune,
                share,
                seed=experiment.seed,
                precision=experiment.recipe.precision,
                start=taken_up(saved, training.ALONE),
                watch=watch,
            )
        found.earlier += 0.0 if saved is None else saved.earlier
        found.history += [{"share": share} | row for row in history]
        for split, measures in found.metrics.items():
            value = finetune.accuracy(classifier, splits[split], device)
            measures[f"accuracy@{share:g}"] = {"value": value, "n": len(splits[split])}
    return model, found


def states_of(
    experiment: Experiment, execution: Execution, splits: Splits, part: str
) -> states.States | None:
    """Where a training's states lie, tied to its key and to all of its data."""
    if not execution.keeps:
        return None
    again = ", again" if execution.rerun else ""
    run = f"{experiment.key} on {sums_of(splits)}{again}"
    folder = execution.checkpoints(experiment.key) / part
    return states.States(folder, run, execution.save_every)


def sums_of(splits: Splits) -> str:
    """What all data of a run is told by."""
    return " ".join(images.sha256 for images in splits.values())


def taken_up(saved: states.States | None, processes: Processes) -> tuple[dict, dict] | None:
    """The state from which all processes go on, chosen by the first; None to begin anew."""
    if saved is None:
        return None
    found = saved.latest() if processes.rank == 0 else None
    step = parallel.agreed(found[1]["step"] if found else -1, processes)
    if step < 0:
        return None
    return found or saved.at(step)


@contextlib.contextmanager
def watching(
    execution: Execution,
    title: str,
    saved: states.States | None,
    processes: Processes,
    sample: Callable[[], Sample | None] = lambda: None,
) -> Iterator[Callable[[training.State], None]]:
    """What looks after a training: its progress shown, the threads, its states on disk."""
    threads = Threads(execution.threads)
    wanted = execution.progress and processes.rank == 0
    with shown(wanted, title, sample, logged=execution.keeps) as show:

        def watch(state: training.State) -> None:
            show(state)
            threads.look()
            if saved is not None and processes.rank == 0 and saved.due(state):
                saved.save(state)

        try:
            yield watch
        except training.NotFinite as error:
            last = states.files(saved.folder)[-1:] if saved else []
            where = f"the last good state is {last[0]}" if last else "no state was saved before it"
            raise training.NotFinite(f"{error}; {where}") from error


def measure(
    model: nn.Module,
    experiment: Experiment,
    splits: Splits,
    device: torch.device,
    found: Found,
) -> None:
    """Add all measures to what was found, and the rows per image."""
    if hasattr(model, "reconstruct"):
        found.images = pd.concat(reconstructed(model, experiment, splits, device))
        found.images = found.images.reset_index(drop=True)
        add(found.metrics, evaluate.summarise(found.images))
        found.images = records.rounded(found.images)
    if experiment.probe and hasattr(model, "embed"):
        fewer = splits | {"train": splits["train"].some(experiment.probe_images)}
        probed = evaluate.probe(model, fewer, device)
        add(found.metrics, probed.metrics)
        found.warnings += probed.warnings


def reconstructed(
    model: nn.Module, experiment: Experiment, splits: Splits, device: torch.device
) -> list[pd.DataFrame]:
    """The measures of every image under every test mask, on validation and test."""
    frames = []
    for split in ("validation", "test"):
        images = splits[split].some(experiment.evaluate_images).images
        for mask in experiment.test_masks:
            frames.append(evaluate.per_image(model, images, mask, split, model.space.shape, device))
    return frames


def add(metrics: evaluate.Metrics, more: evaluate.Metrics) -> None:
    """Measures beside those there are."""
    for split, measures in more.items():
        metrics.setdefault(split, {}).update(measures)


def keep_weights(
    model: nn.Module,
    experiment: Experiment,
    execution: Execution,
    splits: Splits,
    processes: Processes,
) -> None:
    """Weights on disk, where a later call or another process will want them."""
    if experiment.family.trained and (execution.keeps or processes.size > 1):
        file = weights_file(experiment, execution)
        about = {"key": experiment.key, "data": sums_of(splits)}
        states.save(file, model.state_dict(), about)


def weights_file(experiment: Experiment, execution: Execution) -> Path:
    return execution.checkpoints(experiment.key) / "model.safetensors"


def write_record(
    model: nn.Module,
    experiment: Experiment,
    execution: Execution,
    splits: Splits,
    found: Found,
    origin: dict[str, Any],
) -> records.Record:
    """The record, as the last act of a run: after it only the record and the weights remain."""
    record = records.Record(
        key=experiment.key,
        scale=execution.scale,
        notebook=execution.notebook,
        parameters=experiment.parameters(),
        components=experiment.components(),
        data=records.DataRecord(**provenance.of_data(experiment, splits)),
        model=records.ModelRecord(**provenance.of_model(model, experiment)),
        metrics=found.metrics,
        history=found.history,
        warnings=found.warnings,
        sheet=found.on_sheet,
        provenance=records.Provenance(**origin),
    )
    record = records.write(record, found.images, execution.results, found.sheet)
    place = execution.checkpoints(record.key)
    for folder in (place, *place.glob("*/")):
        states.drop(folder)
    return record


def finished(experiment: Experiment, execution: Execution, need_model: bool) -> Run | None:
    """A finished run from disk, None where there is none to be trusted; a damaged one is named.

    Raises OtherData where it was made from other data than lies here; one that came with the code
    is then left aside.
    """
    if not execution.keeps or execution.rerun:
        return None
    for shelf in execution.shelves:
        file = records.find(shelf, experiment.key)
        if file is None:
            continue
        try:
            return reread(file, experiment, execution, need_model)
        except records.DamagedRecord as error:
            warnings.warn(f"{error}; it is run again now", stacklevel=3)
        except OtherData:
            if shelf == execution.results:
                raise
            warnings.warn(ANEW, stacklevel=3)
    return None


def reread(file: Path, experiment: Experiment, execution: Execution, need_model: bool) -> Run:
    """A finished run from disk, with its weights and data where they are at hand.

    need_model   whether a baseline is fitted again
    """
    record = records.read(file)
    images = records.read_images(file, record)
    kept = read_sheet(file, record)
    try:
        splits = load_splits(experiment, execution)
    except DataError:
        return Run(record, None, images, None, kept)
    check_data(record, splits)
    if experiment.family.trained:
        model = known_model(experiment, execution, splits)
    else:
        model = fitted(experiment, splits) if need_model else None
    return Run(record, model, images, splits, kept)


def fitted(experiment: Experiment, splits: Splits) -> nn.Module:
    """A baseline that knows the training images."""
    model = new_model(experiment, splits)
    model.fit(unit_range(splits["train"].images))
    return model


def known_model(experiment: Experiment, execution: Execution, splits: Splits) -> nn.Module | None:
    """The model of a finished training with its weights.

    None where they are gone, or come from other data: a rerun that was killed before its record.
    """
    file = weights_file(experiment, execution)
    if not file.exists():
        return None
    try:
        tensors, about = states.load(file)
    except states.DamagedCheckpoint as error:
        warnings.warn(f"{error}", stacklevel=2)
        return None
    if about.get("data") != sums_of(splits):
        return None
    model = new_model(experiment, splits)
    model.load_state_dict(tensors)
    return model


def check_data(record: records.Record, splits: Splits) -> None:
    """Raises OtherData where the data at hand is not what the record was made from."""
    here = {split: images.sha256 for split, images in splits.items()}
    if here != record.data.sha256:
        raise OtherData(
            f"record {record.name} was made from other data than lies here (variant "
            f"{record.data.variant}, here {splits['train'].variant}): use another output folder, "
            "or rerun=True to replace the record"
        )


def note(record: records.Record) -> None:
    """Tell a sweep which records its run made or read (see `guard`)."""
    if os.environ.get(LEDGER):
        with Path(os.environ[LEDGER]).open("a") as ledger:
            ledger.write(f"{record.scale}/{record.name}.json\n")
