"""How much room the notebooks' claims have: `make steady` (an hour or two on two cores).

Runs every notebook under several seeds, and under one seed as other machines would
compute it: with fewer of the processor's vector instructions, in float32 and bf16, with
one thread and two. Prints a line for each claim: its bound, the values over seeds, the
values over machines, and the smallest room. A claim is *red* where it fails anywhere,
*near* where the smallest room is less than the spread of its values. Variants that this
processor cannot run are left out and named. A finished variant is kept in
data/steady and not run again while notebook and code are what they were; the table goes to reports/tables/steady.csv.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from lib import records
from lib.files import replace_file
from lib.machine import describe
from lib.notebooks import all_notebooks, stamp_of
from lib.paths import DATA, NOTEBOOKS, REPORTS, ROOT
from lib.schemas import SCHEMAS

KEPT, TABLE = DATA / "steady", REPORTS / "tables" / "steady.csv"
PROCESSORS = {  # name -> what the processor must have, what torch, oneDNN and MKL are told
    "SSE4.1": ("sse4_1", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
    "AVX2": ("avx512f", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    "AVX-512": ("avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"}),
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
        return f"seed {self.seed}, {self.processor}, {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"

    def parameters(self, notebook: str) -> dict:
        """What the notebook is given; one that runs several seeds gets as many others."""
        given = {"precision": self.precision, "threads": self.threads}
        fields = SCHEMAS[notebook].model_fields
        if self.seed and "seed" in fields:
            given["seed"] = fields["seed"].default + self.seed
        elif self.seed:
            own = fields["seeds"].default
            given["seeds"] = [seed + self.seed * len(own) for seed in own]
        return given


@dataclass(frozen=True)
class Runner:
    """Where runs are kept, and how many go side by side."""

    place: Path
    notebooks: list[str] = field(default_factory=list)

    def file(self, notebook: str, variant: Variant) -> Path:
        return self.place / stamp_of(NOTEBOOKS / f"{notebook}.ipynb").stem / f"{variant.name}.jsonl"

    def run(self, notebook: str, variant: Variant) -> str:
        """Run one notebook, and say how it went; the ledger of its claims is kept under the variant's name."""
        file = self.file(notebook, variant)
        if file.exists():
            return "kept"
        with tempfile.TemporaryDirectory() as folder:
            ledger, log = Path(folder) / "ledger", Path(folder) / "log"
            given = variant.parameters(notebook) | {"output": folder}
            command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", f"{folder}/out.ipynb", "--no-progress-bar"]
            command += [word for name, value in given.items() for word in ("-y", f"{name}: {json.dumps(value)}")]
            environment = (
                os.environ | PROCESSORS[variant.processor][1] | {"CLAIMS_LEDGER": str(ledger), "OMP_NUM_THREADS": str(variant.threads)}
            )
            with log.open("w") as said:
                done = subprocess.run(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
            if done.returncode:
                return f"FAILED: {log.read_text().strip().splitlines()[-1]}"
            replace_file(file, lambda aside: shutil.copy(ledger, aside))
        return "done"


def variants(seeds: int) -> tuple[list[Variant], list[str]]:
    """Which are run here, and the processors that are not."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    here = [name for name, (needed, _) in PROCESSORS.items() if not needed or f" {needed}" in flags]
    machines = [Variant(0, name, precision, threads) for name in reversed(here) for precision in ("float32", "bf16") for threads in (1, 2)]
    return [Variant(seed) for seed in range(1, seeds)] + machines, [name for name in PROCESSORS if name not in here]


def table(runner: Runner, chosen: list[Variant]) -> pd.DataFrame:
    """A row for each claim, from the runs that are there."""
    rows = []
    for notebook in runner.notebooks:
        found = {variant: read(runner.file(notebook, variant)) for variant in chosen if runner.file(notebook, variant).exists()}
        for number in sorted({number for claims in found.values() for number in claims}):
            rows.append(row_of(notebook, {variant: claims[number] for variant, claims in found.items() if number in claims}))
    return pd.DataFrame(rows)


def read(ledger: Path) -> dict[int, dict]:
    return {claim["claim"]: claim for claim in map(json.loads, ledger.read_text().splitlines())}


def row_of(notebook: str, claims: dict[Variant, dict]) -> dict:
    """One claim over all variants."""
    first = next(iter(claims.values()))
    seeds = [claim["value"] for variant, claim in claims.items() if variant == Variant(variant.seed)]
    machines = [claim["value"] for variant, claim in claims.items() if variant.seed == 0]
    rooms = {variant: room(claim) for variant, claim in claims.items()}
    tightest = min(rooms, key=rooms.get)
    spread = max(claim["value"] for claim in claims.values()) - min(claim["value"] for claim in claims.values())
    bounds = [f"{sign} {first[word]:g}" for word, sign in (("above", ">"), ("below", "<")) if first[word] is not None]
    return {
        "notebook": notebook,
        "claim": first["claim"],
        "verdict": "red" if rooms[tightest] <= 0 else "near" if rooms[tightest] < spread else "holds",
        "bound": " and ".join(bounds),
        "over seeds": between(seeds),
        "over machines": between(machines),
        "smallest room": round(rooms[tightest], 4),
        "where": tightest.name,
        "statement": first["statement"],
    }


def room(claim: dict) -> float:
    """Distance to the nearest bound, negative beyond it."""
    sides = [(claim["value"], claim["above"]), (claim["below"], claim["value"])]
    return min(large - small for large, small in sides if large is not None and small is not None)


def between(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g} ({len(values)})" if values else "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="the declared one and so many less one others")
    parser.add_argument("--only", help="a notebook's number or name begins with this")
    parser.add_argument("--table", action="store_true", help="run nothing; the table of what there is")
    options = parser.parse_args()
    names = [file.stem for file in all_notebooks()]
    runner = Runner(KEPT, names)
    chosen, missing = variants(options.seeds)
    if missing:
        print(f"this processor cannot run as: {', '.join(missing)}")
    asked = [(notebook, variant) for variant in chosen for notebook in names if notebook.startswith(options.only or "")]
    for threads in (1, 2) if not options.table else ():
        part = [job for job in asked if job[1].threads == threads]
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // threads)) as cores:
            for (notebook, variant), said in zip(part, cores.map(lambda job: runner.run(*job), part), strict=True):
                print(f"{notebook}: {variant.name}: {said}", flush=True)
    found = table(runner, chosen)
    found["commit"] = records.commit()[0]
    print(found.drop(columns="commit").to_string(index=False))
    replace_file(TABLE, lambda aside: found.to_csv(aside, index=False, lineterminator="\n"))
    about = {"machine": describe(torch.device("cpu")), "processors": [name for name in PROCESSORS if name not in missing]}
    replace_file(TABLE.with_suffix(".json"), lambda aside: aside.write_text(json.dumps(about, indent=1) + "\n"))
    return int((found["verdict"] == "red").any())


if __name__ == "__main__":
    sys.exit(main())
