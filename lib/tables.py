"""Tables made from runs and records; every number that a figure or a sentence shows comes through here.

`comparison` is for one notebook's runs. `published` condenses committed records: one
row for each configuration and measure, mean over seeds with the half-width of its
95 % interval. Published tables lie in reports/tables, are written by one command
(`python -m lib.publish`) and are checked against the records by a test.
"""

import json
from typing import TYPE_CHECKING

import pandas as pd

from lib.intervals import t_interval
from lib.paths import REPORTS
from lib.records import Record

if TYPE_CHECKING:
    from lib.experiment import Run

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


def row(record: Record, mask: str, split: str = "test", measures: tuple[str, ...] = tuple(MEASURES)) -> dict[str, float | None]:
    """Titles and values of one record under one test mask, and what its features are good for."""
    columns = {MEASURES[name]: f"{mask}/{name}" for name in measures} | {title: name for name, title in FEATURES.items()}
    found = record.metrics.get(split, {})
    return {title: found[name].value if name in found else None for title, name in columns.items()}


def comparison(runs: dict[str, "Run"], mask: str, split: str = "test", measures: tuple[str, ...] = tuple(MEASURES)) -> pd.DataFrame:
    """A row per run under one test mask."""
    rows = {label: row(run.record, mask, split, measures) for label, run in runs.items()}
    return pd.DataFrame(rows).T.astype(float).round(3).dropna(axis=1, how="all")


def over_seeds(runs: list["Run"], name: str, split: str = "test") -> tuple[float, float]:
    """Mean of a measure over runs that differ in their seed, and the half-width of its interval."""
    return t_interval([run.value(name, split) for run in runs])


def published(records: list[Record]) -> pd.DataFrame:
    """One row per configuration, split and measure: mean, half-width, seeds and images.

    Raises ValueError where one seed of a configuration was measured twice: its interval would be too narrow.
    """
    rows = [
        configuration(record) | {"seed": record.parameters["seed"], "split": split, "measure": name, "value": measure.value, "n": measure.n}
        for record in records
        for split, measures in record.metrics.items()
        for name, measure in measures.items()
        if measure.value is not None
    ]
    keys = [name for name in rows[0] if name not in ("value", "n", "seed")] if rows else []
    table = []
    for group, part in pd.DataFrame(rows).groupby(keys, dropna=False, sort=True) if rows else []:
        if part["seed"].duplicated().any():
            raise ValueError(f"one seed was measured twice in {dict(zip(keys, group, strict=True))}: remove one of its records")
        mean, half = t_interval(part["value"].to_numpy())
        found = {"mean": mean, "half_width": half, "seeds": len(part), "n": int(part["n"].iloc[0])}
        table.append(dict(zip(keys, group, strict=True)) | found)
    return pd.DataFrame(table).round({"mean": 4, "half_width": 4})


def read_published(scale: str = "standard") -> pd.DataFrame:
    """The published table of a scale; empty where none has been published."""
    file = REPORTS / "tables" / f"{scale}.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame()


def published_view(measures: dict[str, str], split: str = "test", scale: str = "standard", **rows: object) -> pd.DataFrame:
    """Published means with intervals as text, a row per configuration: `measures` maps names to titles, `rows` select."""
    table = read_published(scale)
    if table.empty:
        return table
    table = table[(table["split"] == split) & table["measure"].isin(measures)]
    for column, wanted in rows.items():
        table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
    table = table.assign(text=[with_interval(*pair) for pair in zip(table["mean"], table["half_width"], strict=True)])
    if table.duplicated(["training", "measure"]).any():
        raise ValueError("two published configurations have the same name: let trained_as tell them apart")
    wide = table.pivot_table(index=["training", "seeds"], columns="measure", values="text", aggfunc="first", sort=False)
    return wide.reindex(columns=[name for name in measures if name in wide]).rename(columns=measures).fillna("").reset_index()


def by_data(measures: dict[str, str], split: str = "test", scale: str = "standard", **rows: object) -> pd.DataFrame:
    """Published views of every data set and every length of training below each other; what needs no training has no length."""
    table = read_published(scale)
    table = table[table["measure"].isin(measures)] if len(table) else table
    parts = []
    for data, epochs in sorted(set(zip(table["data"], table["epochs"], strict=True))) if len(table) else []:
        part = published_view(measures, split, scale, **rows | {"data": data, "epochs": epochs})
        part.insert(0, "data", data)
        part.insert(1, "epochs", str(epochs or ""))
        parts.append(part)
    return pd.concat(parts, ignore_index=True).fillna("") if parts else pd.DataFrame()


def few_labels(scale: str = "standard", split: str = "test") -> pd.DataFrame:
    """Published accuracies after fine-tuning on shares of the labels, a row for each start."""
    table = read_published(scale)
    named = [] if table.empty else sorted({m for m in table["measure"] if m.startswith("finetune_accuracy@")}, key=share_of)
    return by_data({name: f"{100 * share_of(name):g} % of labels" for name in named}, split, scale).drop(columns="epochs", errors="ignore")


def share_of(measure: str) -> float:
    return float(measure.split("@")[1])


def with_interval(mean: float, half_width: float) -> str:
    """A mean and, over several seeds, the half-width of its interval."""
    digits = 2 if abs(mean) >= 2 else 3
    return f"{mean:.{digits}f}" if pd.isna(half_width) else f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def trained_as(label: str, parameters: dict) -> str:
    """How a model was trained, in words; a baseline is its label, and what was classified by it is said."""
    options, recipe, tuned = parameters["options"], parameters["recipe"], parameters.get("fine_tune")
    if "loss_on" not in options:
        return label + (", linear classifier" if tuned and not recipe["epochs"] else "")
    masked = "not masked" if parameters["mask_ratio"] == 0 else f"{parameters['strategy']} {parameters['mask_ratio']:.0%}"
    if tuned:
        return f"pre-trained {recipe['epochs']} epochs, {masked}" if recipe["epochs"] else f"from scratch, {tuned['epochs']} epochs"
    words = [label, masked]
    words += [] if recipe["epochs"] else ["untrained"]
    words += ["normalised target"] if options.get("normalise_target") else []
    return ", ".join(words)


def configuration(record: Record) -> dict[str, object]:
    """What distinguishes one row of a published table from another: the identity without the seed."""
    parameters = record.parameters
    exact = "loss_on" in parameters["options"] and parameters["recipe"]["precision"] == "float32"  # other published runs are in bf16
    rest = {name: value for name, value in parameters.items() if name not in ("seed", "dataset", "model", "test_masks")}
    return {
        "data": record.data.variant,
        "model": record.model.family,
        "training": trained_as(record.model.label, parameters) + (", float32" if exact else ""),
        "strategy": parameters["strategy"],
        "epochs": parameters["recipe"]["epochs"],
        "configuration": json.dumps(rest, sort_keys=True),
    }
