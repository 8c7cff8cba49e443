import numpy as np
import pandas as pd
import pytest
import torch

from lib import evaluate, intervals, latents, probes
from lib.streams import stream


def test_test_masks_depend_on_split_strategy_and_ratio_alone():
    torch.manual_seed(1)
    first = evaluate.test_mask("random@0.75", "test", 20, (4, 4))
    torch.manual_seed(2)
    assert torch.equal(first, evaluate.test_mask("random@0.75", "test", 20, (4, 4)))
    assert not torch.equal(first, evaluate.test_mask("random@0.75", "validation", 20, (4, 4)))
    assert not evaluate.test_mask("none", "test", 3, (4, 4)).any()


@pytest.mark.parametrize("name", ["random", "random@", "random@half", "@"])
def test_a_test_mask_that_is_not_one_is_refused(name):
    with pytest.raises(ValueError, match="strategy@ratio"):
        evaluate.parse_mask(name)


def test_psnr_of_a_set_is_that_of_its_mean_error():
    rows = pd.DataFrame(
        {"split": "test", "mask": "m", "image": [0, 1], "mse_hidden": [0.1, 0.001], "ssim_hidden": [0.2, 0.4], "mse_visible": [0.0, 0.0]}
    )
    found = evaluate.summarise(rows)["test"]
    assert found["m/psnr_hidden"] == {"value": pytest.approx(-10 * np.log10(0.0505)), "n": 2}
    assert found["m/ssim_hidden"]["value"] == pytest.approx(0.3)
    assert found["m/psnr_visible"] == {"value": None, "n": 2}, "an exact copy has no finite PSNR"


def blobs(count, seed, shift=3.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    return (random.normal(0, 1, (count, 5)) + shift * np.eye(5)[labels]).astype("float32"), labels.astype("int64")


def test_probe_and_neighbours_find_classes_and_guess_without_them():
    splits = {"train": 300, "validation": 100, "test": 100}
    for shift, low, high in ((4.0, 0.95, 1.0), (0.0, 0.15, 0.55)):
        made = {split: blobs(count, seed, shift) for seed, (split, count) in enumerate(splits.items())}
        features, labels = ({split: pair[i] for split, pair in made.items()} for i in (0, 1))
        for scores in (probes.linear_probe(features, labels), probes.nearest_neighbours(features, labels)):
            assert set(scores) == {"validation", "test"} and all(low <= score <= high for score in scores.values())


def test_test_labels_do_not_choose_the_probe():
    made = {split: blobs(100, seed) for seed, split in enumerate(("train", "validation", "test"))}
    features, labels = ({split: pair[i] for split, pair in made.items()} for i in (0, 1))
    expected = probes.linear_probe(features, labels)["validation"]
    assert probes.linear_probe(features, labels | {"test": labels["test"][::-1].copy()})["validation"] == expected


def test_t_interval_of_three_values():
    mean, half = intervals.t_interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.30265 / 3**0.5, rel=1e-4)
    assert np.isnan(intervals.t_interval([1.0])[1])


def rows_of(errors, index=None):
    return pd.DataFrame({"split": "test", "mask": "m", "image": index or list(range(len(errors))), "mse_hidden": errors})


def test_paired_gain_is_in_decibels_and_refuses_other_images():
    gain, half = intervals.paired_psnr_gain([rows_of([0.01, 0.03])] * 2, [rows_of([0.1, 0.3])] * 2, "m")
    assert gain == pytest.approx(10) and half == pytest.approx(0, abs=1e-9)
    assert intervals.paired_share_better(rows_of([0.1, 0.4]), rows_of([0.2, 0.3]), "m") == 0.5
    with pytest.raises(ValueError, match="same images"):
        intervals.paired_psnr_gain([rows_of([0.1, 0.2])], [rows_of([0.1, 0.2], [0, 5])], "m")


def test_sliced_distance_of_equal_and_of_shifted_samples():
    first, second = torch.randn(4000, 2, generator=stream(0, "a")), torch.randn(4000, 2, generator=stream(0, "b"))
    assert latents.sliced_distance(first, second, stream(0, "d")) < 0.05
    assert latents.sliced_distance(first, first + torch.tensor([3.0, 0.0]), stream(0, "d")) == pytest.approx(3 * 2 / np.pi, rel=0.1)


def test_whitening_can_be_undone():
    codes = torch.randn(500, 2, generator=stream(0, "c")) @ torch.tensor([[2.0, 0.5], [0.0, 0.3]]) + 4
    white, mean, root = latents.whiten(codes)
    assert torch.allclose(torch.cov(white.T), torch.eye(2), atol=1e-3) and white.mean(dim=0).abs().max() < 1e-4
    assert torch.allclose(white @ root.T + mean, codes, atol=1e-3)
