"""Intervals of many comparisons: against closed forms, published quantiles and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lib.comparisons import differences, dunnett, gains, rank_correlation
from lib.streams import stream


def errors_of(*means, seeds=1, images=400, spread=0.3, name="errors"):
    """Errors of arms, as images go: what an image is hard for, it is hard for every arm."""
    generator = stream(0, name)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).numpy()

    hard = np.exp(normal(1, images))
    arms = [mean * hard * np.exp(spread * normal(seeds, images)) for mean in means]
    return {f"arm {number}": own for number, own in enumerate(arms)}


# --- gains, image by image


def test_a_gain_that_every_image_shows_is_certain():
    """Errors vary a hundredfold between images; the ratio of the arms does not."""
    found = gains(errors_of(1.0, 0.5, spread=0.0), "arm 0", stream(0, "draws")).loc["arm 1"]
    assert found["gain"] == pytest.approx(10 * math.log10(2))
    assert found["half_width"] == pytest.approx(0, abs=1e-9)
    assert found["joint_half_width"] == pytest.approx(0, abs=1e-9)
    assert found["better"] == 1


def test_the_bootstrap_is_what_the_delta_method_says_of_one_seed():
    """log(a / b) of two means varies as the mean of a/mean(a) - b/mean(b)."""
    errors = errors_of(1.0, 0.9)
    found = gains(errors, "arm 0", stream(0, "draws")).loc["arm 1"]
    theirs, own = errors["arm 0"][0], errors["arm 1"][0]
    rest = theirs / theirs.mean() - own / own.mean()
    expected = 1.96 * 10 / math.log(10) * rest.std() / math.sqrt(len(rest))
    assert found["half_width"] == pytest.approx(expected, rel=0.08)
    assert found["joint_half_width"] == pytest.approx(expected, rel=0.08), "of one comparison"


def test_seeds_that_disagree_widen_the_interval():
    errors = errors_of(1.0, 0.9, seeds=3, images=200)
    alike = gains(errors, "arm 0", stream(0, "draws")).loc["arm 1"]
    better_and_worse = np.array([[0.7], [1.0], [1.4]])
    apart = errors | {"arm 1": errors["arm 1"] * better_and_worse}
    found = gains(apart, "arm 0", stream(0, "draws")).loc["arm 1"]
    assert found["half_width"] > 3 * alike["half_width"]


def test_a_joint_interval_is_wider_the_more_are_compared():
    """Of independent arms by the quantile of the largest of so many normal numbers, at most."""
    errors = errors_of(*[1.0] * 21)
    found = gains(errors, "arm 0", stream(0, "draws"))
    ratio = float((found["joint_half_width"] / found["half_width"]).mean())
    independent = stats.norm.ppf(1 - (1 - 0.95 ** (1 / 20)) / 2) / 1.96
    assert 1.2 < ratio < independent * 1.05


def test_joint_intervals_of_equal_arms_hold_nothing_but_zero_as_often_as_they_say():
    """That any of ten equal arms seems better happens to one data set in twenty, not to one in
    three as with separate intervals.
    """
    separate, together = 0, 0
    for trial in range(60):
        errors = errors_of(*[1.0] * 11, images=150, name=f"trial {trial}")
        found = gains(errors, "arm 0", stream(trial, "draws"))
        separate += bool((found["gain"].abs() > found["half_width"]).any())
        together += bool((found["gain"].abs() > found["joint_half_width"]).any())
    assert together <= 9 < separate


def test_other_seeds_or_images_are_refused():
    errors = errors_of(1.0, 0.5, seeds=2)
    with pytest.raises(ValueError, match=r"arm 1 has \(1, 400\).*the same seeds and images"):
        gains(errors | {"arm 1": errors["arm 1"][:1]}, "arm 0", stream(0, "draws"))


def test_a_reference_alone_is_compared_with_nothing():
    assert gains(errors_of(1.0), "arm 0", stream(0, "draws")).empty


# --- differences, seed by seed


@pytest.mark.parametrize(
    ("arms", "free", "quantile"), [(1, 10, 2.23), (2, 10, 2.57), (5, 10, 2.99), (9, 20, 2.95)]
)
def test_dunnetts_quantiles_are_the_published_ones(arms, free, quantile):
    """Two-sided, 5 %: Dunnett 1964, table II."""
    assert dunnett(arms, free, stream(0, "draws")) == pytest.approx(quantile, abs=0.03)


def test_one_arm_and_many_seeds_is_the_paired_t_test():
    values = {"a": np.array([0.5, 0.6, 0.4, 0.55]), "b": np.array([0.53, 0.64, 0.42, 0.6])}
    found = differences(values, "a", stream(0, "draws")).loc["b"]
    low, high = stats.ttest_rel(values["b"], values["a"]).confidence_interval()
    assert found["difference"] == pytest.approx((low + high) / 2)
    assert found["half_width"] == pytest.approx((high - low) / 2)
    assert found["joint_half_width"] == pytest.approx((high - low) / 2, rel=0.03)


def test_what_a_seed_brings_to_all_arms_is_no_noise():
    plain = {"a": np.array([0.5, 0.6]), "b": np.array([0.53, 0.64]), "c": np.array([0.5, 0.58])}
    shifted = {name: own + np.array([0.1, -0.2]) for name, own in plain.items()}
    one, other = (differences(each, "a", stream(0, "draws")) for each in (plain, shifted))
    assert np.allclose(one, other)


def test_one_seed_has_a_difference_and_no_interval():
    found = differences({"a": np.array([0.5]), "b": np.array([0.6])}, "a", stream(0, "x")).loc["b"]
    assert found["difference"] == pytest.approx(0.1)
    assert math.isnan(found["half_width"]) and math.isnan(found["joint_half_width"])


def test_arms_of_other_seeds_are_refused():
    with pytest.raises(ValueError, match="different numbers of seeds"):
        differences({"a": np.array([0.5]), "b": np.array([0.6, 0.7])}, "a", stream(0, "x"))


# --- ranks


def test_rank_correlation_is_scipys_and_sees_order_alone():
    first = np.array([3.0, 1.0, 2.0, 2.0, 9.0, 4.0])
    second = np.array([2.0, 1.0, 4.0, 3.0, 8.0, 8.5])
    found, low, high = rank_correlation(first, second)
    assert found == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_correlation(np.exp(first), second) == (found, low, high)
    assert -1 < low < found < high < 1


def test_its_interval_holds_the_truth_as_often_as_it_says():
    """Of normal numbers with correlation .6, Spearman's is 6 / pi * asin(.3)."""
    truth = 6 / math.pi * math.asin(0.3)
    generator = stream(0, "pairs")
    held = 0
    for _ in range(300):
        drawn = torch.randn(2, 28, generator=generator).double().numpy()
        _, low, high = rank_correlation(drawn[0], 0.6 * drawn[0] + 0.8 * drawn[1])
        held += low < truth < high
    assert 0.91 < held / 300 < 0.98


def test_ranks_of_few_or_equal_things():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))[0] == -1
    assert math.isnan(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 2.5]))[1])
    assert all(map(math.isnan, rank_correlation(np.ones(5), np.arange(5.0))))
    found, *interval = rank_correlation(np.arange(5.0), np.arange(5.0))
    assert math.isclose(found, 1) and all(map(math.isnan, interval)), (
        "chance does it to four things in 24"
    )
