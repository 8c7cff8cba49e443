"""Run the notebooks, each by its own papermill command, and remember what is up to date.

A notebook is run again when it, the code of `lib` or the lock has changed since its
last success; otherwise nothing is done. One that fails does not stop the others: its
executed copy stays, with papermill's red banner, and its error is kept for the page.
"""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.paths import NOTEBOOKS, REPORTS, ROOT
from lib.records import DamagedRecord, read, replace_file

EXECUTED = REPORTS / "notebooks"  # copies, and what they made: apart from a reader's own quick runs


@dataclass(frozen=True)
class Execution:
    """How one notebook went."""

    name: str
    inputs: str  # digest of what it was made from
    seconds: float
    error: str | None  # cell and message, None = success


def inputs_digest(notebook: Path) -> str:
    """One sum over a notebook and all code that it may run."""
    total = hashlib.sha256()
    for file in [notebook, ROOT / "requirements.lock", *sorted((ROOT / "lib").rglob("*.py")), *sorted((REPORTS / "tables").glob("*.csv"))]:
        total.update(file.read_bytes())
    return total.hexdigest()


def status(notebook: Path) -> Execution | None:
    """The last execution of a notebook, None where there is none that can be read."""
    try:
        return Execution(**json.loads((EXECUTED / f"{notebook.stem}.json").read_text()))
    except (OSError, TypeError, ValueError):
        return None


def execute(notebook: Path) -> Execution:
    """Run one notebook unless its last success is up to date; prints the command and the time."""
    digest, last = inputs_digest(notebook), status(notebook)
    copy = EXECUTED / notebook.name
    if last and last.error is None and last.inputs == digest and copy.exists():
        print(f"{notebook.name}: up to date ({last.seconds:.0f} s when it ran)", flush=True)
        return last
    clear(notebook.stem)
    papermill = [str(Path(sys.executable).with_name("papermill")), str(notebook), str(copy), "--no-progress-bar", "--log-level", "ERROR"]
    papermill += ["-p", "output", str(EXECUTED.relative_to(ROOT))]
    print("papermill", notebook.relative_to(ROOT), copy.relative_to(ROOT), end=" ... ", flush=True)
    began = time.monotonic()
    done = subprocess.run(papermill, cwd=ROOT, capture_output=True, text=True)
    error = None if done.returncode == 0 else what_failed(copy, done.stderr)
    found = Execution(notebook.stem, digest, round(time.monotonic() - began, 1), error)
    replace_file(EXECUTED / f"{notebook.stem}.json", lambda aside: aside.write_text(json.dumps(asdict(found)) + "\n"))
    print(f"{found.seconds:.0f} s" if found.error is None else f"FAILED after {found.seconds:.0f} s\n{found.error}", flush=True)
    return found


def clear(name: str) -> None:
    """Remove what an earlier execution of a notebook has made, so that a page never mixes two."""
    EXECUTED.mkdir(parents=True, exist_ok=True)
    for file in (EXECUTED / "figures" / "quick").glob(f"{name[:2]}-*"):
        file.unlink()
    for file in (EXECUTED / "results" / "quick").glob("*.json"):
        try:
            own = read(file).notebook == name
        except DamagedRecord:
            own = True
        if own:
            file.unlink()
            file.with_suffix(".parquet").unlink(missing_ok=True)


def what_failed(copy: Path, output: str) -> str:
    """The cell and the error of a failed notebook, or the end of what papermill said."""
    import nbformat

    try:
        cells = nbformat.read(copy, as_version=4).cells
    except (OSError, ValueError):
        return output[-2000:]
    own = [cell for cell in cells if not {"papermill-error-cell-tag", "injected-parameters"} & set(cell.metadata.get("tags", []))]
    for number, cell in enumerate(own):
        for error in (o for o in cell.get("outputs", []) if o.output_type == "error"):
            return f"cell {number} ({cell.id}): {error.ename}: {error.evalue}"
    return output[-2000:]


def all_notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
