"""A small checkout of its own for tests: this code, tiny notebooks, one sweep. Nothing of it touches the real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib.paths import ROOT

PARAMETERS = "dataset: str = 'digits'\nscale: str = 'quick'\nrerun: bool = False"
CHECK = "from lib import parameters\n\np = parameters.check('01_vanilla_autoencoder', globals())"
RUN = (
    "from lib.experiment import run\n\n"
    "done = run(p.experiment('autoencoder', {'hidden': p.hidden, 'latent': p.latent}), p.execution(), need_model=False)\n"
    "base = run(p.baseline('mean_fill'), p.execution(), need_model=False)"
)
BAD = """
import os, signal, time
if latent == 3:
    os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out
if latent == 4:
    raise ArithmeticError('loss became nan at step 3')
while latent == 5:  # hangs
    time.sleep(1)
"""
TINY = {"subset": 200, "epochs": 3, "hidden": [8], "evaluate_images": 10, "probe_images": 60, "precision": "float32"}
SWEEP = {
    "notebook": "01_vanilla_autoencoder",
    "parameters": TINY,
    "axes": {"latent": [2, 3]},
    "seeds": [0, 1],
    "minutes": 0.1,
    "limit_minutes": 5,
}


def make(place: Path) -> Path:
    """The code and a sweep called `tiny`, without notebooks."""
    for folder in ("lib", "profiles"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Snakefile", "requirements.lock"):
        shutil.copy(ROOT / file, place / file)
    for folder in ("notebooks", "sweeps", "reports"):
        (place / folder).mkdir()
    write_sweep(place, SWEEP)
    return place


def write_sweep(place: Path, sweep: dict, name: str = "tiny") -> None:
    (place / "sweeps" / f"{name}.yaml").write_text(yaml.safe_dump(sweep))


def write_notebook(place: Path, name: str, *sources: str, title: str = "What?") -> Path:
    """A notebook of these code cells, the first tagged as its parameters."""
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    book = new_notebook(cells=[new_markdown_cell(f"# {title}"), *cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, place / "notebooks" / f"{name}.ipynb")
    return place / "notebooks" / f"{name}.ipynb"


def write_tiny_notebook(place: Path, *more: str) -> Path:
    return write_notebook(place, "01_vanilla_autoencoder", PARAMETERS, CHECK, *more, RUN)


def command(place: Path, *arguments: str, **names) -> subprocess.CompletedProcess:
    """`python ARGUMENTS` in the checkout, to its end."""
    return subprocess.run([sys.executable, *arguments], **start_options(place), capture_output=True, text=True, timeout=1800, **names)


def succeeded(place: Path, done: subprocess.CompletedProcess) -> str:
    """What a command printed that must have succeeded; where it has not, all of it and of its logs is shown."""
    logs = "\n".join(f"{log}:\n{log.read_text()}" for log in sorted(place.glob("reports/sweeps/*/logs/*.log")))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    return done.stdout


def start_options(place: Path) -> dict:
    """How a process of the checkout is started."""
    return {"cwd": place, "env": os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}}


def stamps(place: Path, name: str = "tiny") -> dict[str, dict]:
    return {file.stem: json.loads(file.read_text()) for file in sorted((place / "reports" / "sweeps" / name / "done").glob("*.json"))}


def results(place: Path, name: str = "tiny") -> dict[str, str]:
    """What every record of a sweep found: its content less when and where it was made."""
    found = {}
    for file in sorted((place / "reports" / "sweeps" / name / "results" / "standard").glob("*.json")):
        record = json.loads(file.read_text())
        found[file.stem] = json.dumps({k: v for k, v in record.items() if k not in ("provenance", "sha256")}, sort_keys=True)
    return found


def undisturbed(place: Path, sweep: dict) -> dict[str, str]:
    """The same content of the records that the tiny notebook makes in every cell, by plain calls in this process."""
    for latent in sweep["axes"]["latent"]:
        for seed in sweep["seeds"]:
            chosen = {"latent": latent, "seed": seed, "scale": "standard", "threads": 1}
            run_cell({**sweep["parameters"], **chosen, "output": str(place / "reports" / "sweeps" / "tiny")})
    return results(place)


def run_cell(parameters: dict) -> list[str]:
    """What the tiny notebook does under these parameters, in this process; gives the names of its records."""
    from lib.experiment import run
    from lib.parameters import check

    p = check("01_vanilla_autoencoder", parameters)
    asked = [p.experiment("autoencoder", {"hidden": p.hidden, "latent": p.latent}), p.baseline("mean_fill")]
    return [f"{p.scale}/{run(one, p.execution()).record.name}.json" for one in asked]
