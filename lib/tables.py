"""Tables made from runs and records; every number that a figure or a sentence shows comes through here.

`comparison` is for one notebook's runs. `published` condenses committed records: one
row for each configuration and measure, mean over seeds with the half-width of its
95 % interval. Published tables lie in reports/tables, are written by one command
(`python -m lib.publish`) and are checked against the records by a test.
"""

import pandas as pd

from lib.experiment import Run
from lib.intervals import t_interval
from lib.records import Record

MEASURES = {
    "psnr_hidden": "PSNR hidden [dB]",
    "psnr_visible": "PSNR visible [dB]",
    "psnr_all": "PSNR all [dB]",
    "ssim_hidden": "SSIM hidden",
    "ssim_visible": "SSIM visible",
    "ssim_all": "SSIM all",
    "pasted_ssim_hidden": "SSIM hidden, pasted",
}
FEATURES = {"probe_accuracy": "linear probe", "knn_accuracy": "k-NN"}


def comparison(runs: dict[str, Run], mask: str, split: str = "test", measures: tuple[str, ...] = tuple(MEASURES)) -> pd.DataFrame:
    """A row per run: reconstruction under one test mask, and what its features are good for."""
    columns = {MEASURES[name]: f"{mask}/{name}" for name in measures} | {title: name for name, title in FEATURES.items()}
    rows = {}
    for label, run in runs.items():
        found = run.record.metrics.get(split, {})
        rows[label] = {title: found[name].value if name in found else None for title, name in columns.items()}
    return pd.DataFrame(rows).T.astype(float).round(3).dropna(axis=1, how="all")


def over_seeds(runs: list[Run], name: str, split: str = "test") -> tuple[float, float]:
    """Mean of a measure over runs that differ in their seed, and the half-width of its interval."""
    return t_interval([run.value(name, split) for run in runs])


def published(records: list[Record]) -> pd.DataFrame:
    """One row per configuration, split and measure: mean, half-width, seeds and images."""
    rows = [
        configuration(record) | {"split": split, "measure": name, "value": measure.value, "n": measure.n}
        for record in records
        for split, measures in record.metrics.items()
        for name, measure in measures.items()
        if measure.value is not None
    ]
    keys = [name for name in rows[0] if name not in ("value", "n")] if rows else []
    table = []
    for group, part in pd.DataFrame(rows).groupby(keys, dropna=False, sort=True) if rows else []:
        mean, half = t_interval(part["value"].to_numpy())
        table.append(
            dict(zip(keys, group, strict=True)) | {"mean": mean, "half_width": half, "seeds": len(part), "n": int(part["n"].iloc[0])}
        )
    return pd.DataFrame(table).round({"mean": 4, "half_width": 4})


def configuration(record: Record) -> dict[str, object]:
    """What distinguishes one row of a published table from another: identity without the seed."""
    parameters, options = record.parameters, record.parameters["options"]
    return {
        "data": record.data.variant,
        "image_size": parameters["image_size"],
        "patch_size": parameters["patch_size"],
        "model": record.model.family,
        "label": record.model.label,
        "strategy": parameters["strategy"],
        "mask_ratio": parameters["mask_ratio"],
        "loss_on": options.get("loss_on", "none"),
        "epochs": parameters["recipe"]["epochs"],
    }
