"""The executed notebooks behind the report page: where they lie, and how each went.

A notebook is run again when it, the code of `lib`, a record, weights or the lock has changed
since its last success: its stamp is named by a digest of all of them. One that fails does not
stop the others: its executed copy stays, with papermill's red banner, and its error is shown
on the page. `Snakefile` holds the rules.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lib.files import NOTEBOOKS, REPORTS, ROOT

# Executed copies, and in a folder each what they made: apart from a reader's own quick runs.
EXECUTED = REPORTS / "notebooks"
PAPERMILLS_OWN = {"papermill-error-cell-tag", "injected-parameters"}  # tags of cells it adds


@dataclass(frozen=True)
class Outcome:
    """How one notebook went."""

    name: str
    seconds: float
    error: str | None  # cell and message, None = success
    records: tuple[str, ...] = ()  # that it made or read, as SCALE/NAME.json


def all_notebooks() -> list[Path]:
    """The study's notebooks, in order."""
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def stamp_of(notebook: Path) -> Path:
    """The file that exists where a notebook's last success is up to date."""
    lib = ROOT / "lib"
    code = [*lib.rglob("*.py"), *lib.glob("weights/*/model.safetensors")]
    read = (REPORTS / "results" / "standard").glob("*.json")  # each knows the sums of its files
    digest = hashlib.sha256()
    for file in [notebook, ROOT / "requirements.lock", *sorted(code), *sorted(read)]:
        digest.update(file.name.encode() + file.read_bytes())
    return EXECUTED / "done" / f"{notebook.stem}-{digest.hexdigest()[:16]}.json"


def outcome(notebook: Path) -> Outcome:
    """How the run of today's notebook went."""
    stamp = stamp_of(notebook)
    if stamp.exists():
        about = json.loads(stamp.read_text())
        return Outcome(notebook.stem, about["seconds"], None, tuple(about["records"]))
    failed = stamp.with_name(f"{stamp.name}.failed")
    if not failed.exists():
        return Outcome(notebook.stem, 0.0, "it has not been run: make report")
    about = json.loads(failed.read_text())
    why = what_failed(EXECUTED / notebook.name) or about["reason"]
    return Outcome(notebook.stem, about["seconds"], why)


def what_failed(copy: Path) -> str | None:
    """The cell and the error of a failed notebook; None where its copy tells nothing."""
    import nbformat  # here: Snakemake reads this file in every job, and needs it in none

    try:
        cells = nbformat.read(copy, as_version=4).cells
    except (OSError, ValueError):
        return None
    own = [cell for cell in cells if not PAPERMILLS_OWN & set(cell.metadata.get("tags", []))]
    for number, cell in enumerate(own):
        for said in cell.get("outputs", []):
            if said.output_type == "error":
                return f"cell {number} ({cell.id}): {said.ename}: {said.evalue}"
    return None
