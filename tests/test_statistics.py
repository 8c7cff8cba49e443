"""Intervals need three runs, comparisons are paired, and "no difference" needs a margin."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib import statistics
from lib.statistics import means, paired_psnr_gain, paired_share_better, t_interval


def test_t_interval_of_three_values():
    mean, half_width = t_interval([1.0, 2.0, 3.0])
    assert mean == 2 and half_width == pytest.approx(4.30265 / 3**0.5, rel=1e-4)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_t_interval_is_scipys(confidence):
    values = np.array([3.1, 2.0, 4.4, 2.9, 3.3])
    mean, half_width = t_interval(values, confidence)
    low, high = stats.t.interval(confidence, 4, values.mean(), stats.sem(values))
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[1.0], [1.0, 3.0]])
def test_fewer_than_three_values_have_a_mean_and_no_interval(values):
    mean, half_width = t_interval(values)
    assert mean == np.mean(values) and math.isnan(half_width)


@pytest.mark.parametrize(("share", "n"), [(0.5, 3925), (0.2, 500)])
def test_the_interval_of_a_share_is_about_that_of_the_binomial_distribution(share, n):
    low, high = stats.binom.interval(0.95, n, share)
    assert statistics.share_interval(share, n) == pytest.approx((high - low) / n / 2, abs=1.5 / n)


def test_a_share_of_all_or_of_none_is_not_certain():
    assert statistics.share_interval(1.0, 50) == pytest.approx(statistics.share_interval(0.0, 50))
    assert statistics.share_interval(1.0, 50) > 0.03


def rows_of(errors, index=None, mask="m", split="test"):
    images = index or list(range(len(errors)))
    return pd.DataFrame({"split": split, "mask": mask, "image": images, "mse_hidden": errors})


def test_paired_gain_is_in_decibels_with_an_interval_over_seeds():
    """Gains of 10, 20 and 30 dB by hand."""
    first = [rows_of([0.01, 0.03]), rows_of([0.001, 0.003]), rows_of([0.0001, 0.0003])]
    second = [rows_of([0.1, 0.3])] * 3
    assert statistics.psnr_gains(first, second, "m") == pytest.approx([10, 20, 30])
    mean, half_width = paired_psnr_gain(first, second, "m")
    assert mean == pytest.approx(20) and half_width == pytest.approx(43.0265 / 3**0.5, rel=1e-4)


def test_gains_are_paired_seed_by_seed():
    """Seeds that are easy for both: the errors vary a hundredfold, the gain not at all."""
    easy, hard = rows_of([0.001]), rows_of([0.1])
    easier, harder = rows_of([0.002]), rows_of([0.2])
    _, half_width = paired_psnr_gain([easy, hard, easy], [easier, harder, easier], "m")
    assert half_width == pytest.approx(0, abs=1e-9)


def test_only_the_mask_and_the_split_asked_for_are_compared():
    other = pd.concat([rows_of([0.1]), rows_of([9.0], mask="n"), rows_of([9.0], split="train")])
    mean, _ = paired_psnr_gain([rows_of([0.01])], [other], "m")
    assert mean == pytest.approx(10)


def test_images_are_paired_by_their_number():
    """And not by their place in the table."""
    assert paired_share_better(rows_of([0.1, 0.4]), rows_of([0.2, 0.3]), "m") == 0.5
    assert paired_share_better(rows_of([0.1, 0.4]), rows_of([0.5, 0.2], [1, 0]), "m") == 1.0


def test_other_images_and_other_numbers_of_seeds_are_refused():
    few, others = rows_of([0.1, 0.2]), rows_of([0.1, 0.2], [0, 5])
    with pytest.raises(ValueError, match="same images"):
        paired_psnr_gain([few], [others], "m")
    with pytest.raises(ValueError, match="same images"):
        paired_share_better(few, others, "m")
    with pytest.raises(ValueError, match="same images"):
        paired_share_better(few, few, "a mask that nobody measured")
    with pytest.raises(ValueError, match="2 runs cannot be paired with 1"):
        paired_psnr_gain([few, few], [few], "m")


def tidy():
    """Two strategies at two ratios, three seeds each; the accuracy is 10 a ratio plus the seed."""
    rows = [
        {"strategy": name, "ratio": ratio, "seed": seed, "value": 10 * ratio + seed + bonus}
        for name, bonus in (("random", 0.0), ("block", 0.5))
        for ratio in (1, 2)
        for seed in range(3)
    ]
    return pd.DataFrame(rows).assign(split="test", measure="accuracy")


def test_means_over_seeds_with_intervals():
    found = means(tidy(), "accuracy", ["strategy", "ratio"])
    expected = [("block", 1, 11.5), ("block", 2, 21.5), ("random", 1, 11.0), ("random", 2, 21.0)]
    assert list(found[["strategy", "ratio", "mean"]].itertuples(index=False, name=None)) == expected
    assert found["half_width"].to_numpy() == pytest.approx(4.30265 / 3**0.5, rel=1e-4)
    assert set(found["seeds"]) == {3}


def test_means_of_another_split_and_measure_and_of_nothing_are_left_out():
    other = tidy().assign(split="validation", value=99.0)
    more = tidy().assign(measure="other", value=99.0)
    empty = tidy().assign(seed=7, value=np.nan)
    found = means(pd.concat([tidy(), other, more, empty]), "accuracy", ["strategy", "ratio"])
    assert found["mean"].max() < 22 and set(found["seeds"]) == {3}


def test_a_parameter_that_some_runs_do_not_have_is_a_group_too():
    """PCA has no latent size."""
    table = tidy().assign(latent=lambda rows: rows["ratio"].where(rows["strategy"] == "random"))
    found = means(table, "accuracy", ["strategy", "ratio", "latent"])
    assert found["latent"].isna().tolist() == [True, True, False, False]


def test_a_seed_twice_in_one_mean_is_refused():
    with pytest.raises(ValueError, match="one seed stands twice"):
        means(tidy(), "accuracy", ["strategy"])


def test_runs_that_differ_in_more_than_their_seed_are_refused():
    """A mean is over seeds and nothing else; a key of its own is what every run has."""
    keyed = tidy().assign(key=range(12))
    assert set(means(keyed, "accuracy", ["strategy", "ratio"])["seeds"]) == {3}
    other = keyed.assign(epochs=keyed["seed"], batch=32)
    with pytest.raises(ValueError, match=r"differ in epochs: select rows, or name it in `by`"):
        means(other, "accuracy", ["strategy", "ratio"])


def test_a_measure_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"no 'acuracy' on test in this table: it has accuracy"):
        means(tidy(), "acuracy", ["strategy", "ratio"])
