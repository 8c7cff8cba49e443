"""At which learning rates a sweep fine-tunes: `python -m engine.rates SWEEP --data FOLDER`.

Chosen once, before the runs that are published, and for every arm from the same grid: weights
pre-trained with masks, weights pre-trained with nothing hidden, and weights that have learned
nothing. On a seed that no published run has, after a quarter of the pre-training, from a tenth of
the labels, by the accuracy on validation images. What was measured is reports/tables/
rates-SWEEP.csv; a test compares the best of it with `learning_rates` in the sweep's file.
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
from lib.run.parameters import Parameters, check
from lib.run.settings import Experiment

RATES = (3e-4, 1e-3, 3e-3)
ARMS = ("masked", "not masked", "scratch")  # in the order of the parameter learning_rates
SEED = 10
SHARE = 0.1  # of the labels


def experiments(name: str, data: str, rate: float) -> dict[str, Experiment]:
    """Each arm of a sweep at one rate, after a quarter of the sweep's epochs.

    Raises SweepError where there is no such sweep, or it does not fine-tune.
    """
    p = parameters(name, data, rate)
    asked = arms.few_labels(p, "mae", SEED, steps=0)
    return {arm: asked[arm] for arm in ARMS}


def parameters(name: str, data: str, rate: float) -> Parameters:
    """Those of a sweep, but for what is said at the head of this file."""
    asked = sweep.read(name)
    given = asked.parameters | {"scale": "standard", "seed": SEED}
    if not given.get("fine_tune"):
        raise SweepError(f"sweeps/{name}.yaml does not fine-tune: give one with fine_tune")
    given["epochs"] = max(1, given["epochs"] // 4)
    given["fine_tune"] = given["fine_tune"] | {"shares": [SHARE]}
    given["learning_rates"] = [rate] * len(ARMS)
    # In a folder that git ignores: what is kept of these runs is their table.
    given["execution"] = {"data_root": data, "output": f"reports/sweeps/rates-{name}"}
    return check(asked.notebook, given)


def measured(name: str, data: str) -> pd.DataFrame:
    """The accuracy on validation images of each arm at each rate."""
    rows = []
    for rate in RATES:
        execution = parameters(name, data, rate).execution()
        for arm, asked in experiments(name, data, rate).items():
            record = run(asked, execution, need_model=False).record
            found = record.metrics["validation"][f"accuracy@{SHARE:g}"]
            rows.append({"arm": arm, "rate": rate, "accuracy": found.value, "n": found.n})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def best(found: pd.DataFrame) -> list[float]:
    """The rate of each arm; of equals the lowest."""
    by_arm = found.pivot(index="arm", columns="rate", values="accuracy")
    return [float(by_arm.loc[arm].idxmax()) for arm in ARMS]


def others(folder: Path) -> list[str]:
    """The sweeps that fine-tune at other rates than the tables of a folder found best."""
    found = []
    for file in sorted(folder.glob("rates-*.csv")):
        name = file.stem.removeprefix("rates-")
        if sweep.read(name).parameters.get("learning_rates") != best(pd.read_csv(file)):
            found.append(name)
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m engine.rates", description=__doc__)
    asked.add_argument("sweep", help="a file of sweeps/ that fine-tunes, without .yaml")
    asked.add_argument("--data", default="data", help="the folder with its data set")
    given = asked.parse_args()
    try:
        found = measured(given.sweep, given.data)
    except (SweepError, DataError) as error:
        print(f"rates: {error}", file=sys.stderr)
        return 2
    table = REPORTS / "tables" / f"rates-{given.sweep}.csv"
    write_text(table, found.to_csv(index=False, lineterminator="\n"))
    print(f"write this into sweeps/{given.sweep}.yaml: learning_rates: {best(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
