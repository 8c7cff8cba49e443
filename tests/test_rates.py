"""The rates at which published runs fine-tune are those that were measured best, for every arm."""

import pandas as pd

from engine import rates, sweep
from lib.files import REPORTS


def test_the_best_rate_of_each_arm_and_of_equals_the_lowest():
    accuracies = {
        "masked": (0.5, 0.7, 0.6),
        "not masked": (0.9, 0.8, 0.7),
        "scratch": (0.4, 0.6, 0.6),
    }
    rows = [
        {"arm": arm, "rate": rate, "accuracy": accuracy}
        for arm, found in accuracies.items()
        for rate, accuracy in zip(rates.RATES, found, strict=True)
    ]
    assert rates.best(pd.DataFrame(rows)) == [1e-3, 3e-4, 1e-3]


def test_rates_are_chosen_on_a_seed_that_no_sweep_publishes():
    for file in sweep.SWEEPS.glob("*.yaml"):
        assert rates.SEED not in sweep.read(file.stem).seeds


def test_sweeps_fine_tune_at_the_rates_that_were_chosen():
    for file in REPORTS.glob("tables/rates-*.csv"):
        name = file.stem.removeprefix("rates-")
        assert sweep.read(name).parameters["learning_rates"] == rates.best(pd.read_csv(file))
