"""Baselines are what they are called: the mean, PCA, a smooth continuation, the pixels."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lib.models.family import build
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 8, 8, (2, 2))
MEAN, STD = torch.tensor([0.5]), torch.tensor([0.2])
NOTHING = torch.zeros(100, 16, dtype=torch.bool)


def smooth(count):
    """Images that lie in a space of three dimensions: two slopes and a brightness."""
    ramp = torch.linspace(0, 1, 8)
    weights = torch.rand(count, 3, 1, 1, generator=stream(0, "r"))
    down, across = weights[:, 0] * ramp[None, :, None], weights[:, 1] * ramp[None, None, :]
    return ((down + across + weights[:, 2]) / 3)[:, None]


def noisy(count=100):
    return torch.rand(count, 1, 8, 8, generator=stream(0, "i"))


def fitted(name, images, shape=SHAPE, **options):
    mean, std = MEAN.expand(shape.channels), STD.expand(shape.channels)
    model = build(name, options, shape, mean, std, stream(0, "w"))
    model.fit(images)
    return model


def test_pca_without_a_mask_is_scikit_learns():
    images = noisy()
    model = fitted("pca", images, components=5)
    flat = images.flatten(1).numpy()
    reference = PCA(5).fit(flat)
    expected = reference.inverse_transform(reference.transform(flat)).reshape(images.shape)
    found = model.reconstruct(images, NOTHING).numpy()
    assert np.allclose(found, expected.clip(0, 1), atol=1e-4)


def test_pca_fills_gaps_of_data_that_is_linear():
    images = smooth(200)
    mask = torch.zeros(200, 16, dtype=torch.bool)
    mask[:, :12] = True
    found = fitted("pca", images, components=3).reconstruct(images, mask)
    assert (found - images).abs().max() < 0.02


def test_the_code_under_a_mask_is_the_mean_of_the_posterior():
    """Of a Gaussian with covariance loadings * loadings' + noise, given what is seen."""
    images = noisy()
    model = fitted("pca", images, components=4)
    mask = torch.rand(1, 16, generator=stream(0, "m")) < 0.5
    seen = (~mask)[0, :, None].expand(16, 4).flatten()
    loadings = model.loadings.flatten(0, 1).double()[seen]
    covariance = loadings @ loadings.T + model.noise * torch.eye(int(seen.sum())).double()
    offset = (model.centred(images[:1]).flatten().double())[seen]
    expected = loadings.T @ torch.linalg.solve(covariance, offset)
    assert torch.allclose(model.code(images[:1], mask)[0].double(), expected, atol=1e-4)


def filled_error(model, images, mask):
    hidden = model.space.hidden_pixels(mask)
    return float((hidden * (model.reconstruct(images, mask) - images).square()).sum())


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_noise_counts_for_more_where_it_goes_on_from_pixel_to_pixel(kind):
    """What a code of three leaves out of smooth images is smooth; of noisy ones it is noise."""
    noise = noisy(600) - 0.5
    if kind == "white":
        images = 0.5 + (smooth(600) - 0.5) / 2 + noise / 5
    else:
        blurred = torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
        images = 0.5 + torch.nn.functional.avg_pool2d(blurred, 3, stride=1, padding=1)
    model = fitted("pca", images[:500], components=3)
    plain = fitted("pca", images[:500], components=3)
    plain.find(images[:500])  # as in the paper
    factor = model.noise / plain.noise
    assert factor <= 2 if kind == "white" else factor >= 4
    mask = torch.rand(100, 16, generator=stream(0, "m")).argsort(dim=1) >= 4
    errors = [filled_error(one, images[500:], mask) for one in (model, plain)]
    assert errors[0] <= errors[1] * (1.01 if kind == "white" else 0.95)


def test_hidden_pixels_do_not_change_a_code():
    images = noisy()
    model = fitted("pca", images, components=4)
    mask = torch.rand(100, 16, generator=stream(0, "m")) < 0.5
    spoilt = torch.where(model.space.hidden_pixels(mask), torch.rand(1), images)
    assert torch.equal(model.code(images, mask), model.code(spoilt, mask))


@pytest.mark.parametrize(("images", "components"), [(4, 3), (100, 63)])
def test_components_are_capped_by_images(images, components):
    assert fitted("pca", noisy(images)).embed(noisy(images)).shape == (images, components)


def test_the_fit_uses_so_many_images_and_no_more():
    images = noisy()
    few = fitted("pca", images, components=3, fit_images=20)
    assert torch.equal(few.centre, fitted("pca", images[:20], components=3).centre)


def test_large_images_have_the_same_components():
    """Above a thousand pixels a randomised solver finds them, exactly where data is linear."""
    shape = Shape(1, 32, 32, (4, 4))
    images = torch.nn.functional.interpolate(smooth(60), size=(32, 32), mode="bilinear")
    found = fitted("pca", images, shape, components=3)
    drawn = found.reconstruct(images, torch.zeros(60, 64, dtype=torch.bool))
    assert (drawn - images).abs().max() < 1e-3


def test_biharmonic_keeps_visible_pixels_and_continues_a_plane():
    images = smooth(3)
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[:, 5:7] = True
    model = fitted("biharmonic", images)
    drawn, hidden = model.reconstruct(images, mask), model.space.hidden_pixels(mask)
    assert torch.equal(drawn[~hidden], images[~hidden])
    assert (drawn - images).abs().max() < 1e-3


def test_mean_fill_is_the_average_training_image():
    images = smooth(50)
    nothing = torch.zeros(2, 16, dtype=torch.bool)
    drawn = fitted("mean_fill", images).reconstruct(images[:2], nothing)
    assert torch.allclose(drawn, images.mean(dim=0).expand(2, 1, 8, 8))


def test_features_of_raw_pixels_are_the_pixels():
    images = noisy(3)
    assert torch.equal(fitted("raw_pixels", images).embed(images), images.reshape(3, 64))
