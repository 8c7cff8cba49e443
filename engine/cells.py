"""One cell of a sweep: what it is, whether it is done, and whether that still holds.

A cell is done where its stamp exists: a file named by the cell's key, written by the guard
around its job (lib/run/guard.py) when the job has succeeded; it holds the names of the
records that the cell made or read. A stamp is worth no more than those records. Where one is
gone, damaged or stale, the cell is not done and runs again. Where one was made from other data
than lies here, nothing runs: one table must not mix two sets of images.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.registry import DataError
from lib.files import REPORTS, ROOT, resolve
from lib.run import records, stale
from lib.run.experiment import load_splits
from lib.run.parameters import check
from lib.run.settings import Execution, Experiment
from lib.run.sheets import read_sheet

FOLDER = REPORTS / "sweeps"  # what sweeps make: not committed


class SweepError(ValueError):
    """A sweep that cannot run; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep's grid: one papermill run."""

    key: str  # of what decides the numbers
    label: str  # for readers, such as: latent=8 seed=0
    name: str  # of its executed notebook, a file name
    output: str  # where its records go
    parameters: dict[str, Any]  # what papermill gives to the notebook


def folder_of(name: str) -> Path:
    """Where a sweep's plan, stamps, logs and table lie."""
    return FOLDER / name


def stamp_of(name: str, key: str) -> Path:
    """The file that exists where a cell is done."""
    return folder_of(name) / "done" / f"{key}.json"


def is_done(name: str, cell: Cell) -> bool:
    return stamp_of(name, cell.key).exists()


def made_by(name: str, cell: Cell) -> list[Path]:
    """The record files that a finished cell made or read."""
    stamp = json.loads(stamp_of(name, cell.key).read_text())
    results = resolve(cell.output) / "results"
    return [results / record for record in stamp["records"]]


def drop_broken(name: str, cells: list[Cell], touch: bool = True) -> None:
    """Remove the stamps of cells that cannot be trusted, and say why.

    touch   False: only say it
    """
    checked: dict[Path, str] = {}  # many cells read the same baselines
    for cell in cells:
        if not is_done(name, cell):
            continue
        why = why_broken(name, cell, checked)
        if why:
            print(f"again: {cell.label}: {why}")
            if touch:
                stamp_of(name, cell.key).unlink()


def why_broken(name: str, cell: Cell, checked: dict[Path, str]) -> str:
    """Why a finished cell is not to be trusted; empty where it is. `checked` remembers records."""
    try:
        files = made_by(name, cell)
    except (ValueError, KeyError, TypeError):
        return "its stamp is damaged"
    for file in files:
        if file not in checked:
            checked[file] = broken(file)
        if checked[file]:
            return checked[file]
    return ""


def broken(file: Path) -> str:
    """Why a record is not to be trusted; empty where it is."""
    if not file.exists():
        return f"{file.name} is gone"
    try:
        record = records.read(file)
        records.read_images(file, record)
        read_sheet(file, record)
    except records.DamagedRecord:
        return f"{file.name} is damaged"
    return "; ".join(stale.reasons(record))


def check_data(name: str, notebook: str, cells: list[Cell]) -> None:
    """Compare every split of the data at hand with each record that finished cells made.

    Raises SweepError where they differ.
    """
    here: dict[tuple[Any, ...], dict[str, str]] = {}  # what was asked for -> split -> sum
    for cell in cells:
        if not is_done(name, cell):
            continue
        p = check(notebook, cell.parameters)
        data = p.baseline("mean_fill", patch_size=1)  # stands for all: they read the same images
        asked = (data.dataset, data.image_size, data.subset, p.execution().data_root)
        if asked not in here:
            here[asked] = sums_at_hand(data, p.execution())
        for file in made_by(name, cell):
            if here[asked] and records.read(file).data.sha256 != here[asked]:
                raise changed(name, data.dataset, file)


def sums_at_hand(experiment: Experiment, execution: Execution) -> dict[str, str]:
    """The sum of each split of an experiment's data.

    Nothing where the data is not at hand: what is done can still be read.
    """
    try:
        splits = load_splits(experiment, execution)
    except DataError:
        return {}
    return {split: images.sha256 for split, images in splits.items()}


def changed(name: str, dataset: str, file: Path) -> SweepError:
    """What to say of a record that was made from other data than lies here."""
    folder = folder_of(name).relative_to(ROOT)
    return SweepError(
        f"the data of {dataset[:200]!r} has changed since {file.name} was made from it: "
        f"bring it back, or remove {folder} to run the sweep on what is there now"
    )
