"""The rates at which runs fine-tune are those that were measured best, for every arm."""

import pandas as pd
import pytest

from engine import rates, sweep
from engine.cells import SweepError
from lib.files import REPORTS
from lib.run.parameters import defaults


def test_the_best_rate_of_each_arm_and_of_equals_the_lowest():
    accuracies = {
        "masked": (0.5, 0.7, 0.6),
        "not masked": (0.9, 0.8, 0.7),
        "scratch": (0.4, 0.6, 0.6),
    }
    rows = [
        {"arm": arm, "rate": rate, "accuracy": accuracy}
        for arm, found in accuracies.items()
        for rate, accuracy in zip(rates.FIRST, found, strict=True)
    ]
    assert rates.best(pd.DataFrame(rows)) == [1e-3, 3e-4, 1e-3]


def table(*, tried, peaks):
    """Accuracies that fall to both sides of each arm's best."""
    steps = rates.LADDER.index
    rows = [
        {"arm": arm, "rate": rate, "accuracy": 1 - 0.1 * abs(steps(rate) - steps(peak))}
        for arm, peak in zip(rates.ARMS, peaks, strict=True)
        for rate in tried
    ]
    return pd.DataFrame(rows)


def test_the_grid_grows_until_the_best_of_every_arm_stands_inside():
    inside, low, high = 1e-3, 1e-4, 3e-2
    first = list(rates.FIRST)
    assert rates.beyond(table(tried=first, peaks=(inside, inside, inside))) == []
    assert rates.beyond(table(tried=first, peaks=(inside, low, inside))) == [1e-4]
    assert rates.beyond(table(tried=first, peaks=(low, inside, high))) == [1e-4, 1e-2]
    ends = (rates.LADDER[0], inside, rates.LADDER[-1])
    assert rates.beyond(table(tried=rates.LADDER, peaks=ends)) == [], "the ladder has an end"


def test_rates_are_chosen_on_a_seed_that_no_sweep_publishes():
    for file in sweep.SWEEPS.glob("*.yaml"):
        assert rates.SEED not in sweep.read(file.stem).seeds
    shown = defaults("05_few_labels")["seeds"]
    assert not set(rates.tried_seeds(shown)) & set(shown)


def test_arms_differ_from_the_sweep_in_what_is_said_and_share_the_rate():
    published = sweep.read("mnist").parameters
    found = rates.experiments("mnist", "data", 3e-3)
    assert tuple(found) == rates.ARMS
    for asked in found.values():
        assert asked.seed == rates.SEED and asked.fine_tune.shares == (rates.SHARE,)
        assert asked.fine_tune.learning_rate == 3e-3
    assert found["masked"].recipe.epochs == published["epochs"] // 4
    assert found["scratch"].recipe.epochs == 0


def test_a_notebook_pre_trains_in_full():
    found = rates.experiments("05_few_labels", "data", 1e-2)
    assert found["masked"].recipe.epochs == defaults("05_few_labels")["epochs"]
    assert found["masked"].model == defaults("05_few_labels")["model"]


def test_a_sweep_without_fine_tuning_is_refused():
    with pytest.raises(SweepError, match="does not fine-tune"):
        rates.experiments("strategies", "data", 1e-3)


def test_sweeps_fine_tune_at_the_rates_that_were_chosen(tmp_path):
    assert rates.others(REPORTS / "tables") == []
    rows = [{"arm": arm, "rate": 0.5, "accuracy": 1.0} for arm in rates.ARMS]
    pd.DataFrame(rows).to_csv(tmp_path / "rates-mnist.csv", index=False)
    assert rates.others(tmp_path) == ["mnist"], "whose rates are others"
