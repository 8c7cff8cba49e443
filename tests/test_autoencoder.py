import torch

from lib import linear
from lib.models import build
from lib.optim import Batch, GradientStep, StepSettings
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 4, 4, (2, 2))


def test_a_linear_autoencoder_finds_the_subspace_of_pca(generator):
    """Baldi & Hornik 1989, on data with a clear three-dimensional subspace."""
    basis = torch.linalg.qr(torch.randn(16, 3, generator=generator)).Q
    codes = torch.randn(400, 3, generator=generator) * torch.tensor([0.3, 0.2, 0.15])
    images = (0.5 + codes @ basis.T + 0.002 * torch.randn(400, 16, generator=generator)).reshape(-1, 1, 4, 4)
    model = build("autoencoder", {"hidden": (), "latent": 3, "loss_on": "all"}, SHAPE, torch.tensor([0.5]), torch.tensor([0.1]), generator)
    step = GradientStep(model, StepSettings(learning_rate=0.02, weight_decay=0.0))
    nothing = torch.zeros(400, 4, dtype=torch.bool)
    for number in range(800):
        step.scale_rate(1 - number / 800)
        step(Batch(images, nothing, len(images), generator))
    pca = build("pca", {"components": 3}, SHAPE, torch.tensor([0.5]), torch.tensor([0.1]), generator)
    pca.fit(images)
    angles = linear.principal_angles(linear.decoder_span(model, 3), pca.axes.flatten(0, 1))
    assert angles.max() < 3


def test_principal_angles_of_known_spans():
    plane = torch.eye(4)[:, :2]
    turned = torch.eye(4)[:, [0, 2]]
    assert torch.allclose(linear.principal_angles(plane, plane), torch.zeros(2), atol=0.1)
    assert torch.allclose(linear.principal_angles(plane, turned), torch.tensor([0.0, 90.0]), atol=0.1)


def test_the_mask_channel_tells_blank_from_average(generator):
    options = {"hidden": (8,), "latent": 4, "mask_channel": True}
    grey = torch.full((1, 1, 4, 4), 0.5)
    nothing, half = torch.zeros(1, 4, dtype=torch.bool), torch.tensor([[True, False, True, False]])
    told, blind = (
        build("autoencoder", options | {"mask_channel": told}, SHAPE, torch.tensor([0.5]), torch.tensor([0.1]), stream(0, "w"))
        for told in (True, False)
    )
    assert torch.equal(blind.encode(grey, nothing), blind.encode(grey, half)), "an average image looks the same blanked"
    assert not torch.equal(told.encode(grey, nothing), told.encode(grey, half))
