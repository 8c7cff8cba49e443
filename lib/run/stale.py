"""Which records the code of today would make otherwise, and why: `python -m lib.run.stale`.

A record's key is made of its identity parameters and the behaviour version of each component it
used. A record whose key today's code would not give to its parameters is stale: it stays on
disk and readable, but is not read in place of a run, and not published. Prose, plots and
refactorings make nothing stale.
"""

import json
import sys
from pathlib import Path

from pydantic import ValidationError

from lib.files import REPORTS, ROOT, resolve
from lib.run import records
from lib.run.settings import Experiment


def reasons(record: records.Record) -> list[str]:
    """Why a record is stale; empty where it is not."""
    try:
        experiment = Experiment.model_validate_json(json.dumps(record.parameters))
        components = experiment.components()
        parameters = experiment.parameters()
    except ValidationError as error:
        return [
            f"its parameters are no longer accepted: {e['msg']} ({'.'.join(map(str, e['loc']))})"
            for e in error.errors()
        ]
    if experiment.key == record.key:
        return []
    found = [
        f"{name}: version {record.components.get(name, 'none')} -> {components.get(name, 'none')}"
        for name in sorted(components | record.components)
        if record.components.get(name) != components.get(name)
    ]
    changed = sorted(
        name
        for name in parameters | record.parameters
        if parameters.get(name) != record.parameters.get(name)
    )
    if changed:
        found.append(f"parameters: {', '.join(changed)}")
    return found or ["its key was made in another way"]


def reasons_of(file: Path) -> list[str]:
    """Of a record's file; one that is damaged, or was written otherwise, is a reason itself."""
    try:
        return reasons(records.read(file))
    except records.DamagedRecord as error:
        return [str(error).splitlines()[0]]


def folders() -> list[Path]:
    """Where records that are kept lie: published ones and those of sweeps."""
    published = [REPORTS / "results" / scale for scale in ("standard", "full")]
    return [*published, *sorted(REPORTS.glob("sweeps/*/results"))]


def main(arguments: list[str]) -> int:
    asked = [resolve(argument) for argument in arguments] or folders()
    files = [file for folder in asked for file in sorted(folder.rglob("*.json"))]
    stale = 0
    for file in files:
        why = reasons_of(file)
        if why:
            stale += 1
            name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            print(f"{name}\n  " + "\n  ".join(why))
    print(f"{len(files) - stale} of {len(files)} records match the code")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
