"""Tables of a notebook's runs: what it shows of records comes through here.

Every table says over how many images it is, after how many epochs, and of which variant of the
data. What is said of a reconstruction is said of the completed image, visible pixels pasted,
but for what is called raw. Tables of committed records are made by engine/publish.py.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.run.records import Record
from lib.statistics import t_interval

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


def row(
    record: Record, mask: str, split: str = "test", measures: Iterable[str] = RECONSTRUCTION
) -> dict[str, Any]:
    """Titles and values of one record: its epochs, its measures under a mask, and of how many."""
    found = record.metrics.get(split, {})
    names = {RECONSTRUCTION[name]: f"{mask}/{name}" for name in measures}
    names |= {title: name for name, title in FEATURES.items()}
    values = {title: found[name].value for title, name in names.items() if name in found}
    counts = [found[name].n for name in names.values() if name in found]
    epochs = record.parameters["recipe"]["epochs"]
    return {"epochs": epochs, "n": next(iter(counts), 0)} | values


def comparison(
    runs: dict[str, "Run"], mask: str, split: str = "test", measures: Iterable[str] = RECONSTRUCTION
) -> pd.DataFrame:
    """A row per run under one test mask; the table's name says on which data."""
    rows = {label: row(run.record, mask, split, measures) for label, run in runs.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").dropna(axis=1, how="all")
    variants = sorted({run.record.data.variant for run in runs.values()})
    return table.round(3).rename_axis(f"{', '.join(variants)}, {mask}")


def accuracies(record: Record, split: str = "test") -> dict[float, float | None]:
    """Accuracy of a classifier by the share of the labels that it was given."""
    found = {}
    for name, measure in record.metrics[split].items():
        what, _, share = name.partition("@")
        if what == "accuracy":
            found[float(share)] = measure.value
    return found


def over_seeds(runs: list["Run"], name: str, split: str = "test") -> tuple[float, float]:
    """Mean of a measure over runs that differ in their seed, and the half-width of its interval."""
    return t_interval([run.value(name, split) for run in runs])
