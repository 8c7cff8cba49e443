"""At which learning rates a sweep, or notebook 05, fine-tunes: `python -m engine.rates NAME`.

Chosen once, before the runs that are shown, and for every arm from the same grid: weights
pre-trained with masks, weights pre-trained with nothing hidden, and weights that have learned
nothing. On seeds that no such run has, from a tenth of the labels, by the accuracy on validation
images. A notebook's runs take seconds, so as many seeds are tried as it has; a sweep's take hours:
one seed, and a quarter of the pre-training. The grid grows while the best rate of an arm stands at
its end. What was measured is reports/tables/rates-NAME.csv; a test compares the best of it with
`learning_rates` in the sweep's file, or in the notebook.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from engine import sweep
from engine.cells import SweepError
from lib.data.registry import DataError
from lib.files import REPORTS, write_text
from lib.run import arms
from lib.run.experiment import run
from lib.run.parameters import Parameters, check, defaults, notebooks
from lib.run.settings import Experiment

LADDER = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FIRST = (3e-4, 1e-3, 3e-3)  # of the ladder, tried in any case
ARMS = ("masked", "not masked", "scratch")  # in the order of the parameter learning_rates
SEED = 10  # the first of those tried
SHARE = 0.1  # of the labels
HARDLY_JUDGED = {"test_masks": ["random@0.75"], "probe": False}  # but fine-tuned, and no more


def experiments(name: str, data: str, rate: float, seed: int = SEED) -> dict[str, Experiment]:
    """Each arm of a sweep or notebook at one rate.

    Raises SweepError where there is no such sweep, or it does not fine-tune.
    """
    p = parameters(name, data, rate)
    model = p.values.get("model", "mae")
    return arms.few_labels(p, model, seed, steps=0, ways=ARMS)


def parameters(name: str, data: str, rate: float) -> Parameters:
    """Those of a sweep or notebook, but for what is said at the head of this file."""
    notebook, given = declared(name)
    if not given.get("fine_tune"):
        raise SweepError(f"{name} does not fine-tune: give one with fine_tune")
    changed = {
        "scale": "standard",
        "seeds": tried_seeds(given.get("seeds", [SEED])),
        "learning_rates": [rate] * len(ARMS),
        "fine_tune": given["fine_tune"] | {"shares": [SHARE]},
        "experiment": given.get("experiment", {}) | HARDLY_JUDGED,
        # In a folder that git ignores: what is kept of these runs is their table.
        "execution": {"data_root": data, "output": f"reports/sweeps/rates-{name}"},
    }
    return check(notebook, given | changed)


def tried_seeds(shown: list[int]) -> list[int]:
    return list(range(SEED, SEED + len(shown)))


def declared(name: str) -> tuple[str, dict]:
    """The notebook that is run, and what it is given."""
    if name in notebooks():
        return name, defaults(name)
    asked = sweep.read(name)
    epochs = max(1, asked.parameters["epochs"] // 4)
    return asked.notebook, asked.parameters | {"epochs": epochs}


def measured(name: str, data: str) -> pd.DataFrame:
    """The accuracy on validation images of each arm at each rate, with each seed."""
    rows = []
    rates = list(FIRST)
    while rates:
        rows += [row for rate in rates for row in at_rate(name, data, rate)]
        rates = beyond(pd.DataFrame(rows))
    return pd.DataFrame(rows).sort_values(["rate", "seed"], kind="stable")


def at_rate(name: str, data: str, rate: float) -> list[dict]:
    """The rows of one rate, for each seed and arm."""
    p = parameters(name, data, rate)
    rows = []
    for seed in p.seeds:
        for arm, asked in experiments(name, data, rate, seed).items():
            record = run(asked, p.execution(), need_model=False).record
            found = record.metrics["validation"][f"accuracy@{SHARE:g}"]
            row = {"arm": arm, "rate": rate, "seed": seed, "accuracy": found.value, "n": found.n}
            rows.append(row)
            print(row, flush=True)
    return rows


def beyond(found: pd.DataFrame) -> list[float]:
    """The rates to try next: those beside an end of the grid at which the best of an arm stands."""
    tried = [rate for rate in LADDER if rate in set(found["rate"])]
    first, last = LADDER.index(tried[0]), LADDER.index(tried[-1])
    lower = LADDER[max(0, first - 1) : first] if tried[0] in best(found) else ()
    higher = LADDER[last + 1 : last + 2] if tried[-1] in best(found) else ()
    return [*lower, *higher]


def best(found: pd.DataFrame) -> list[float]:
    """The rate of each arm, by its mean over seeds; of equals the lowest."""
    by_arm = found.pivot_table(index="arm", columns="rate", values="accuracy").round(6)
    return [float(by_arm.loc[arm].idxmax()) for arm in ARMS]


def others(folder: Path) -> list[str]:
    """What fine-tunes at other rates than the tables of a folder found best."""
    found = []
    for file in sorted(folder.glob("rates-*.csv")):
        name = file.stem.removeprefix("rates-")
        if declared(name)[1].get("learning_rates") != best(pd.read_csv(file)):
            found.append(name)
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m engine.rates", description=__doc__)
    asked.add_argument("name", help="a file of sweeps/ that fine-tunes, or a notebook")
    asked.add_argument("--data", default="data", help="the folder with its data set")
    given = asked.parse_args()
    try:
        found = measured(given.name, given.data)
    except (SweepError, DataError) as error:
        print(f"rates: {error}", file=sys.stderr)
        return 2
    table = REPORTS / "tables" / f"rates-{given.name}.csv"
    write_text(table, found.to_csv(index=False, lineterminator="\n"))
    print(f"these are best, write them where {given.name} has them: learning_rates: {best(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
