"""At which learning rates a sweep fine-tunes: `python -m engine.rates SWEEP --data FOLDER`.

Chosen once, before the runs that are published, and for every arm from the same grid: weights
pre-trained with masks, weights pre-trained with nothing hidden, and weights that have learned
nothing. On a seed that no published run has, after a quarter of the pre-training, from a tenth of
the labels, by the accuracy on validation images. What was measured is reports/tables/
rates-SWEEP.csv; a test compares the best of it with `learning_rates` in the sweep's file.
"""

import argparse

import pandas as pd

from engine import sweep
from lib.files import ROOT, write_text
from lib.run import arms
from lib.run.experiment import run
from lib.run.parameters import Parameters, check

RATES = (3e-4, 1e-3, 3e-3)
ARMS = ("masked", "not masked", "scratch")  # in the order of the parameter learning_rates
SEED = 10
SHARE = 0.1  # of the labels


def parameters(name: str, data: str) -> Parameters:
    """Those of a sweep, with a quarter of its epochs, records and weights out of git's sight."""
    asked = sweep.read(name)
    given = asked.parameters | {"scale": "standard", "seed": SEED}
    given["epochs"] = given["epochs"] // 4
    given["fine_tune"] = given["fine_tune"] | {"shares": [SHARE]}
    given["execution"] = {"data_root": data, "output": f"reports/sweeps/rates-{name}"}
    return check(asked.notebook, given)


def measured(p: Parameters) -> pd.DataFrame:
    """The accuracy on validation images of each arm at each rate."""
    rows = []
    for rate in RATES:
        p.values["learning_rates"] = [rate] * len(ARMS)
        asked = arms.few_labels(p, "mae", SEED, steps=0)
        for arm in ARMS:
            record = run(asked[arm], p.execution(), need_model=False).record
            found = record.metrics["validation"][f"accuracy@{SHARE:g}"]
            rows.append({"arm": arm, "rate": rate, "accuracy": found.value, "n": found.n})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def best(found: pd.DataFrame) -> list[float]:
    """The rate of each arm; of equals the lowest."""
    by_arm = found.pivot(index="arm", columns="rate", values="accuracy")
    return [float(by_arm.loc[arm].idxmax()) for arm in ARMS]


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m engine.rates", description=__doc__)
    asked.add_argument("sweep", help="a file of sweeps/ that fine-tunes, without .yaml")
    asked.add_argument("--data", default="data", help="the folder with its data set")
    given = asked.parse_args()
    found = measured(parameters(given.sweep, given.data))
    write_text(
        ROOT / "reports" / "tables" / f"rates-{given.sweep}.csv",
        found.to_csv(index=False, lineterminator="\n"),
    )
    print(f"learning_rates: {best(found)}")


if __name__ == "__main__":
    main()
