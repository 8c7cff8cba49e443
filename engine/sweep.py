"""Sweeps: one notebook under a grid of parameters, `python -m engine.sweep NAME`.

A sweep is a file sweeps/NAME.yaml (see `Sweep`). Each cell of its grid is one papermill run of
the notebook. Before anything runs, every cell's parameters are checked as the notebook would
check them, and the number of runs and their time are printed; then Snakemake (see Snakefile)
runs the cells that are not done, and a tidy table is made of all their records.

A cell's key is made of the parameters that decide its numbers. So one value more on an axis runs
only new cells, and a change of prose runs none. How a cell comes to be done, and when it is not
any more, such as after a change of the code that its numbers come from, is told in `cells`.
"""

import argparse
import copy
import itertools
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import Field, ValidationError

from engine import cells, snakemake
from engine.cells import Cell, SweepError, folder_of, is_done, stamp_of
from lib.config import Config, unknown
from lib.files import NOTEBOOKS, ROOT, replace_file, write_json, write_text
from lib.machine import CRAWLS, crawls, resolve_device
from lib.run import records
from lib.run.parameters import ParameterError, check, defaults

SWEEPS = ROOT / "sweeps"
NAME = re.compile(r"[A-Za-z0-9_-]{1,30}")  # it becomes a folder and part of a job's name


class Sweep(Config):
    """A sweep's file."""

    notebook: str  # its name without .ipynb
    parameters: dict[str, Any] = Field(default_factory=dict)  # the same in every cell
    axes: dict[str, list[Any]] = Field(default_factory=dict)  # the grid is their product
    # names of both are the notebook's parameters, or with dots entries of its dictionaries
    seeds: list[int] = Field([0], min_length=1)  # for `seed`, or one at a time for `seeds`
    threads: int = Field(1, ge=1)  # cores of each run
    memory_mb: int = Field(3000, ge=100)  # of each run, for a cluster to reserve
    minutes: float = Field(gt=0)  # that a run is expected to take, until some have been timed
    limit_minutes: float = Field(gt=0)  # after which a run is ended and counts as failed


def read(name: str) -> Sweep:
    """The sweep of that name. Raises SweepError."""
    known = sorted(file.stem for file in SWEEPS.glob("*.yaml") if NAME.fullmatch(file.stem))
    if name not in known:
        raise SweepError(f"{unknown('sweep', name, known)}, or write one as those in sweeps/ are")
    try:
        return Sweep.model_validate(yaml.safe_load((SWEEPS / f"{name}.yaml").read_text()))
    except yaml.YAMLError as error:
        raise SweepError(f"sweeps/{name}.yaml is not YAML: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise cannot_run(name, problems) from error


def cannot_run(name: str, problems: list[str]) -> SweepError:
    return SweepError("\n  ".join([f"sweeps/{name}.yaml cannot run:", *problems]))


def combinations(sweep: Sweep) -> list[dict[str, Any]]:
    """What distinguishes each cell: its values on the axes, and its seed. Raises SweepError.

    In the order in which they run: all of one seed first, so that a table with one seed is there
    early, and in it the last axis fastest.
    """
    for axis, values in sweep.axes.items():
        if not values:
            raise SweepError(f"the axis {axis!r} has no value")
        if axis in sweep.parameters:
            raise SweepError(f"{axis!r} is an axis and a fixed parameter: it can be one of them")
    if {"seed", "seeds"} & {*sweep.axes, *sweep.parameters}:
        raise SweepError(
            "seeds have their own entry: write `seeds: [0, 1]`, neither an axis nor a parameter"
        )
    grid = itertools.product(sweep.seeds, *sweep.axes.values())
    return [dict(zip([*sweep.axes, "seed"], [*own, seed], strict=True)) for seed, *own in grid]


def plan(name: str, sweep: Sweep, **execution: Any) -> list[Cell]:
    """The cells of a sweep; `execution` adds to the notebook's dictionary of that name.

    Raises SweepError naming every problem of every cell.
    """
    try:
        known = defaults(sweep.notebook)
    except ParameterError as error:
        raise cannot_run(name, [str(error)]) from error
    # papermill writes names into code, so no other is let in; what a dot leads to is data
    given = [one.partition(".")[0] for one in [*sweep.axes, *sweep.parameters]]
    problems = [unknown("parameter", one, known) for one in given if one not in known]
    if problems:
        raise cannot_run(name, problems)
    planned: dict[str, Cell] = {}
    for chosen in combinations(sweep):
        label = " ".join(f"{axis}={json.dumps(value)}" for axis, value in chosen.items())
        try:
            own = parameters_of(name, nested(sweep.parameters | chosen, known), execution)
            if "seed" not in known:
                own["seeds"] = [own.pop("seed")]
            cell = cell_of(sweep.notebook, label, own)
            if own.get("execution", {}).get("published"):
                raise ValueError(
                    "execution.published: a sweep makes all of its records itself, leave it out"
                )
        except ValueError as error:
            problems.append("\n    ".join([label, *reasons(error)]))
            continue
        if cell.key in planned:
            problems.append(f"{label}: the same run as {planned[cell.key].label}")
        planned[cell.key] = cell
    if problems:
        raise cannot_run(name, problems)
    return list(planned.values())


def nested(given: dict[str, Any], declared: dict[str, Any]) -> dict[str, Any]:
    """Parameters whose dotted names, as `options.mae.depth`, are entries of dictionaries.

    The rest of such a dictionary is as the sweep gives it, or as the notebook declares it.
    Raises SweepError where a dot leads into what is no dictionary.
    """
    found = {name: copy.deepcopy(value) for name, value in given.items() if "." not in name}
    for name in [name for name in given if "." in name]:
        first, *inner, last = name.split(".")
        try:
            place = found[first] = copy.deepcopy(declared[first]) | found.get(first, {})
            for part in inner:
                place = place.setdefault(part, {})
            place[last] = given[name]
        except (TypeError, AttributeError) as error:
            raise SweepError(f"{name}: a dot leads into a dictionary, and this is none") from error
    return found


def parameters_of(name: str, given: dict[str, Any], execution: dict[str, Any]) -> dict[str, Any]:
    """What papermill gives to a cell: records are kept, where the sweep says or in its folder."""
    place = {"output": str(folder_of(name).relative_to(ROOT))}
    own = given.get("execution", {})
    if isinstance(own, dict):  # the check refuses anything else by name
        own = place | own | execution
    return {"scale": "standard"} | given | {"execution": own}


def reasons(error: ValueError) -> list[str]:
    """The lines of an error, without the first where that only says what they are."""
    lines = str(error).splitlines()
    return [line.strip() for line in lines[1:] or lines]


def cell_of(notebook: str, label: str, parameters: dict[str, Any]) -> Cell:
    """A cell whose parameters the notebook accepts. Raises ValueError where it does not."""
    p = check(notebook, parameters)
    key = records.key_of(p.identity())
    return Cell(key, label, f"{slug(label)}-{key}", p.execution().output, parameters)


def crawls_here(notebook: str, cell: Cell) -> bool:
    """Whether a cell asks for a precision that this machine imitates."""
    p = check(notebook, cell.parameters)
    return crawls(p.recipe().precision, resolve_device(p.execution().device))


def slug(label: str) -> str:
    """A label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", label.replace('"', "")).strip("-")[:80]


def announce(name: str, sweep: Sweep, planned: list[Cell], cores: int | None) -> None:
    """Say how many runs there are, how many are done, and how long the others may take.

    cores   of this machine; None where the runs go to a queue
    """
    sizes = [f"{len(values)} {axis}" for axis, values in sweep.axes.items()]
    grid = " x ".join([*sizes, f"{len(sweep.seeds)} seeds"])
    done = [stamp_of(name, cell.key) for cell in planned if is_done(name, cell)]
    left = len(planned) - len(done)
    print(
        f"{name}: {len(planned)} runs of {sweep.notebook} ({grid}), {len(done)} done, {left} to do"
    )
    if not left:
        return
    if cores is not None and any(crawls_here(sweep.notebook, cell) for cell in planned):
        print(f"beware: {CRAWLS}")
    timed = [json.loads(stamp.read_text())["seconds"] / 60 for stamp in done]
    each = sum(timed) / len(timed) if timed else sweep.minutes
    told = f"{each:.1f} a run ({'measured' if timed else 'expected'})"
    if cores is None:
        print(f"about {each * left:.0f} minutes: {told} of computing")
        return
    at_once = max(1, cores // sweep.threads)
    total = each * -(-left // at_once)
    print(f"about {total:.0f} minutes: {told}, {at_once} at a time on {cores} cores")


def write_plan(name: str, sweep: Sweep, planned: list[Cell]) -> Path:
    """The plan that Snakemake reads, and a parameters file a cell for papermill."""
    folder = folder_of(name)
    for cell in planned:
        text = yaml.safe_dump(cell.parameters, sort_keys=True, allow_unicode=True)
        write_text(folder / "cells" / f"{cell.key}.yaml", text)
    about = {
        "name": name,
        "notebook": str(NOTEBOOKS / f"{sweep.notebook}.ipynb"),
        "threads": sweep.threads,
        "memory_mb": sweep.memory_mb,
        "limit_minutes": sweep.limit_minutes,
        "cells": {cell.key: asdict(cell) for cell in planned},
    }
    write_json(folder / "plan.json", about)
    return folder / "plan.json"


def collect(name: str) -> pd.DataFrame:
    """A row for each record of the finished cells, split and measure, the parameters beside it.

    Raises DamagedRecord, and FileNotFoundError where the sweep has no plan.
    """
    about = json.loads((folder_of(name) / "plan.json").read_text())
    planned = [Cell(**cell) for cell in about["cells"].values()]
    files = {file for cell in planned if is_done(name, cell) for file in cells.made_by(name, cell)}
    return records.tidy([records.read(file) for file in sorted(files)])


def write_table(name: str) -> str:
    """Make the table of all finished cells; gives a line that says where.

    Where no cell is done there is none, rather than an empty one.
    """
    table = collect(name)
    csv = folder_of(name) / "table.csv"
    packed = csv.with_suffix(".parquet")
    if table.empty:
        csv.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)
        return f"no run of {name} is done, so there is no table"
    replace_file(csv, lambda aside: table.to_csv(aside, index=False))
    replace_file(packed, lambda aside: table.to_parquet(aside, index=False))
    return f"{table['key'].nunique()} records in {csv.relative_to(ROOT)} and .parquet"


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and what follows `--` for Snakemake."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.sweep",
        description=__doc__.splitlines()[0],
        epilog="What follows -- goes to snakemake, such as -- --dry-run",
    )
    parser.add_argument("name", help="of a file in sweeps/, without .yaml")
    profiles = "a folder in engine/profiles/: local, slurm, generic or your own"
    parser.add_argument("--profile", default="local", help=profiles)
    data = "the folder that holds or receives data sets (data_root of every run)"
    parser.add_argument("--data", help=data)
    parser.add_argument("--table", action="store_true", help="only make the table of what is done")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:end]), arguments[end + 1 :]


def run(options: argparse.Namespace, more: list[str]) -> None:
    """Check, say what there is to do, and become Snakemake; or make the table where all is done."""
    name = options.name
    sweep = read(name)
    planned = plan(name, sweep, **({"data_root": options.data} if options.data else {}))
    with snakemake.reserved(folder_of(name)) as lock:
        cells.drop_broken(name, planned, touch=not snakemake.only_looks(more))
        cells.check_data(name, sweep.notebook, planned)
        announce(name, sweep, planned, snakemake.cores() if options.profile == "local" else None)
        file = write_plan(name, sweep, planned)
        if all(is_done(name, cell) for cell in planned) and not more:
            print(write_table(name))
            return
        snakemake.start(folder_of(name), options.profile, {"plan": str(file)}, more, lock)


def main(arguments: list[str]) -> int:
    """The command; gives its exit status, 2 where it is refused."""
    options, more = parse(arguments)
    refusals = (SweepError, snakemake.Refused, records.DamagedRecord, OSError)
    try:
        if options.table:
            print(write_table(options.name))
        else:
            run(options, more)
    except (*refusals, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
