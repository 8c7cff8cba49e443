"""What the engine costs over bare papermill: `python -m benchmarks.engine`.

The same 18 quick runs (the sweep `masking` at the quick scale, where nothing is read from disk),
as many at a time as there are cores, one thread each: once as papermill commands from a pool,
once as a sweep with planning, Snakemake, guards and the final table. Prints the ratio and writes
reports/tables/engine.json. Run it on an idle machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import yaml

from engine import snakemake, sweep
from engine.cells import Cell
from lib.files import NOTEBOOKS, REPORTS, ROOT, write_json
from lib.machine import describe
from lib.run import provenance

CODE = ("lib", "engine", "notebooks")
TABLE = REPORTS / "tables" / "engine.json"


def quick(name: str) -> dict:
    """A sweep's file at the quick scale."""
    asked = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text())
    asked["parameters"]["scale"] = "quick"
    return asked


def checkout(place: Path) -> Path:
    """This code with the sweep at the quick scale, in a folder of its own."""
    for folder in CODE:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", place)
    (place / "sweeps").mkdir()
    (place / "sweeps" / "masking.yaml").write_text(yaml.safe_dump(quick("masking")))
    return place


def bare(cells: list[Cell], place: Path) -> float:
    """Seconds of the runs as papermill commands."""

    def run(cell: Cell) -> None:
        file = place / f"{cell.key}.yaml"
        own = {"execution": {"output": str(place / "bare")}}
        file.write_text(yaml.safe_dump(cell.parameters | own))
        words = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "04_masking_strategies.ipynb")]
        words += [str(place / f"{cell.key}.ipynb"), "-f", str(file)]
        words += ["--no-progress-bar", "--log-level", "ERROR"]
        subprocess.run(words, check=True, env=surroundings(place))

    began = time.monotonic()
    with ThreadPoolExecutor(snakemake.cores()) as pool:
        list(pool.map(run, cells))
    return time.monotonic() - began


def swept(place: Path) -> float:
    """Seconds of the same runs as a sweep."""
    command = [sys.executable, "-m", "engine.sweep", "masking"]
    began = time.monotonic()
    subprocess.run(command, cwd=place, check=True, env=surroundings(place), capture_output=True)
    return time.monotonic() - began


def surroundings(place: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(place)}


def main() -> None:
    """Measure both ways, print and write what was found."""
    with tempfile.TemporaryDirectory() as folder:
        place = checkout(Path(folder) / "checkout")
        cells = sweep.plan("masking", sweep.Sweep(**quick("masking")))
        bare(cells[:1], place)  # a warm-up: byte code, files
        seconds = {"bare papermill": round(bare(cells, place), 1), "sweep": round(swept(place), 1)}
    found = {
        "runs": len(cells),
        "seconds": seconds,
        "ratio": round(seconds["sweep"] / seconds["bare papermill"], 3),
        "machine": describe(torch.device("cpu")),
        "commit": provenance.commit()[0],
    }
    print(json.dumps(found, indent=1))
    write_json(TABLE, found)


if __name__ == "__main__":
    main()
