import numpy as np
import torch
from sklearn.decomposition import PCA

from lib.models import build
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 8, 8, (2, 2))
MEAN, STD = torch.tensor([0.5]), torch.tensor([0.2])


def smooth(count):
    ramp = torch.linspace(0, 1, 8)
    weights = torch.rand(count, 3, 1, 1, generator=stream(0, "r"))
    pictures = weights[:, 0] * ramp[None, :, None] + weights[:, 1] * ramp[None, None, :] + weights[:, 2]
    return (pictures / 3)[:, None]


def fitted(name, images, **options):
    model = build(name, options, SHAPE, MEAN, STD, stream(0, "w"))
    model.fit(images)
    return model


def test_pca_without_a_mask_is_scikit_learns():
    images = torch.rand(100, 1, 8, 8, generator=stream(0, "i"))
    model = fitted("pca", images, components=5)
    reference = PCA(5).fit(images.flatten(1).numpy())
    nothing = torch.zeros(100, 16, dtype=torch.bool)
    expected = reference.inverse_transform(reference.transform(images.flatten(1).numpy())).reshape(images.shape)
    assert np.allclose(model.reconstruct(images, nothing).numpy(), expected.clip(0, 1), atol=1e-4)


def test_pca_fills_gaps_of_data_that_is_linear():
    images = smooth(200)
    mask = torch.zeros(200, 16, dtype=torch.bool)
    mask[:, :12] = True
    assert (fitted("pca", images, components=3).reconstruct(images, mask) - images).abs().max() < 0.02


def test_biharmonic_keeps_visible_pixels_and_continues_a_plane():
    images = smooth(3)
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[:, 5:7] = True
    model = fitted("biharmonic", images)
    drawn, hidden = model.reconstruct(images, mask), model.space.hidden_pixels(mask)
    assert torch.equal(drawn[~hidden], images[~hidden]) and (drawn - images).abs().max() < 1e-3


def test_mean_fill_is_the_average_training_image():
    images = smooth(50)
    drawn = fitted("mean_fill", images).reconstruct(images[:2], torch.zeros(2, 16, dtype=torch.bool))
    assert torch.allclose(drawn[0, 0], images.mean(dim=0)[0])
