"""How much room the notebooks' claims have: `make steady` (an hour or two on two cores).

Runs every notebook that trains under several seeds, and under one seed as other machines would
compute it: with fewer of the processor's vector instructions, in float32 and bf16, with one thread
and two.
Prints a line for each claim: its bound, the values over seeds, the values over machines, and the
smallest room. A claim is *red* where it fails anywhere, *near* where the smallest room is less
than the spread of its values. A finished variant is kept in data/steady and not run again while
notebook and code are what they were; the table goes to reports/tables/steady.csv, and what this
processor cannot run, or was not run, to steady.json beside it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from engine.notebooks import stamp_of
from lib.data.registry import find
from lib.files import DATA, NOTEBOOKS, REPORTS, ROOT, replace_file, write_json
from lib.machine import describe
from lib.run import claims, provenance
from lib.run.parameters import defaults, notebooks

KEPT = DATA / "steady"
TABLE = REPORTS / "tables" / "steady.csv"
# What the processor must have, and what torch, oneDNN and MKL are told.
PROCESSORS = {
    "SSE4.1": (
        "sse4_1",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        },
    ),
    "AVX2": (
        "avx512f",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
    ),
    "AVX-512": (
        "avx512_bf16",
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    ),
    "as it is": ("", {}),
}


@dataclass(frozen=True)
class Variant:
    """One way to run a notebook."""

    seed: int = 0  # 0 = as declared, then others
    processor: str = "as it is"
    precision: str = "float32"
    threads: int = 1

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"seed {self.seed}, {self.processor}, {self.precision}, {threads}"

    def parameters(self, notebook: str, output: str) -> dict[str, Any]:
        """What the notebook is given; one that runs several seeds gets as many others."""
        declared = defaults(notebook)
        given: dict[str, Any] = {
            "recipe": declared.get("recipe", {}) | {"precision": self.precision},
            "execution": {"threads": self.threads, "output": output},
        }
        if self.seed and "seed" in declared:
            given["seed"] = declared["seed"] + self.seed
        elif self.seed:
            own = declared["seeds"]
            given["seeds"] = [seed + self.seed * len(own) for seed in own]
        return given

    def kept(self, notebook: str) -> Path:
        """Where its claims are kept: beside others of the same notebook and code."""
        stamp = stamp_of(NOTEBOOKS / f"{notebook}.ipynb").stem
        return KEPT / stamp / f"{self.name}.json"


def run(notebook: str, variant: Variant) -> str:
    """Run one notebook, keep its claims, and say how it went."""
    file = variant.kept(notebook)
    if file.exists():
        return "kept"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb"]
        command += [f"{folder}/out.ipynb", "--no-progress-bar"]
        for name, value in variant.parameters(notebook, folder).items():
            command += ["-y", f"{name}: {json.dumps(value)}"]
        environment = os.environ | PROCESSORS[variant.processor][1]
        environment |= {claims.NEVER_FAIL: "1", "OMP_NUM_THREADS": str(variant.threads)}
        with log.open("w") as said:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        if done.returncode:
            return f"FAILED: {log.read_text().strip().splitlines()[-1]}"
        made = claims.file_of(folder, "quick", notebook)
        replace_file(file, lambda aside: shutil.copy(made, aside))
    return "done"


def variants(seeds: int) -> list[Variant]:
    """Those that this processor can run."""
    machines = [
        Variant(0, name, precision, threads)
        for name in reversed(here())
        for precision in ("float32", "bf16")
        for threads in (1, 2)
    ]
    return [Variant(seed) for seed in range(1, seeds)] + machines


def here() -> list[str]:
    """The processors that this one can be."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return [name for name, (needed, _) in PROCESSORS.items() if f" {needed}" in f" {flags}"]


def table(names: list[str], chosen: list[Variant]) -> pd.DataFrame:
    """A row for each claim, from the runs that are there."""
    rows = []
    for notebook in names:
        found = {}
        for variant in chosen:
            if variant.kept(notebook).exists():
                made = json.loads(variant.kept(notebook).read_text())
                found[variant] = {claim["claim"]: claim for claim in made}
        for number in sorted({number for made in found.values() for number in made}):
            of_one = {variant: made[number] for variant, made in found.items() if number in made}
            rows.append({"notebook": notebook} | row_of(of_one))
    return pd.DataFrame(rows)


def row_of(found: dict[Variant, dict[str, Any]]) -> dict[str, Any]:
    """One claim over all variants."""
    first = next(iter(found.values()))
    values = {variant: claim["value"] for variant, claim in found.items()}
    rooms = {variant: claims.room(claim) for variant, claim in found.items()}
    tightest = min(rooms, key=rooms.get)
    spread = max(values.values()) - min(values.values())
    verdict = "near" if rooms[tightest] < spread else "holds"
    everywhere = all(claim["holds"] for claim in found.values())  # a value of NaN does not
    return {
        "claim": first["claim"],
        "verdict": verdict if everywhere else "red",
        "bound": claims.bounds(first),
        "over seeds": between([values[v] for v in values if v == Variant(v.seed)]),
        "over machines": between([values[v] for v in values if v.seed == 0]),
        "smallest room": round(rooms[tightest], 4),
        "where": tightest.name,
        "statement": first["statement"],
    }


def between(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g} ({len(values)})" if values else "none"


def repeated() -> list[str]:
    """Notebooks that train on images which come with the code; the others read records."""
    sets = {name: defaults(name).get("dataset") for name in notebooks()}
    return [name for name, given in sets.items() if not given or find(given)[0].embedded]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="the declared one and others")
    parser.add_argument("--only", default="", help="a notebook's name begins with this")
    parser.add_argument("--table", action="store_true", help="run nothing; the table of what is")
    options = parser.parse_args()
    chosen = variants(options.seeds)
    asked = [(one, v) for v in chosen for one in repeated() if one.startswith(options.only)]
    for threads in () if options.table else (1, 2):
        part = [job for job in asked if job[1].threads == threads]
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // threads)) as cores:
            said = cores.map(lambda job: run(*job), part)
            for (notebook, variant), how in zip(part, said, strict=True):
                print(f"{notebook}: {variant.name}: {how}", flush=True)
    return write(chosen)


def write(chosen: list[Variant]) -> int:
    """The table and what is missing in it; 1 where a claim is red."""
    found = table(repeated(), chosen)
    if found.empty:
        print("nothing was run: no table")
        return 0
    print(found.to_string(index=False))
    found["commit"] = provenance.commit()[0]
    not_run = [
        f"{notebook}: {variant.name}"
        for notebook in repeated()
        for variant in chosen
        if not variant.kept(notebook).exists()
    ]
    about = {
        "machine": describe(torch.device("cpu")),
        "processors": here(),
        "not_here": [name for name in PROCESSORS if name not in here()],
        "not_run": not_run,
    }
    replace_file(TABLE, lambda aside: found.to_csv(aside, index=False, lineterminator="\n"))
    write_json(TABLE.with_suffix(".json"), about)
    return int((found["verdict"] == "red").any())


if __name__ == "__main__":
    sys.exit(main())
