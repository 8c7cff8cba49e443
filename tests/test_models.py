"""What holds for every family in the register."""

from math import prod

import pytest
import torch
from families import TRAINED, masks, ready, small, spoilt

from lib.models.family import MODELS, Batch
from lib.pixels import Shape
from lib.run.provenance import forward_flops
from lib.run.settings import Experiment
from lib.streams import stream

DRAWING = [name for name, family in MODELS.items() if hasattr(family.module, "reconstruct")]
FEATURED = [name for name, family in MODELS.items() if hasattr(family.module, "embed")]
# Families with a choice of which pixels count; of the others one counts hidden and visible ones, and
# some hide no patches.
PATCHES = [name for name in TRAINED if MODELS[name].module.hides_patches]
REGIONS = [name for name in PATCHES if name != "mae_visible"]


@pytest.mark.parametrize("name", DRAWING)
def test_a_reconstruction_is_an_image_for_each_image(name, shape, images):
    drawn = ready(name, shape, images).reconstruct(images, masks(shape))
    assert drawn.shape == images.shape and drawn.min() >= 0 and drawn.max() <= 1


@pytest.mark.parametrize("name", FEATURED)
def test_features_are_a_row_for_each_image(name, shape, images):
    model = ready(name, shape, images).eval()
    with torch.no_grad():
        features = model.embed(images)
        alone = model.embed(images[2:3])
    assert features.ndim == 2 and len(features) == len(images)
    assert torch.allclose(features[2:3], alone, atol=1e-5), "no image's depends on the others"


def test_every_family_draws_or_has_features():
    assert set(DRAWING) | set(FEATURED) == set(MODELS)


@pytest.mark.parametrize("name", DRAWING)
def test_hidden_pixels_cannot_change_a_reconstruction(name, shape, images):
    model, mask = ready(name, shape, images), masks(shape)
    with torch.no_grad():
        drawn = model.reconstruct(images, mask)
        again = model.reconstruct(spoilt(model, images, mask), mask)
    assert torch.allclose(drawn, again, atol=1e-6)


@pytest.mark.parametrize("name", DRAWING)
def test_no_other_image_of_a_batch_changes_a_reconstruction(name, shape, images):
    model, mask = ready(name, shape, images), masks(shape)
    with torch.no_grad():
        together = model.reconstruct(images, mask)
        alone = model.reconstruct(images[2:3], mask[2:3])
    assert torch.allclose(together[2:3], alone, atol=1e-4)


def test_the_loss_on_hidden_pixels_ignores_what_is_predicted_elsewhere(shape, images):
    """Perfect visible predictions or absurd ones: only hidden pixels count."""
    space = small("autoencoder", shape).space
    mask, truth = masks(shape), space.standardise(images)
    hidden = space.hidden_pixels(mask)
    absurd = torch.where(hidden, truth + 1, truth + 100)
    perfect = torch.where(hidden, truth, truth + 100)
    assert space.error(absurd, images, mask, "hidden").item() == pytest.approx(1, abs=1e-4)
    assert space.error(perfect, images, mask, "hidden").item() == pytest.approx(0, abs=1e-6)
    assert space.error(truth + 2, images, mask, "all").item() == pytest.approx(4, abs=1e-3)


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("region", ["hidden", "all"])
def test_the_loss_is_the_error_of_the_reconstruction_on_its_region(name, region, shape, images):
    """Judged where the deviation is small, so that no prediction is clipped to [0, 1]."""
    model, mask = small(name, shape, deviation=0.02, loss_on=region).eval(), masks(shape)
    middle = images * 0.02 + 0.49
    with torch.no_grad():
        loss = model.loss(middle, mask)
        drawn = model.reconstruct(middle, mask)
        error = model.space.error(model.space.standardise(drawn), middle, mask, region)
    assert drawn.min() > 0 and drawn.max() < 1
    assert loss.item() == pytest.approx(error.item(), rel=1e-3)


@pytest.mark.parametrize("name", REGIONS)
def test_nothing_hidden_needs_the_loss_on_all_pixels(name, shape, images):
    nothing = masks(shape, 0.0)
    with pytest.raises(ValueError, match="loss_on='all'"):
        small(name, shape).loss(images, nothing)
    assert small(name, shape, loss_on="all").loss(images, nothing).isfinite()


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_has_a_phase_for_each_group_in_their_order(name, shape, images):
    model = small(name, shape)
    found = list(model.phases(Batch(images, masks(shape), len(images))))
    assert [group for group, _ in found] == list(model.groups())
    assert all(loss.shape == () and loss.isfinite() for _, loss in found)


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_is_moved_and_by_no_group_twice(name, shape, images):
    """A weight that no loss reaches would be dead."""
    model = small(name, shape)
    reached = set()
    for group, loss in model.phases(Batch(images, masks(shape), len(images))):
        own = model.groups()[group].parameters
        assert len(set(own)) == len(own)
        gradients = torch.autograd.grad(loss, own, allow_unused=True)
        reached |= {p for p, g in zip(own, gradients, strict=True) if g is not None and g.any()}
    dead = [name for name, parameter in model.named_parameters() if parameter not in reached]
    assert not dead


@pytest.mark.parametrize("name", TRAINED)
def test_what_validation_watches_is_the_loss_on_the_hidden_patches(name, shape, images):
    """Not a share of them, and nothing random: two looks see the same."""
    model, mask = small(name, shape), masks(shape)
    looks = [model.watched(Batch(images, mask, len(images), seed=seed)) for seed in (0, 1)]
    assert looks[0] == looks[1] == model.loss(images, mask)


@pytest.mark.parametrize("name", TRAINED)
def test_one_batch_can_be_learned(name):
    """By any optimiser: the losses point downwards."""
    shape = Shape(1, 8, 8, (2, 2))
    model, mask = small(name, shape), masks(shape)
    images = torch.rand(5, 1, 8, 8, generator=stream(0, "images"))
    optimisers = {
        group: torch.optim.Adam(of_it.parameters, 1e-2 * of_it.rate)
        for group, of_it in model.groups().items()
    }
    losses = []
    for step in range(60):
        for group, loss in model.phases(Batch(images, mask, len(images), step=step)):
            model.zero_grad()
            loss.backward()
            optimisers[group].step()
            if group == "loss":
                losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_generator_gives_the_same_weights(name, shape):
    torch.manual_seed(1)
    first = small(name, shape).state_dict()
    torch.manual_seed(2)
    second = small(name, shape).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_options_are_refused(name, shape):
    with pytest.raises(ValueError, match="colour"):
        small(name, shape, colour=1)


@pytest.mark.parametrize("name", TRAINED)
def test_images_of_another_shape_are_refused(name, shape, images):
    with pytest.raises(ValueError, match="built for images"):
        small(name, shape).embed(images[:, :, :-1])


def test_operations_of_a_model_are_those_of_its_products(shape):
    """Of one image, a multiply-add being two: there and back through a linear code."""
    options = {"hidden": (), "latent": 3}
    model = small("autoencoder", shape, **options)
    experiment = Experiment(dataset="digits", model="autoencoder", options=options, mask_ratio=0.5)
    pixels = prod((shape.channels, shape.height, shape.width))
    assert forward_flops(model, experiment) == 2 * (pixels * 3 + 3 * pixels)
