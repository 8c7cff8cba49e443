"""What holds for every family in the register."""

import pytest
import torch

from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import Batch, StepSettings
from lib.streams import stream

SMALL = {
    "autoencoder": {"hidden": (16,), "latent": 4},
    "conv_autoencoder": {"channels": (8, 16), "latent": 16},
    "adversarial": {"hidden": (16,), "discriminator": (8,), "latent": 2},
    "mae": {"dim": 8, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2},
}
TRAINED = [name for name, family in MODELS.items() if family.trained]


def small(name, shape, images, **options):
    model = build(
        name, SMALL.get(name, {}) | options, shape, torch.full((shape.channels,), 0.5), torch.full((shape.channels,), 0.3), stream(0, "w")
    )
    if not MODELS[name].trained:
        model.fit(images)
    return model


def masks(shape, ratio=0.5, batch=5):
    return draw("random", batch=batch, grid=shape.grid, ratio=ratio, generator=stream(0, "mask"))


@pytest.mark.parametrize("name", MODELS)
def test_reconstruct_and_embed_have_the_promised_shapes_and_ranges(name, shape, images):
    model = small(name, shape, images)
    if hasattr(model, "reconstruct"):
        drawn = model.reconstruct(images, masks(shape))
        assert drawn.shape == images.shape and drawn.min() >= 0 and drawn.max() <= 1
    if hasattr(model, "embed"):
        features = model.embed(images)
        assert features.ndim == 2 and len(features) == len(images)
    assert hasattr(model, "reconstruct") or hasattr(model, "embed")


@pytest.mark.parametrize("name", [name for name, family in MODELS.items() if hasattr(family.module, "reconstruct")])
def test_hidden_pixels_cannot_change_a_reconstruction(name, shape, images):
    model = small(name, shape, images)
    mask = masks(shape)
    spoilt = torch.where(model.space.hidden_pixels(mask), torch.rand(images.shape, generator=stream(1, "n")), images)
    with torch.no_grad():
        assert torch.allclose(model.reconstruct(images, mask), model.reconstruct(spoilt, mask), atol=1e-6)


def test_the_loss_on_hidden_pixels_ignores_what_is_predicted_elsewhere(shape, images):
    """Perfect visible predictions or absurd ones: only hidden pixels count."""
    space = small("autoencoder", shape, images).space
    mask, truth = masks(shape), space.standardise(images)
    hidden = space.hidden_pixels(mask)
    absurd = torch.where(hidden, truth + 1, truth + 100)
    assert space.error(absurd, images, mask, "hidden").item() == pytest.approx(1, abs=1e-4)
    assert space.error(torch.where(hidden, truth, truth + 100), images, mask, "hidden").item() == pytest.approx(0, abs=1e-6)
    assert space.error(truth + 2, images, mask, "all").item() == pytest.approx(4, abs=1e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_the_models_loss_is_the_error_of_its_reconstruction_on_the_region(name, shape, images):
    for region in ("hidden", "all"):
        model = small(name, shape, images, loss_on=region).eval()
        mask = masks(shape)
        with torch.no_grad():
            loss = model.loss(images, mask)
            drawn = model.reconstruct(images, mask)
        unclipped = ((drawn > 0) & (drawn < 1)).all()
        error = model.space.error(model.space.standardise(drawn), images, mask, region)
        assert (unclipped and loss.item() == pytest.approx(error.item(), rel=1e-3)) or (not unclipped and loss >= error - 1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_nothing_hidden_needs_the_loss_on_all_pixels(name, shape, images):
    nothing = masks(shape, 0.0)
    with pytest.raises(ValueError, match="loss_on='all'"):
        small(name, shape, images).loss(images, nothing)
    assert small(name, shape, images, loss_on="all").loss(images, nothing).isfinite()


@pytest.mark.parametrize("name", TRAINED)
def test_one_batch_can_be_learned(name, shape, images):
    model = small(name, shape, images)
    step = MODELS[name].make_step(model, StepSettings(learning_rate=5e-3, weight_decay=0.0))
    batch = Batch(images, masks(shape), len(images), stream(0, "noise"))
    losses = [step(batch)["loss"].item() for _ in range(150)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_generator_gives_the_same_weights(name, shape, images):
    torch.manual_seed(1)
    first = small(name, shape, images).state_dict()
    torch.manual_seed(2)
    second = small(name, shape, images).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_options_and_other_images_are_refused(name, shape, images):
    with pytest.raises(ValueError, match="colour"):
        small(name, shape, images, colour=1)
    if MODELS[name].trained:
        with pytest.raises(ValueError, match="built for images"):
            small(name, shape, images).embed(images[:, :, :-1])


def test_an_unknown_family_is_refused(shape):
    with pytest.raises(ValueError, match="unknown model 'vae'"):
        build("vae", {}, shape, torch.zeros(shape.channels), torch.ones(shape.channels), stream(0, "w"))


@pytest.mark.parametrize("name", TRAINED)
def test_operations_are_counted_as_torch_counts_them(name, shape, images):
    from torch.utils.flop_counter import FlopCounterMode

    from lib.about import Flops

    model, mask = small(name, shape, images), masks(shape)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        model.reconstruct(images, mask)
    with Flops() as ours, torch.no_grad():
        model.reconstruct(images, mask)
    assert ours.total == theirs.get_total_flops() > 0
