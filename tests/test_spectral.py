"""Models that hide frequencies or principal components, and no patches."""

import pytest
import torch
from families import masks, small

from lib.models.family import Batch
from lib.patches import patchify, unpatchify
from lib.pixels import Shape
from lib.run import arms
from lib.run.experiment import run
from lib.run.parameters import ParameterError, check
from lib.run.settings import Execution, Experiment
from lib.streams import stream
from lib.training import Recipe

SHAPE = Shape(2, 16, 12, (4, 3))
NAMES = ("mae_frequencies", "mae_components")


def pictures(count=6):
    return torch.rand(count, 2, 16, 12, generator=stream(1, "pictures"))


def choices(name, model, count=6):
    """What is hidden, as `loss_of` takes it."""
    generator = stream(3, "choices")
    if name == "mae_frequencies":
        return torch.arange(count) % 2 == 0
    return model.lots(count, generator)


def seen_by_encoder(model, images, choice, monkeypatch):
    """The pixels [0, 1] that the encoder is given."""
    given = []
    encode = model.encode_pixels

    def noting(pixels, keep=None):
        given.append(pixels)
        return encode(pixels, keep)

    monkeypatch.setattr(model, "encode_pixels", noting)
    model.loss_of(images, choice)
    return given[0] * model.space.std + model.space.mean


def coefficients(name, model, images, choice):
    """In the model's own basis, the hidden and the visible ones of images, each [batch, ...]."""
    if name == "mae_frequencies":
        down, across = torch.fft.fftfreq(16)[:, None], torch.fft.fftfreq(12)[None]
        low = (down**2 + across**2) <= 0.2**2
        hidden = low == choice[:, None, None, None]
        found = torch.fft.fft2((images - model.space.mean) / model.space.std)
        return found * hidden, found * ~hidden
    hidden = model.hidden_components(choice)
    patches = patchify(images, SHAPE.patch) - model.centre
    found = torch.einsum("btp,tpk->bk", patches, model.axes)
    rest = patches - torch.einsum("bk,tpk->btp", found * hidden, model.axes)
    return found * hidden, rest


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_sees_nothing_of_what_is_hidden_and_all_of_the_rest(name, monkeypatch):
    model, images = small(name, SHAPE), pictures()
    choice = choices(name, model)
    seen = seen_by_encoder(model, images, choice, monkeypatch)
    hidden, visible = coefficients(name, model, images, choice)
    hidden_in_seen, visible_in_seen = coefficients(name, model, seen, choice)
    assert hidden.abs().max() > 0.1 and hidden_in_seen.abs().max() < 1e-4
    torch.testing.assert_close(visible_in_seen, visible, rtol=1e-3, atol=1e-4)


def test_in_bf16_nothing_of_what_is_hidden_is_seen_either(monkeypatch):
    model, images = small("mae_components", SHAPE), pictures()
    choice = choices("mae_components", model)
    with torch.autocast("cpu", torch.bfloat16):
        seen = seen_by_encoder(model, images, choice, monkeypatch)
    assert coefficients("mae_components", model, seen, choice)[0].abs().max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_looks_at_what_is_hidden_alone(name, monkeypatch):
    model, images = small(name, SHAPE), pictures()
    choice = choices(name, model)
    seen = seen_by_encoder(model, images, choice, monkeypatch)

    def loss_if_predicted(guess):
        made = patchify(model.space.standardise(guess), SHAPE.patch)
        monkeypatch.setattr(model, "predict", lambda pixels: made)
        return float(model.loss_of(images, choice))

    assert loss_if_predicted(images) == pytest.approx(0, abs=1e-4)
    only_seen_is_wrong = images + 0.5 * seen_part(name, model, images, choice)
    assert loss_if_predicted(only_seen_is_wrong) == pytest.approx(0, abs=1e-3)
    assert loss_if_predicted(seen) > 0.03, "nothing of what is hidden"


def seen_part(name, model, images, choice):
    """Something that has no part in what is hidden."""
    _, visible = coefficients(name, model, images, choice)
    if name == "mae_frequencies":
        return torch.fft.ifft2(visible).real
    return unpatchify(visible, SHAPE.patch, SHAPE.grid)


def test_nothing_predicted_of_the_hidden_components_misses_all_of_their_variance(monkeypatch):
    """On average over the images on which they were found."""
    model = small("mae_components", SHAPE)
    size = (30, 2, 16, 12)
    known = torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(0, "prepare"))
    images = known.float() / 255
    choice = model.lots(1, stream(0, "one")).expand(30, -1)
    seen = seen_by_encoder(model, images, choice, monkeypatch)
    made = patchify(model.space.standardise(seen), SHAPE.patch)
    monkeypatch.setattr(model, "predict", lambda pixels: made)
    assert float(model.loss_of(images, choice)) == pytest.approx(29 / 30, rel=1e-3)


def test_components_are_hidden_until_they_hold_their_share_of_the_variance():
    model = small("mae_components", SHAPE, hidden_variance=0.4)
    lots = model.lots(500, stream(0, "lots"))
    hidden = model.hidden_components(lots)
    share = model.variances / model.variances.sum()
    held = (hidden * share).sum(dim=1)
    assert (held >= 0.4 - 1e-6).all()
    last = lots.masked_fill(~hidden, -1).argmax(dim=1)
    assert (held - share[last] < 0.4).all()
    assert hidden.float().mean(dim=0).min() > 0.2, "any of them may be hidden"


def test_low_and_high_frequencies_are_hidden_by_lot():
    model, images = small("mae_frequencies", SHAPE), pictures(200)
    asked = []
    model.loss_of = lambda images, low: asked.append(low) or images.sum()
    next(model.phases(Batch(images, masks(SHAPE, 0.0, 200), 200, step=4)))
    assert 70 < int(asked[0].sum()) < 130
    model.loss(images, masks(SHAPE, 0.0, 200))
    assert asked[1].all() and not asked[2].any(), "validation watches both"


@pytest.mark.parametrize("name", NAMES)
def test_in_their_training_no_patch_is_hidden(name):
    asked = {"dataset": "digits", "model": name, "recipe": Recipe(epochs=1)}
    with pytest.raises(ValueError, match=f"'{name}' hides no patches"):
        Experiment(**asked, mask_ratio=0.5)
    assert Experiment(**asked, mask_ratio=0.0).trains


def test_a_notebook_trains_one_once_whatever_its_ratios():
    options = {"mae": None, "autoencoder": None, "adversarial": None, "mae_frequencies": {}}
    p = check("06_larger_data", {"options": options, "mask_ratios": [0.75, 0.0]})
    assert {name: one.mask_ratio for name, one in arms.families(p, 0).items()} == {"MFM": 0.0}
    with pytest.raises(ParameterError, match=r"options\.mae_frequencies\.radius"):
        check("06_larger_data", {"options": options | {"mae_frequencies": {"radius": 2.0}}})


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_one_is_measured_as_all_others_are(name, tmp_path):
    vit = {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1}
    asked = Experiment(
        dataset="digits",
        subset=40,
        model=name,
        options=vit | {"decoder_heads": 2},
        patch_size=2,
        mask_ratio=0.0,
        recipe=Recipe(epochs=1, batch_size=20),
        evaluate_images=10,
        probe_images=40,
    )
    done = run(asked, Execution(output=str(tmp_path), scale="standard", progress=False))
    measured = done.record.metrics["test"]
    assert measured["random@0.75/psnr_hidden"].n == 10
    assert measured["probe_accuracy"].value is not None
    again = run(asked, Execution(output=str(tmp_path), scale="standard", progress=False))
    assert again.record == done.record and again.model is not None
