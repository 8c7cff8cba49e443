"""Sweeps: one notebook under a grid of parameters, `python -m lib.sweeps NAME` (or `make sweep SWEEP=NAME`).

A sweep is a file sweeps/NAME.yaml (see `Sweep`). Each cell of its grid is one papermill
run of the notebook. Before anything runs, every cell's parameters are checked as the
notebook would check them, and the number of runs and their time are printed; then
Snakemake (see Snakefile) runs the cells that are not done, and a tidy table is made of
all their records.

A cell is done where its stamp exists: a file named by the cell's key, which holds the
notebook's identity parameters and the behaviour version of every component it uses,
so a value more runs only new cells, a change of prose runs none. A stamp whose
records are gone, damaged or stale is dropped, and the cell runs again.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib import engine, records
from lib.files import replace_file
from lib.paths import NOTEBOOKS, ROOT
from lib.stamps import SweepError, check_data, drop_broken, folder_of, stamp_of

SWEEPS = ROOT / "sweeps"


class Sweep(BaseModel):
    """A sweep's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    notebook: str  # its name without .ipynb
    parameters: dict[str, Any] = Field(default_factory=dict)  # the same in every cell
    axes: dict[str, list[Any]] = Field(default_factory=dict)  # parameter -> its values; the grid is their product
    seeds: list[int] = Field(default_factory=lambda: [0], min_length=1)  # for `seed`, or one at a time for `seeds`
    threads: int = Field(1, ge=1)  # cores of each run
    memory_mb: int = Field(3000, ge=100)  # of each run, for a cluster to reserve
    minutes: float = Field(gt=0)  # that a run is expected to take, until some have been timed
    limit_minutes: float = Field(gt=0)  # after which a run is ended and counts as failed


def read(name: str) -> Sweep:
    """The sweep of that name. Raises SweepError."""
    known = sorted(file.stem for file in SWEEPS.glob("*.yaml") if re.fullmatch(r"[A-Za-z0-9_-]{1,30}", file.stem))
    if name not in known:
        raise SweepError(f"there is no sweep {name!r} in sweeps/: choose one of {', '.join(known)}, or write {name}.yaml")
    try:
        return Sweep.model_validate(yaml.safe_load((SWEEPS / f"{name}.yaml").read_text()))
    except yaml.YAMLError as error:
        raise SweepError(f"sweeps/{name}.yaml is not YAML: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SweepError(f"sweeps/{name}.yaml does not describe a sweep:\n  " + "\n  ".join(problems)) from error


def combinations(sweep: Sweep) -> list[dict[str, Any]]:
    """What distinguishes each cell: its values on the axes, and its seed."""
    for axis, values in sweep.axes.items():
        if not values:
            raise SweepError(f"the axis {axis!r} has no value")
        if axis in sweep.parameters:
            raise SweepError(f"{axis!r} is an axis and a fixed parameter: it can be one of them")
    if {"seed", "seeds"} & (set(sweep.axes) | set(sweep.parameters)):
        raise SweepError("seeds have their own entry: write `seeds: [0, 1]`, neither an axis nor a parameter")
    grid = itertools.product(*sweep.axes.values(), sweep.seeds)
    return [dict(zip([*sweep.axes, "seed"], values, strict=True)) for values in grid]


def plan(name: str, sweep: Sweep, **execution: Any) -> list[dict[str, Any]]:
    """The cells: label, key and parameters of each; `execution` adds parameters to all. Raises SweepError naming every problem."""
    from lib.parameters import ParameterError, check, unknown
    from lib.schemas import SCHEMAS

    if sweep.notebook not in SCHEMAS:
        raise SweepError(f"there is no notebook {sweep.notebook!r}: choose one of {', '.join(SCHEMAS)}")
    foreign = [name for name in [*sweep.axes, *sweep.parameters] if name not in SCHEMAS[sweep.notebook].model_fields]
    cells, problems = {}, [unknown(name, SCHEMAS[sweep.notebook]) for name in foreign]  # papermill writes names into code
    for chosen in [] if problems else combinations(sweep):
        label = " ".join(f"{axis}={json.dumps(value)}" for axis, value in chosen.items())
        given = {"output": str(folder_of(name).relative_to(ROOT)), "scale": "standard"} | sweep.parameters | chosen | execution
        if "seed" not in SCHEMAS[sweep.notebook].model_fields:
            given["seeds"] = [given.pop("seed")]
        try:
            key = records.key_of(check(sweep.notebook, given).identity())
        except ParameterError as error:
            problems.append(f"{label}\n    " + "\n    ".join(line.strip() for line in str(error).splitlines()[1:]))
            continue
        except ValueError as error:  # such as a device that is not here while `auto` asks what it can do
            problems.append(f"{label}: {error}")
            continue
        if key in cells:
            problems.append(f"{label}: the same run as {cells[key]['label']}")
        cells[key] = {"key": key, "label": label, "name": f"{slug(label)}-{key}", "parameters": given}
    if problems:
        raise SweepError(f"sweeps/{name}.yaml cannot run:\n  " + "\n  ".join(problems))
    return list(cells.values())


def slug(label: str) -> str:
    """A label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", label.replace('"', "")).strip("-")[:80]


def announce(name: str, sweep: Sweep, cells: list[dict[str, Any]], cores: int | None) -> None:
    """How many runs there are, how many are done, and how long the others may take (on so many cores, where that is known)."""
    sizes = [f"{len(values)} {axis}" for axis, values in sweep.axes.items()] + [f"{len(sweep.seeds)} seeds"]
    stamps = [stamp_of(name, cell["key"]) for cell in cells]
    timed = [json.loads(stamp.read_text())["seconds"] / 60 for stamp in stamps if stamp.exists()]
    each = sum(timed) / len(timed) if timed else sweep.minutes
    open_cells, at_once = len(cells) - len(timed), max(1, (cores or 1) // sweep.threads)
    total, where = each * -(-open_cells // at_once), f", {at_once} at a time on {cores} cores" if cores else " of computing"
    print(f"{name}: {len(cells)} runs of {sweep.notebook} ({' x '.join(sizes)}), {len(timed)} done, {open_cells} to do")
    if open_cells:
        print(f"about {total:.0f} minutes: {each:.1f} a run ({'measured' if timed else 'expected'}){where}")


def write_plan(name: str, sweep: Sweep, cells: list[dict[str, Any]]) -> Path:
    """The plan that the engine reads, and a parameters file a cell for papermill."""
    folder = folder_of(name)
    for cell in cells:
        text = yaml.safe_dump(cell["parameters"], sort_keys=True, allow_unicode=True)
        replace_file(folder / "cells" / f"{cell['key']}.yaml", lambda aside, text=text: aside.write_text(text))
    about = {"name": name, "notebook": str(NOTEBOOKS / f"{sweep.notebook}.ipynb"), "cells": {cell["key"]: cell for cell in cells}}
    about |= {"threads": sweep.threads, "memory_mb": sweep.memory_mb, "limit_minutes": sweep.limit_minutes}
    file = folder / "plan.json"
    replace_file(file, lambda aside: aside.write_text(json.dumps(about, indent=1) + "\n"))
    return file


def write_table(name: str) -> str:
    """Make the tidy table of all finished cells and return a line that says where."""
    from lib.sweep_tables import collect

    table = collect(name)
    folder = folder_of(name)
    replace_file(folder / "table.csv", lambda aside: table.to_csv(aside, index=False))
    replace_file(folder / "table.parquet", lambda aside: table.to_parquet(aside, index=False))
    count = table["key"].nunique() if len(table) else 0
    return f"{count} records in {(folder / 'table.csv').relative_to(ROOT)} and .parquet"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a file in sweeps/, without .yaml")
    parser.add_argument("--profile", default="local", help="a folder in profiles/: local, slurm, generic or your own")
    parser.add_argument("--data", help="the folder that holds or receives data sets (data_root of every run)")
    parser.add_argument("--table", action="store_true", help="only make the table of what is done")
    parser.epilog = "What follows -- goes to snakemake, such as -- --dry-run"
    own, more = (arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]) if "--" in arguments else (arguments, [])
    options = parser.parse_args(own)
    try:
        if options.table:
            print(write_table(options.name))
            return 0
        sweep = read(options.name)
        cells = plan(options.name, sweep, **({"data_root": options.data} if options.data else {}))
        with engine.reserved(folder_of(options.name)) as lock:
            drop_broken(options.name, cells, touch=not engine.only_looks(more))
            check_data(options.name, sweep.notebook, cells)
            announce(options.name, sweep, cells, engine.cores() if options.profile == "local" else None)
            file = write_plan(options.name, sweep, cells)
            if all(stamp_of(options.name, cell["key"]).exists() for cell in cells) and not more:
                print(write_table(options.name))
                return 0
            engine.start(folder_of(options.name), options.profile, {"plan": str(file)}, more, lock)
    except (SweepError, engine.Refused, records.DamagedRecord, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
