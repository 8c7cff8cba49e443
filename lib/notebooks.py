"""The executed notebooks behind the report page: where they lie, and how each went.

A notebook is run again when it, the code of `lib`, a published table or the lock has
changed since its last success: its stamp is named by a digest of all of them. One that
fails does not stop the others: its executed copy stays, with papermill's red banner,
and its error is shown on the page. `report.smk` holds the rules.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lib.paths import NOTEBOOKS, REPORTS, ROOT

EXECUTED = REPORTS / "notebooks"  # copies, and in a folder each what they made: apart from a reader's own quick runs


@dataclass(frozen=True)
class Outcome:
    """How one notebook went."""

    name: str
    seconds: float
    error: str | None  # cell and message, None = success


def all_notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def stamp_of(notebook: Path) -> Path:
    """The file that exists where a notebook's last success is up to date."""
    total = hashlib.sha256()
    tables = [REPORTS / "tables" / f"{scale}.csv" for scale in ("standard", "full")]
    for file in [notebook, ROOT / "requirements.lock", *sorted((ROOT / "lib").rglob("*.py")), *tables]:
        total.update(file.read_bytes() if file.exists() else b"")
    return EXECUTED / "done" / f"{notebook.stem}-{total.hexdigest()[:16]}.json"


def outcome(notebook: Path) -> Outcome:
    """How the run of today's notebook went."""
    stamp = stamp_of(notebook)
    if stamp.exists():
        return Outcome(notebook.stem, json.loads(stamp.read_text())["seconds"], None)
    failed = stamp.with_name(f"{stamp.name}.failed")
    if not failed.exists():
        return Outcome(notebook.stem, 0.0, "it has not been run: make report")
    about = json.loads(failed.read_text())
    return Outcome(notebook.stem, about["seconds"], what_failed(EXECUTED / notebook.name) or about["reason"])


def what_failed(copy: Path) -> str | None:
    """The cell and the error of a failed notebook."""
    import nbformat

    try:
        cells = nbformat.read(copy, as_version=4).cells
    except (OSError, ValueError):
        return None
    own = [cell for cell in cells if not {"papermill-error-cell-tag", "injected-parameters"} & set(cell.metadata.get("tags", []))]
    for number, cell in enumerate(own):
        for error in (o for o in cell.get("outputs", []) if o.output_type == "error"):
            return f"cell {number} ({cell.id}): {error.ename}: {error.evalue}"
    return None
