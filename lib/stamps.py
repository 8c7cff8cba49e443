"""What of a sweep is done: a stamp for each finished cell, and whether it still holds.

A stamp is a file named by its cell's key, written by the leash when the cell has
succeeded; it holds the names of the records that the cell made or read. It is worth no
more than those records: where one is gone, damaged, stale, or of other data, the
cell is not done.
"""

import json
from pathlib import Path
from typing import Any

from lib import records
from lib.paths import REPORTS, ROOT, resolve

FOLDER = REPORTS / "sweeps"  # what sweeps make: not committed


class SweepError(ValueError):
    """A sweep that cannot run; the message says why."""


def folder_of(name: str) -> Path:
    return FOLDER / name


def stamp_of(name: str, key: str) -> Path:
    return folder_of(name) / "done" / f"{key}.json"


def made_by(name: str, cell: dict[str, Any]) -> list[Path]:
    """The record files that a finished cell made or read."""
    results = resolve(cell["parameters"]["output"]) / "results"
    return [results / record for record in json.loads(stamp_of(name, cell["key"]).read_text())["records"]]


def drop_broken(name: str, cells: list[dict[str, Any]], touch: bool = True) -> None:
    """Remove the stamps of cells whose records can no longer be trusted, and say why; only say it without `touch`."""
    checked: dict[Path, str] = {}
    for cell in cells:
        stamp = stamp_of(name, cell["key"])
        if not stamp.exists():
            continue
        try:
            files = made_by(name, cell)
        except (ValueError, KeyError, TypeError):
            files, why = [], "its stamp is damaged"
        else:
            why = ""
        for file in files:
            if file not in checked:
                checked[file] = broken(file)
            why = why or checked[file]
        if why:
            print(f"again: {cell['label']}: {why}")
            if touch:
                stamp.unlink()


def check_data(name: str, notebook: str, cells: list[dict[str, Any]]) -> None:
    """Raises SweepError where the data at hand is not what finished cells were made from: a table must not mix two."""
    from lib.data import DataError
    from lib.experiment import load_splits
    from lib.parameters import check

    here: dict[str, dict[str, str]] = {}
    for cell in (cell for cell in cells if stamp_of(name, cell["key"]).exists()):
        p = check(notebook, cell["parameters"])
        asked = json.dumps([p.dataset, p.image_size, p.subset, p.data_root])
        if asked not in here:
            try:
                splits = load_splits(p.experiment("mean_fill", patch_size=1), p.execution())
            except DataError:  # not at hand: what is done can still be read
                splits = {}
            here[asked] = {split: images.sha256 for split, images in splits.items()}
        for file in made_by(name, cell):
            if here[asked] and records.read(file).data.sha256 != here[asked]:
                raise SweepError(
                    f"the data of {p.dataset!r} has changed since {file.name} was made from it: bring it back, "
                    f"or remove {folder_of(name).relative_to(ROOT)} to run the sweep on what is there now"
                )


def broken(file: Path) -> str:
    """Why a record is not to be trusted; empty where it is."""
    from lib import stale

    if not file.exists():
        return f"{file.name} is gone"
    try:
        record = records.read(file)
        records.read_images(file, record)
    except records.DamagedRecord:
        return f"{file.name} is damaged"
    return "; ".join(stale.reasons(record))
