"""Measures against scikit-image, independent solutions and cases worked out by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lib import measures
from lib.measures import (
    FOLDS,
    Probe,
    best_probe,
    folds,
    image_measures,
    nearest_neighbours,
    probe_within,
    psnr,
    ssim_map,
)

# --- reconstruction ---------------------------------------------------------------------------


def pair(side, channels):
    random = np.random.default_rng(side + channels)
    truth = random.random((side, side, channels))
    return truth, np.clip(truth + random.normal(0, 0.1, truth.shape), 0, 1)


def upper(side, rows):
    """The mask that hides the upper rows."""
    hidden = np.zeros((side, side), dtype=bool)
    hidden[:rows] = True
    return hidden


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_of_whole_images_are_scikit_images(channels):
    truth, prediction = pair(32, channels)
    found = image_measures(truth, prediction, upper(32, 0))
    expected = peak_signal_noise_ratio(truth, prediction, data_range=1)
    assert psnr(found["mse_all"]) == pytest.approx(expected, rel=1e-9)
    theirs, full = structural_similarity(
        truth, prediction, win_size=7, data_range=1, channel_axis=2, full=True
    )
    assert ssim_map(truth, prediction)[3:-3, 3:-3].mean() == pytest.approx(theirs, rel=1e-6)
    assert found["ssim_all"] == pytest.approx(full.mean(), rel=1e-9)


def test_what_is_judged_is_the_completed_image():
    truth, prediction = pair(16, 3)
    hidden = upper(16, 4)
    completed = np.where(hidden[:, :, None], prediction, truth)
    found = image_measures(truth, prediction, hidden)
    full = ssim_map(truth, completed)
    assert found["ssim_all"] == pytest.approx(full.mean())
    assert found["ssim_hidden"] == pytest.approx(full[:4].mean())
    assert found["mse_all"] == pytest.approx(((completed - truth) ** 2).mean())


def test_the_prediction_as_it_is_stands_beside():
    truth, prediction = pair(16, 3)
    found = image_measures(truth, prediction, upper(16, 4))
    full = ssim_map(truth, prediction)
    assert found["raw_ssim_all"] == pytest.approx(full.mean())
    assert found["raw_ssim_hidden"] == pytest.approx(full[:4].mean())
    assert found["raw_ssim_visible"] == pytest.approx(full[4:].mean())
    assert found["raw_mse_all"] == pytest.approx(((prediction - truth) ** 2).mean())


def test_squared_errors_of_nine_pixels_by_hand():
    """One wrong by .4 among the hidden two, one by .2 among the visible seven."""
    truth, prediction = np.full((3, 3, 1), 0.5), np.full((3, 3, 1), 0.5)
    hidden = np.zeros((3, 3), dtype=bool)
    hidden[0, :2] = True
    prediction[0, 0] = 0.9
    prediction[2, 2] = 0.3
    found = image_measures(truth, prediction, hidden)
    assert found["mse_hidden"] == pytest.approx(0.16 / 2)
    assert found["mse_visible"] == pytest.approx(0.04 / 7)
    assert found["mse_all"] == pytest.approx(0.16 / 9), "the visible error is pasted over"
    assert found["raw_mse_all"] == pytest.approx(0.20 / 9)


def test_what_a_model_says_of_visible_pixels_changes_raw_figures_alone():
    truth, prediction = pair(16, 1)
    hidden = upper(16, 8)
    spoilt = np.where(hidden[:, :, None], prediction, 0)
    before, after = (image_measures(truth, made, hidden) for made in (prediction, spoilt))
    changed = {name for name in before if before[name] != pytest.approx(after[name], rel=1e-12)}
    expected = {"mse_visible"} | {name for name in before if name.startswith("raw_")}
    assert changed == expected


def test_where_nothing_is_hidden_the_prediction_itself_is_judged():
    truth, prediction = pair(16, 1)
    found = image_measures(truth, prediction, upper(16, 0))
    assert set(found) == {"mse_visible", "mse_all", "ssim_all"}
    assert found["mse_all"] == found["mse_visible"] > 0 and found["ssim_all"] < 1


def test_where_everything_is_hidden_there_is_no_visible_region():
    truth, prediction = pair(16, 1)
    found = image_measures(truth, prediction, upper(16, 16))
    assert "mse_visible" not in found and "raw_ssim_visible" not in found
    assert found["ssim_all"] == found["raw_ssim_all"]


def test_every_measure_of_an_ordinary_image_is_a_number():
    truth, prediction = pair(8, 3)
    hidden = np.arange(64).reshape(8, 8) < 40
    found = image_measures(truth, prediction, hidden)
    assert len(found) >= 9 and all(map(math.isfinite, found.values()))


def test_an_exact_copy_has_no_finite_psnr_and_ssim_one():
    truth, _ = pair(16, 1)
    found = image_measures(truth, truth, upper(16, 0))
    assert psnr(found["mse_all"]) is None and found["ssim_all"] == pytest.approx(1)
    assert psnr(math.nan) is None and psnr(None) is None


def test_a_known_error_in_decibels():
    assert psnr(0.01) == pytest.approx(20) and psnr(1.0) == pytest.approx(0)


@pytest.mark.parametrize(("side", "window"), [(15, 3), (16, 7)])
def test_the_window_of_ssim_is_seven_pixels_from_sixteen_on(side, window):
    truth, prediction = np.random.default_rng(side).random((2, side, 20, 1))
    expected = structural_similarity(
        truth, prediction, win_size=window, data_range=1.0, channel_axis=2, full=True
    )[1]
    assert ssim_map(truth, prediction) == pytest.approx(expected[:, :, 0])


@pytest.mark.parametrize(("count", "turned"), [(4, True), (5, False)])
def test_few_images_are_put_in_the_basis_of_what_they_span(count, turned):
    inputs = np.random.default_rng(0).random((count, 8))
    found, basis = measures.in_own_span(inputs)
    assert (basis is not None) == turned
    assert (found if basis is None else found @ basis.T) == pytest.approx(inputs)


def test_small_images_use_a_small_window_and_tiny_ones_are_refused():
    truth, prediction = pair(8, 1)
    _, full = structural_similarity(
        truth, prediction, win_size=3, data_range=1, channel_axis=2, full=True
    )
    assert np.allclose(ssim_map(truth, prediction), full[:, :, 0])
    with pytest.raises(ValueError, match="at least 3x3 pixels, got 2x8"):
        ssim_map(np.zeros((2, 8, 1)), np.zeros((2, 8, 1)))


# --- features ---------------------------------------------------------------------------------

SPLITS = {"train": 300, "validation": 100, "test": 100}


def blobs(count, seed, shift, classes=3, dim=5):
    """Classes that differ in the mean of one feature each."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    features = random.normal(0, 1, (count, dim)) + shift * np.eye(dim)[labels]
    return features.astype("float32"), labels.astype("int64")


def made(shift=1.0, **options):
    """Features and labels of all splits."""
    features, labels = {}, {}
    for seed, (split, count) in enumerate(SPLITS.items()):
        features[split], labels[split] = blobs(count, seed, shift, **options)
    return features, labels


def independent(features, labels, strength):
    """Weights and biases of standardised features by a general minimiser of the penalised loss."""
    x = (features - features.mean(0)) / features.std(0)
    x = x.astype(float)
    count, dim = x.shape
    classes = labels.max() + 1

    def loss(flat):
        weight, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
        logits = x @ weight.T + bias
        errors = logsumexp(logits, axis=1) - logits[np.arange(count), labels]
        share = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        share[np.arange(count), labels] -= 1
        slope = strength * share.T @ x + weight
        value = strength * errors.sum() + 0.5 * (weight**2).sum()
        return value, np.concatenate([slope.ravel(), strength * share.sum(0)])

    options = {"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-10}
    start = np.zeros(classes * dim + classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return found[: classes * dim].reshape(classes, dim), found[classes * dim :]


@pytest.mark.parametrize("dim", [5, 400, 700], ids=["few features", "some", "many, in their span"])
def test_every_probe_is_the_minimum_of_its_penalised_loss(dim):
    """Its logits, since those of all classes may be moved together."""
    features, labels = made(dim=dim)
    path = measures.probe_path(features["train"], labels["train"])
    assert [probe.strength for probe in path] == list(measures.STRENGTHS)
    train = features["train"]
    scaled = (train - train.mean(0)) / train.std(0)
    for probe in (path[0], path[3], path[5]):
        weight, bias = independent(train, labels["train"], probe.strength)
        expected = scaled @ weight.T + bias
        found = train @ probe.weight.T + probe.bias
        centred = [logits - logits.mean(axis=1, keepdims=True) for logits in (found, expected)]
        assert np.allclose(*centred, atol=2e-3)


def test_a_protocol_that_changes_is_a_new_version():
    """Numbers of other strengths, iterations or neighbours are not those of this version."""
    strengths = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    protocol = (measures.STRENGTHS, measures.ITERATIONS, measures.TOLERANCE)
    neighbours = (measures.NEIGHBOURS, measures.TEMPERATURE)
    assert (measures.PROBES, *protocol) == (2, strengths, 100, 1e-5)
    assert neighbours == (20, 0.07)


def test_the_iterations_and_the_tolerance_are_those_that_are_stated(monkeypatch):
    features, labels = made()

    def last():
        return measures.probe_path(features["train"], labels["train"])[-1].weight

    whole = last()
    monkeypatch.setattr(measures, "ITERATIONS", 1)
    assert not np.allclose(last(), whole, rtol=0.05)
    monkeypatch.setattr(measures, "ITERATIONS", 100)
    monkeypatch.setattr(measures, "TOLERANCE", 0.1)
    assert not np.allclose(last(), whole, rtol=0.05)


def test_two_classes_have_a_row_each():
    features, labels = made(shift=3.0, classes=2)
    probe = best_probe(features, labels)
    assert probe.weight.shape == (2, 5)
    assert probe.accuracy(features["test"], labels["test"]) > 0.95


def test_a_feature_that_never_moves_does_no_harm():
    features, labels = made(shift=4.0)
    still = {split: np.hstack([x, np.full_like(x[:, :1], 7)]) for split, x in features.items()}
    probe = best_probe(still, labels)
    assert np.isfinite(probe.weight).all() and np.isfinite(probe.bias).all()
    assert probe.accuracy(still["test"], labels["test"]) > 0.95


def test_classes_keep_their_numbers():
    """Labels 0, 5 and 7 are predicted as such."""
    features, labels = made(shift=4.0)
    renamed = {split: np.array([0, 5, 7])[numbers] for split, numbers in labels.items()}
    probe = best_probe(features, renamed)
    assert probe.classes.tolist() == [0, 5, 7]
    assert probe.accuracy(features["test"], renamed["test"]) > 0.95


@pytest.mark.parametrize(("shift", "low", "high"), [(4.0, 0.95, 1.0), (0.0, 0.15, 0.55)])
def test_probe_and_neighbours_find_classes_and_guess_without_them(shift, low, high):
    features, labels = made(shift)
    probe, near = best_probe(features, labels), nearest_neighbours(features, labels)
    for split in ("validation", "test"):
        assert low <= probe.accuracy(features[split], labels[split]) <= high
        assert low <= near[split] <= high
    assert set(near) == {"validation", "test"}


def test_test_labels_do_not_choose_the_probe():
    features, labels = made()
    other = labels | {"test": labels["test"][::-1].copy()}
    assert best_probe(features, other).strength == best_probe(features, labels).strength


def stub(right, strength):
    """A probe that is right about so many of the four first of ten images, all of class 1."""
    weight = np.zeros((2, 10))
    weight[1] = [2.0] * right + [0.0] * (10 - right)
    return Probe(weight, np.array([1.0, 0.0]), np.array([0, 1]), strength)


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ((4, 4, 4, 2), 1),  # an end is no better than what lies inside
        ((4, 3, 3, 2), 0),  # an end alone is best, and it is said
        ((1, 3, 3, 3), 1),  # the strongest penalty among equals
        ((1, 2, 3, 4), 3),
    ],
)
def test_the_strength_is_the_best_on_validation(monkeypatch, accuracies, chosen):
    strengths = (0.01, 0.1, 1.0, 10.0)
    path = [stub(*given) for given in zip(accuracies, strengths, strict=True)]
    monkeypatch.setattr(measures, "STRENGTHS", strengths)
    monkeypatch.setattr(measures, "probe_path", lambda features, labels: path)
    features = {"train": np.eye(10), "validation": np.eye(10)}
    labels = {split: np.ones(10, dtype="int64") for split in features}
    best = best_probe(features, labels)
    assert best.strength == strengths[chosen]
    assert best.edge == (chosen in (0, 3))


def test_many_features_of_few_images_want_a_strong_penalty_that_the_grid_reaches():
    """As raw pixels do: the best is inside the grid, at 1e-3 or below."""
    features, labels = made(shift=1.2, dim=3000)
    best = best_probe(features, labels)
    assert best.strength <= 1e-3 and not best.edge


# Three training images whose mean is (10, 10): from there one lies to the right, one up, and one
# down to the left.
NEAR = {
    "train": np.array([[11.0, 10.0], [10.0, 11.0], [9.0, 9.0]]),
    "test": np.array([[12.0, 10.2], [10.1, 14.0], [8.0, 8.0]]),
}


def test_neighbours_are_those_in_direction_from_the_training_mean():
    """Seen from zero, all six point the same way, to within 14 degrees."""
    labels = {"train": np.array([0, 1, 2]), "test": np.array([0, 1, 2])}
    assert nearest_neighbours(NEAR, labels) == {"test": 1.0}


def test_moving_all_features_changes_no_neighbour():
    features, labels = made()
    moved = {split: x + np.float32(50) for split, x in features.items()}
    assert nearest_neighbours(moved, labels) == nearest_neighbours(features, labels)


def test_a_near_neighbour_outvotes_two_far_ones():
    """Training images 1, 1, 1, -3 on a line: no mean to remove but their own, 0.

    The test image at 60 degrees is nearest to class 0 (cosine .985), then twice class 1 (cosine
    .9397): exp(.985 / .07) = 1.29e6 against 2 * exp(.9397 / .07) = 1.35e6, so class 1 wins; at
    cosine .866 it would not: 2 * exp(.866 / .07) = 4.7e5.
    """
    for apart, winner in ((20.0, 1), (30.0, 0)):
        degrees = np.deg2rad([60.0 - 10.0, 60.0 + apart, 60.0 + apart, 240.0])
        around = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
        around[3] = -around[:3].sum(axis=0)  # so that the mean is zero
        test = np.array([[np.cos(np.pi / 3), np.sin(np.pi / 3)]])
        features = {"train": around, "test": test}
        labels = {"train": np.array([0, 1, 1, 2]), "test": np.array([winner])}
        assert nearest_neighbours(features, labels) == {"test": 1.0}


def test_a_twenty_first_neighbour_has_no_vote():
    """Twenty of class 0, a little nearer than thirty of class 1 that would outvote them."""
    degrees = np.deg2rad([10.0] * 20 + [12.0] * 30)
    near = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    train = np.concatenate([near, -near])  # their mean is zero
    features = {"train": train, "test": np.array([[1.0, 0.0]])}
    labels = {"train": np.array([0] * 20 + [1] * 30 + [2] * 50), "test": np.array([0])}
    assert nearest_neighbours(features, labels) == {"test": 1.0}


def test_a_strength_is_chosen_inside_the_labels_and_leaves_noise_alone():
    """Where features say little, a strong penalty; with one image of a class, none is chosen."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = random.normal(size=(60, 200))
    telling = noise.copy()
    telling[:, 0] = 10 * labels
    telling[:, 1] = 10 * (labels == 1)
    chosen = probe_within(telling, labels)
    assert chosen.accuracy(telling, labels) == 1
    alone = probe_within(noise[:4], np.array([0, 0, 1, 2]))
    assert alone.strength == 1.0
    assert probe_within(telling, labels).strength == chosen.strength, "the folds are fixed"


def test_folds_hold_out_every_image_once_and_each_class_alike(monkeypatch):
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    turns = folds(labels)
    held = np.concatenate([part for _, part in turns])
    assert len(turns) == FOLDS and sorted(held) == list(range(35))
    for fitted, part in turns:
        assert not set(fitted) & set(part) and np.bincount(labels[part]).tolist() == [4, 2, 1]
    monkeypatch.setattr(measures, "MANY", 30)
    assert len(folds(labels)) == 1
    assert len(folds(np.array([0, 0, 0, 1, 1]))) == 2 and folds(np.array([0, 0, 1])) == []
