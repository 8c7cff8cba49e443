"""Which records the code of today would make otherwise, and why: `python -m lib.stale`.

A record's key is made of its identity parameters and the behaviour version of each
component it used. A record whose key today's code would not give to its parameters is
stale: it stays on disk and readable, but is not read in place of a run, and not
published. Prose, plots and refactorings make nothing stale.
"""

import json
import sys
from pathlib import Path

from pydantic import ValidationError

from lib import records
from lib.paths import REPORTS, ROOT, resolve
from lib.settings import Experiment


def reasons(record: records.Record) -> list[str]:
    """Why a record is stale; empty where it is not."""
    try:
        experiment = Experiment.model_validate_json(json.dumps(record.parameters))
        now, identity = experiment.components(), experiment.identity()
    except ValidationError as error:
        return [f"its parameters are no longer accepted: {e['msg']} ({'.'.join(map(str, e['loc']))})" for e in error.errors()]
    if experiment.key == record.key:
        return []
    names = sorted(now | record.components)
    versions = [(name, record.components.get(name), now.get(name)) for name in names]
    found = [f"{name}: version {was or 'none'} -> {new or 'none'}" for name, was, new in versions if was != new]
    changed = sorted(name for name in identity | record.parameters if identity.get(name) != record.parameters.get(name))
    found += [f"parameters: {', '.join(changed)}"] if changed else []
    return found or ["its key was made in another way"]


def folders() -> list[Path]:
    """Where records that are kept lie: published ones and those of sweeps."""
    return [*(REPORTS / "results" / scale for scale in ("standard", "full")), *sorted(REPORTS.glob("sweeps/*/results"))]


def main(arguments: list[str]) -> int:
    files = [file for folder in ([resolve(a) for a in arguments] or folders()) for file in sorted(folder.rglob("*.json"))]
    stale = 0
    for file in files:
        why = reasons(records.read(file))
        if why:
            stale += 1
            print(f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}\n  " + "\n  ".join(why))
    print(f"{len(files) - stale} of {len(files)} records match the code")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
