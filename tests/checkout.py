"""A small checkout of its own for tests: this code, tiny notebooks, one sweep.

Nothing of it touches the real one: processes are started in it with its path first.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib.files import ROOT
from lib.run import parameters
from lib.run.experiment import run

NOTEBOOK = "01_vanilla_autoencoder"
PARAMETERS = """
dataset: str = "digits"
subset: int = 200
patch_size: int = 2
mask_ratio: float = 0.75
epochs: int = 3
precision: str = "float32"
hidden: list = [8]
latent: int = 2
evaluate_images: int = 10
probe_images: int = 60
seed: int = 0
scale: str = "quick"
options: dict = {"autoencoder": {}}
recipe: dict = {}
experiment: dict = {}
execution: dict = {}
""".strip()
CHECK = f"from lib.run.parameters import check\n\np = check({NOTEBOOK!r}, globals())"
RUN = """
from lib.run.experiment import run

done = run(p.experiment("autoencoder"), p.execution(), need_model=False)
base = run(p.baseline("mean_fill"), p.execution(), need_model=False)
""".strip()
BAD = """
import os, signal, time
if latent == 3:
    os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out
if latent == 4:
    raise ArithmeticError("loss became nan at step 3")
while latent == 5:  # hangs
    time.sleep(1)
"""
TINY = {"subset": 200, "epochs": 3, "hidden": [8]}
SWEEP = {
    "notebook": NOTEBOOK,
    "parameters": TINY,
    "axes": {"latent": [2, 3]},
    "seeds": [0, 1],
    "minutes": 0.1,
    "limit_minutes": 5,
}
CODE = ("lib", "engine")


def make(place: Path) -> Path:
    """The code and a sweep called `tiny`, without notebooks."""
    for folder in CODE:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.lock", "REFERENCES.md", "CITATION.cff"):
        shutil.copy(ROOT / name, place)
    for folder in ("notebooks", "sweeps", "reports"):
        (place / folder).mkdir()
    write_sweep(place, SWEEP)
    return place


def write_sweep(place: Path, sweep: dict, name: str = "tiny") -> None:
    (place / "sweeps").mkdir(exist_ok=True)
    (place / "sweeps" / f"{name}.yaml").write_text(yaml.safe_dump(sweep))


def write_notebook(place: Path, name: str, *sources: str, title: str = "What?") -> Path:
    """A notebook of these code cells, the first tagged as its parameters."""
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    book = new_notebook(cells=[new_markdown_cell(f"# {title}"), *cells])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata["kernelspec"] = kernel
    file = place / "notebooks" / f"{name}.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, file)
    return file


def write_tiny_notebook(place: Path, *more: str) -> Path:
    """The notebook of the sweep `tiny`: one small autoencoder and a baseline."""
    return write_notebook(place, NOTEBOOK, PARAMETERS, CHECK, *more, RUN)


def command(place: Path, *arguments: str, **names) -> subprocess.CompletedProcess:
    """`python ARGUMENTS` in the checkout, to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        **start_options(place),
        capture_output=True,
        text=True,
        timeout=1800,
        **names,
    )


def succeeded(place: Path, done: subprocess.CompletedProcess) -> str:
    """What a command printed that must have succeeded; else all of it and of its logs is shown."""
    logs = [
        f"{log}:\n{log.read_text()}" for log in sorted(place.glob("reports/sweeps/*/logs/*.log"))
    ]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
    return done.stdout


def start_options(place: Path) -> dict:
    """How a process of the checkout is started."""
    return {"cwd": place, "env": os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}}


def stamps(place: Path, name: str = "tiny") -> dict[str, dict]:
    """What the stamps of a sweep's finished cells hold, by key."""
    done = sorted((place / "reports" / "sweeps" / name / "done").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in done}


def results(place: Path, name: str = "tiny") -> dict[str, str]:
    """What every record of a sweep found: its content less when and where it was made."""
    kept = place / "reports" / "sweeps" / name / "results" / "standard"
    found = {}
    for file in sorted(kept.glob("*.json")):
        record = json.loads(file.read_text())
        for circumstance in ("provenance", "sha256"):
            record.pop(circumstance)
        found[file.stem] = json.dumps(record, sort_keys=True)
    return found


def undisturbed(place: Path, sweep: dict) -> dict[str, str]:
    """The same content of the records that the tiny notebook makes in every cell.

    They are made by plain calls in this process.
    """
    output = str(place / "reports" / "sweeps" / "tiny")
    for latent in sweep["axes"]["latent"]:
        for seed in sweep["seeds"]:
            chosen = {"latent": latent, "seed": seed, "scale": "standard"}
            execution = {"output": output, "threads": 1}
            run_cell({**sweep["parameters"], **chosen, "execution": execution}, place)
    return results(place)


def run_cell(given: dict, place: Path) -> list[str]:
    """What the tiny notebook does under these parameters; gives the names of its records."""
    write_tiny_notebook(place)
    with notebooks_of(place):
        p = parameters.check(NOTEBOOK, given)
    asked = [p.experiment("autoencoder"), p.baseline("mean_fill")]
    return [f"{p.scale}/{run(one, p.execution()).record.name}.json" for one in asked]


def notebooks_of(place: Path):
    """A context in which this process reads the notebooks of a checkout."""
    return mock.patch.object(parameters, "NOTEBOOKS", place / "notebooks")
