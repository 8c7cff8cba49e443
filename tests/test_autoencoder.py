"""The linear autoencoder is PCA; the masked ones see hidden pixels as the data set's mean."""

import pytest
import torch
from pydantic import ValidationError

from lib import codes
from lib.models.autoencoder import AutoencoderConfig, ConvAutoencoderConfig
from lib.models.family import build
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 4, 4, (2, 2))
MEAN, STD = torch.tensor([0.5]), torch.tensor([0.1])
HALF = torch.tensor([[True, False, True, False]])


def made(name="autoencoder", shape=SHAPE, **options):
    mean, std = MEAN.expand(shape.channels), STD.expand(shape.channels)
    return build(name, options, shape, mean, std, stream(0, "weights"))


def test_a_linear_autoencoder_finds_the_subspace_of_pca(generator):
    """Baldi & Hornik 1989, on data with a clear three-dimensional subspace."""
    basis = torch.linalg.qr(torch.randn(16, 3, generator=generator)).Q
    drawn = torch.randn(400, 3, generator=generator) * torch.tensor([0.3, 0.2, 0.15])
    noise = 0.002 * torch.randn(400, 16, generator=generator)
    images = (0.5 + drawn @ basis.T + noise).reshape(-1, 1, 4, 4)
    model = made(hidden=(), latent=3, loss_on="all")
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=800)
    nothing = torch.zeros(400, 4, dtype=torch.bool)
    for _ in range(800):
        optimiser.zero_grad()
        model.loss(images, nothing).backward()
        optimiser.step()
        falling.step()
    pca = made("pca", components=3)
    pca.fit(images)
    angles = codes.principal_angles(codes.decoder_span(model, 3), pca.axes.flatten(0, 1))
    assert angles.max() < 3


def test_the_mask_channel_tells_blank_from_average():
    grey = torch.full((1, 1, 4, 4), 0.5)
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    told = made(hidden=(8,), latent=4, mask_channel=True)
    blind = made(hidden=(8,), latent=4, mask_channel=False)
    assert torch.equal(blind.encode(grey, nothing), blind.encode(grey, HALF)), (
        "an average image looks the same blanked"
    )
    assert not torch.equal(told.encode(grey, nothing), told.encode(grey, HALF))


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder"])
def test_without_a_mask_nothing_is_hidden(name):
    model, images = made(name), torch.rand(3, 1, 4, 4, generator=stream(0, "images"))
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    assert torch.equal(model.encode(images), model.encode(images, nothing))
    assert torch.equal(model.embed(images), model.encode(images, nothing))
    assert not torch.equal(model.encode(images), model.encode(images, HALF.expand(3, -1)))


@pytest.mark.parametrize("size", [(9, 15), (8, 8), (5, 1)], ids=str)
@pytest.mark.parametrize("channels", [(4,), (4, 5, 6)], ids=str)
def test_convolutions_come_back_to_the_size_they_began_with(size, channels):
    """Sides are halved and rounded up: where they are odd, doubling would miss."""
    shape = Shape(2, *size, size)
    model = made("conv_autoencoder", shape, channels=channels, latent=3)
    images = torch.rand(2, 2, *size, generator=stream(0, "images"))
    assert model.decode(model.encode(images)).shape == images.shape


def test_the_decoder_mirrors_the_encoder():
    model = made(hidden=(7, 5), latent=3)
    linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in linear]
    assert sizes == [(16, 7), (7, 5), (5, 3), (3, 5), (5, 7), (7, 16)]


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(ValidationError, match="channels"):
        ConvAutoencoderConfig(channels=())
    assert AutoencoderConfig(hidden=()).hidden == (), "a perceptron without layers is linear"
