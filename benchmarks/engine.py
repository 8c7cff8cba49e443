"""What the engine costs over bare papermill: `python -m benchmarks.engine`.

The same 18 quick runs (the sweep `masking` at the quick scale, where nothing is read
from disk), as many at a time as there are cores, one thread each: once as papermill
commands from a pool, once as a sweep with planning, Snakemake, leashes and the final
table. Prints the ratio and writes reports/tables/engine.json. Run it on an idle machine.
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

from lib import engine, records, sweeps
from lib.files import replace_file
from lib.machine import describe
from lib.paths import NOTEBOOKS, REPORTS, ROOT


def checkout(place: Path) -> Path:
    """This code with the sweep at the quick scale, in a folder of its own."""
    for folder in ("lib", "profiles", "notebooks"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Snakefile", "requirements.lock"):
        shutil.copy(ROOT / file, place / file)
    (place / "sweeps").mkdir()
    plan = yaml.safe_load((ROOT / "sweeps" / "masking.yaml").read_text())
    plan["parameters"]["scale"] = "quick"
    (place / "sweeps" / "masking.yaml").write_text(yaml.safe_dump(plan))
    return place


def bare(cells: list[dict], place: Path) -> float:
    """Seconds of the runs as papermill commands."""

    def run(cell: dict) -> None:
        file = place / f"{cell['key']}.yaml"
        file.write_text(yaml.safe_dump(cell["parameters"] | {"output": str(place / "bare")}))
        words = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "04_masking_strategies.ipynb"), str(place / f"{cell['key']}.ipynb")]
        subprocess.run([*words, "-f", str(file), "--no-progress-bar", "--log-level", "ERROR"], check=True, env=surroundings(place))

    began = time.monotonic()
    with ThreadPoolExecutor(engine.cores()) as pool:
        list(pool.map(run, cells))
    return time.monotonic() - began


def swept(place: Path) -> float:
    """Seconds of the same runs as a sweep."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "lib.sweeps", "masking"], cwd=place, check=True, env=surroundings(place), capture_output=True)
    return time.monotonic() - began


def surroundings(place: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(place)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = checkout(Path(folder) / "checkout")
        cells = sweeps.plan("masking", sweeps.read("masking"), scale="quick")
        bare(cells[:1], place)  # a warm-up: byte code, files
        seconds = {"bare papermill": round(bare(cells, place), 1), "sweep": round(swept(place), 1)}
    ratio = round(seconds["sweep"] / seconds["bare papermill"], 3)
    found = {
        "runs": len(cells),
        "seconds": seconds,
        "ratio": ratio,
        "machine": describe(torch.device("cpu")),
        "commit": records.commit()[0],
    }
    print(json.dumps(found, indent=1))
    replace_file(REPORTS / "tables" / "engine.json", lambda aside: aside.write_text(json.dumps(found, indent=1) + "\n"))


if __name__ == "__main__":
    main()
