"""Tables of a notebook's runs: what it shows of records comes through here.

Every table says over how many images it is, after how many epochs, and of which variant of the
data. What is said of a reconstruction is said of the completed image, visible pixels pasted,
but for what is called raw. Tables of committed records are made by engine/publish.py.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.run.records import Measure, Record
from lib.statistics import share_interval, t_interval

if TYPE_CHECKING:
    from lib.run.experiment import Run

RECONSTRUCTION = {
    "psnr_hidden": "PSNR hidden [dB]",
    "psnr_visible": "PSNR visible, raw [dB]",
    "psnr_all": "PSNR all [dB]",
    "ssim_hidden": "SSIM hidden",
    "ssim_all": "SSIM all",
    "raw_ssim_all": "SSIM all, raw",
}
FEATURES = {"probe_accuracy": "linear probe", "knn_accuracy": "k-NN"}


def row(record: Record, mask: str) -> dict[str, Any]:
    """Titles and values of one record: its epochs, its measures under a mask, and of how many."""
    found = record.metrics.get("test", {})
    names = {title: f"{mask}/{name}" for name, title in RECONSTRUCTION.items()}
    names |= {title: name for name, title in FEATURES.items()}
    values = {title: found[name].value for title, name in names.items() if name in found}
    counts = [found[name].n for name in names.values() if name in found]
    epochs = record.parameters["recipe"]["epochs"]
    return {"epochs": epochs, "n": next(iter(counts), 0)} | values


def comparison(runs: dict[str, "Run"], mask: str) -> pd.DataFrame:
    """A row per run under one test mask; the table's name says on which data."""
    rows = {label: row(run.record, mask) for label, run in runs.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").dropna(axis=1, how="all")
    variants = sorted({run.record.data.variant for run in runs.values()})
    return table.round(3).rename_axis(f"{', '.join(variants)}, {mask}")


def accuracies(record: Record) -> dict[float, float | None]:
    """Accuracy of a classifier by the share of the labels that it was given."""
    found = {}
    for name, measure in record.metrics["test"].items():
        what, _, share = name.partition("@")
        if what == "accuracy":
            found[float(share)] = measure.value
    return found


def over_seeds(runs: list["Run"], name: str) -> tuple[float, float]:
    """Mean of a measure over runs that differ in their seed, and the half-width of its interval."""
    return t_interval([run.value(name) for run in runs])


def shares(runs: dict[str, "Run"], name: str) -> dict[str, tuple[float | None, float]]:
    """An accuracy on test images and half of its 95 % interval over them, of runs that have it.

    None and NaN where it is not defined, as without labels.
    """
    measured = {label: run.record.metrics["test"].get(name) for label, run in runs.items()}
    return {label: share(one) for label, one in measured.items() if one is not None}


def averaged(runs: list["Run"]) -> "Run":
    """The first of runs that differ in their seed, its measures the means over all of them.

    What not all have is left out, and what is not defined for one is not defined.
    """
    first = runs[0]
    found = {
        split: {
            name: mean_of([run.record.metrics[split][name] for run in runs])
            for name in measures
            if all(name in run.record.metrics[split] for run in runs)
        }
        for split, measures in first.record.metrics.items()
    }
    return replace(first, record=first.record.model_copy(update={"metrics": found}))


def mean_of(measures: list[Measure]) -> Measure:
    """One measure over seeds, of as many images."""
    values = [one.value for one in measures]
    mean = None if None in values else sum(values) / len(values)
    return measures[0].model_copy(update={"value": mean})


def share(measure: Measure) -> tuple[float | None, float]:
    """A share of images, with half of its 95 % interval."""
    if measure.value is None:
        return None, math.nan
    return measure.value, share_interval(measure.value, measure.n)
