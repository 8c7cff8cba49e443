import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lib.metrics import image_measures, psnr, ssim_map

RANDOM = np.random.default_rng(0)


def pair(side, channels):
    truth = RANDOM.random((side, side, channels))
    return truth, np.clip(truth + RANDOM.normal(0, 0.1, truth.shape), 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_of_whole_images_are_scikit_images(channels):
    truth, prediction = pair(32, channels)
    nothing = np.zeros((32, 32), dtype=bool)
    found = image_measures(truth, prediction, nothing)
    assert psnr(found["mse_all"]) == pytest.approx(peak_signal_noise_ratio(truth, prediction, data_range=1), rel=1e-9)
    cropped = ssim_map(truth, prediction)[3:-3, 3:-3].mean()
    assert cropped == pytest.approx(structural_similarity(truth, prediction, win_size=7, data_range=1, channel_axis=2), rel=1e-6)


def test_regions_are_measured_apart():
    truth, prediction = pair(16, 3)
    hidden = np.zeros((16, 16), dtype=bool)
    hidden[:4] = True
    spoilt = prediction.copy()
    spoilt[~hidden] = 0
    before, after = image_measures(truth, prediction, hidden), image_measures(truth, spoilt, hidden)
    assert before["mse_hidden"] == after["mse_hidden"] and before["mse_visible"] != after["mse_visible"]
    assert before["mse_all"] == pytest.approx((before["mse_hidden"] + 3 * before["mse_visible"]) / 4)
    assert before["pasted_mse_all"] == pytest.approx(before["mse_hidden"] / 4)
    assert after["pasted_ssim_hidden"] == pytest.approx(before["pasted_ssim_hidden"])


def test_an_exact_copy_has_no_finite_psnr_and_ssim_one():
    truth, _ = pair(16, 1)
    found = image_measures(truth, truth, np.zeros((16, 16), dtype=bool))
    assert psnr(found["mse_all"]) is None and found["ssim_all"] == pytest.approx(1)
    assert "mse_hidden" not in found and psnr(math.nan) is None and psnr(None) is None


def test_a_known_error_in_decibels():
    assert psnr(0.01) == pytest.approx(20) and psnr(1.0) == pytest.approx(0)


def test_small_images_use_a_small_window_and_tiny_ones_are_refused():
    truth, prediction = pair(8, 1)
    _, full = structural_similarity(truth, prediction, win_size=3, data_range=1, channel_axis=2, full=True)
    assert np.allclose(ssim_map(truth, prediction), full[:, :, 0])
    with pytest.raises(ValueError, match="at least 3x3"):
        ssim_map(np.zeros((2, 8, 1)), np.zeros((2, 8, 1)))
