"""What each successor of the masked autoencoder changes, and that it changes nothing else."""

import pytest
import torch
from families import VIT, masks, small, spoilt

from lib.models.family import Batch
from lib.models.mae import take
from lib.models.variants import CrossConfig, VisibleConfig
from lib.patches import visible_indices
from lib.streams import stream


def patch_errors(model, images, mask):
    """Mean squared error of every patch."""
    return ((model(images, mask) - model.target(images)) ** 2).mean(dim=2)


def loss_of_phase(model, images, mask, **place):
    ((group, loss),) = model.phases(Batch(images, mask, len(images), **place))
    assert group == "loss"
    return loss


# --- mae_tokens: hidden patches go through the encoder ----------------------------------------


def test_the_encoder_sees_a_token_at_every_place_and_no_hidden_pixel(shape, images):
    model, mask = small("mae_tokens", shape), masks(shape)
    latents = model.encode(images, mask)
    assert latents.shape == (5, 1 + mask.shape[1], VIT["dim"])
    assert torch.equal(latents, model.encode(spoilt(model, images, mask), mask))
    assert not torch.allclose(latents, model.encode(spoilt(model, images, ~mask), mask))


def test_its_mask_token_lives_in_the_encoder(shape, images):
    model, mask = small("mae_tokens", shape), masks(shape)
    before, drawn = model.encode(images, mask), model(images, mask)
    assert model.mask_token.shape == (1, 1, VIT["dim"]) and model.mask_token.std() > 0
    with torch.no_grad():
        model.mask_token.add_(torch.arange(model.mask_token.shape[2]))
    assert not torch.allclose(before, model.encode(images, mask), atol=1e-2)
    assert not torch.allclose(drawn, model(images, mask), atol=1e-2)


def test_without_a_mask_it_is_the_papers_encoder(shape, images):
    model, plain = small("mae_tokens", shape), small("mae", shape)
    shared = {name: p for name, p in plain.state_dict().items() if name != "mask_token"}
    model.load_state_dict(shared, strict=False)
    assert torch.equal(model.embed(images), plain.embed(images))
    nothing = masks(shape, 0.0)
    assert torch.allclose(model(images, nothing), plain(images, nothing), atol=1e-5)


# --- mae_visible: visible patches count, discounted -------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_visible_patches_count_with_their_weight(shape, images, ratio):
    """The mean over each region by itself: the weight does not depend on how many are hidden."""
    model, mask = small("mae_visible", shape, visible_weight=0.3), masks(shape, ratio)
    with torch.no_grad():
        error = patch_errors(model, images, mask)
        expected = error[mask].mean() + 0.3 * error[~mask].mean()
        assert model.loss(images, mask).item() == pytest.approx(expected.item(), rel=1e-5)


def test_it_is_the_papers_model_but_for_the_loss(shape, images):
    model, plain, mask = small("mae_visible", shape), small("mae", shape), masks(shape)
    assert torch.equal(model.reconstruct(images, mask), plain.reconstruct(images, mask))
    assert model.loss(images, mask) > plain.loss(images, mask)


def test_both_regions_must_hold_something(shape, images):
    nothing = masks(shape, 0.0)
    for mask in (nothing, ~nothing):
        with pytest.raises(ValueError, match="some of both"):
            small("mae_visible", shape).loss(images, mask)
    with pytest.raises(ValueError, match="visible_weight"):
        VisibleConfig(visible_weight=0.0)


# --- mae_cross: hidden places ask the visible ones alone --------------------------------------


def test_hidden_places_do_not_see_each_other(shape, images):
    model, mask = small("mae_cross", shape, decoder_depth=2), masks(shape)
    latents, hidden = model.encode(images, mask), visible_indices(mask)[1]
    whole = model.decode_at(latents, mask, hidden)
    fewer = model.decode_at(latents, mask, hidden[:, 1:])
    assert torch.allclose(fewer, whole[:, 1:], atol=1e-6), "one less asked, the others the same"
    noise = torch.randn(latents.shape, generator=stream(0, "noise"))
    other = model.decode_at(latents + noise, mask, hidden)
    assert not torch.allclose(other, whole, atol=1e-2), "visible latents must matter"


def test_asked_at_all_places_it_answers_as_its_decoder(shape, images):
    model, mask = small("mae_cross", shape), masks(shape)
    latents = model.encode(images, mask)
    hidden = visible_indices(mask)[1]
    found = take(model.decode(latents, mask), hidden)
    assert torch.allclose(model.decode_at(latents, mask, hidden), found, atol=1e-6)


def test_predicting_all_in_training_gives_the_loss_on_all_hidden_patches(shape, images):
    model, mask = small("mae_cross", shape, predict_share=1.0), masks(shape)
    with torch.no_grad():
        expected = patch_errors(model, images, mask)[mask].mean().item()
        assert loss_of_phase(model, images, mask).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_a_share_of_the_hidden_patches_is_predicted_in_training(shape, images, share):
    """As many in every image, at least one, drawn by rank from the step's own noise."""
    model, mask = small("mae_cross", shape, predict_share=share), masks(shape)
    hidden = visible_indices(mask)[1]
    count = max(1, int(share * hidden.shape[1] + 0.5))
    generator = Batch(images, mask, 5, seed=3, step=7).generator("noise")
    ranks = torch.rand(5, hidden.shape[1], generator=generator)
    with torch.no_grad():
        error = patch_errors(model, images, mask).gather(1, hidden)
        chosen = error.gather(1, ranks.argsort(dim=1)[:, :count])
        found = loss_of_phase(model, images, mask, seed=3, step=7)
    assert found.item() == pytest.approx(chosen.mean().item(), rel=1e-5)


def test_other_patches_are_predicted_at_another_step_and_all_of_them_in_validation(shape, images):
    model, mask = small("mae_cross", shape, predict_share=0.5), masks(shape)
    with torch.no_grad():
        steps = [loss_of_phase(model, images, mask, step=step).item() for step in (0, 0, 1)]
        every = patch_errors(model, images, mask)[mask].mean().item()
        watched = model.watched(Batch(images, mask, 5))
    assert steps[0] == steps[1] != steps[2]
    assert watched.item() == model.loss(images, mask).item() == pytest.approx(every, rel=1e-5)


def test_the_mean_over_many_steps_is_the_loss_on_all(shape, images):
    """No hidden patch is chosen more often than another."""
    model, mask = small("mae_cross", shape, predict_share=0.5), masks(shape)
    with torch.no_grad():
        steps = [loss_of_phase(model, images, mask, step=step).item() for step in range(60)]
        every = model.loss(images, mask).item()
    assert sum(steps) / len(steps) == pytest.approx(every, rel=0.05)


def test_it_encodes_as_the_papers_model(shape, images):
    model, plain, mask = small("mae_cross", shape), small("mae", shape), masks(shape)
    assert torch.equal(model.encode(images, mask), plain.encode(images, mask))


def test_a_loss_on_all_patches_predicts_all(shape, images):
    model, mask = small("mae_cross", shape, loss_on="all"), masks(shape)
    assert loss_of_phase(model, images, mask).item() == model.loss(images, mask).item()


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="predict_share"):
        CrossConfig(predict_share=share)


def test_without_a_hidden_patch_it_is_said_what_to_give_instead(shape, images):
    model, nothing = small("mae_cross", shape), masks(shape) & False
    batch = Batch(images, nothing, len(images))
    with pytest.raises(ValueError, match="loss_on"):
        list(model.phases(batch))
