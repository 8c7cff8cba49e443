"""What each successor of the masked autoencoder does otherwise."""

import pytest
import torch
from families import masks, small, spoilt

from lib.models.family import Batch
from lib.models.mae import take
from lib.patches import visible_indices


def test_a_mask_token_in_the_encoder_hides_pixels_as_well(shape, images):
    model, mask = small("mae_tokens", shape), masks(shape)
    latents = model.encode(images, mask)
    assert latents.shape[1] == 1 + mask.shape[1]
    assert torch.equal(latents, model.encode(spoilt(model, images, mask), mask))
    before = model(images, mask)
    with torch.no_grad():
        model.mask_token[..., 0].add_(1)
    assert not torch.allclose(latents, model.encode(images, mask))
    assert not torch.allclose(before, model(images, mask))
    unmasked = model.encode(images)
    assert not torch.allclose(unmasked[:, 1:], latents[:, 1:]), "without a mask there is no token"


@pytest.mark.parametrize("name", ["mae_tokens", "mae_cross"])
def test_hidden_patches_alone_are_predicted_as_with_all_others(name, shape, images):
    model, mask = small(name, shape), masks(shape)
    latents = model.encode(images, mask)
    alone = model.decode(latents, mask, only_hidden=True)
    every = take(model.decode(latents, mask), visible_indices(mask)[1])
    assert torch.allclose(alone, every, atol=1e-6)


def test_visible_patches_count_with_their_weight(shape, images):
    mask, model = masks(shape), small("mae_visible", shape, visible_weight=0.2)
    with torch.no_grad():
        error = ((model(images, mask) - model.target(images)) ** 2).mean(dim=2)
        expected = error[mask].mean() + 0.2 * error[~mask].mean()
        assert model.loss(images, mask).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("ratio", [0.0])
def test_a_loss_on_both_needs_some_of_both(shape, images, ratio):
    with pytest.raises(ValueError, match="needs some of both"):
        small("mae_visible", shape).loss(images, masks(shape, ratio))


def test_hidden_places_of_a_cross_attention_decoder_do_not_see_each_other(shape, images):
    model, mask = small("mae_cross", shape, decoder_depth=2), masks(shape)
    latents, hidden = model.encode(images, mask), visible_indices(mask)[1]
    whole = model.decode_at(latents, mask, hidden)
    fewer = model.decode_at(latents, mask, hidden[:, 1:])
    assert torch.allclose(fewer, whole[:, 1:], atol=1e-6), "one less asked, the others the same"
    other = model.decode_at(latents + 1, mask, hidden)
    assert not torch.allclose(other, whole), "visible latents must matter"


def descended(model, images, mask, **where):
    """The loss that training descends on a batch."""
    ((_, loss),) = model.phases(Batch(images, mask, len(images), **where))
    return loss.item()


def test_a_share_of_the_hidden_patches_is_predicted_in_training(shape, images):
    model, mask = small("mae_cross", shape, predict_share=0.5), masks(shape)
    hidden = visible_indices(mask)[1]
    batch = Batch(images, mask, len(images), step=4)
    ranks = batch.noise(lambda count, g: torch.rand(count, hidden.shape[1], generator=g))
    count = max(1, int(0.5 * hidden.shape[1] + 0.5))
    chosen = hidden.gather(1, ranks.argsort(dim=1)[:, :count])
    with torch.no_grad():
        error = ((model(images, mask) - model.target(images)) ** 2).mean(dim=2)
    expected = error.gather(1, chosen).mean().item()
    assert descended(model, images, mask, step=4) == pytest.approx(expected, rel=1e-5)
    assert descended(model, images, mask, step=5) != pytest.approx(expected, rel=1e-5)
    assert model.loss(images, mask).item() == pytest.approx(error[mask].mean().item(), rel=1e-5)


def test_all_of_them_are_predicted_where_the_share_is_one(shape, images):
    model, mask = small("mae_cross", shape, predict_share=1.0), masks(shape)
    expected = model.loss(images, mask).item()
    assert descended(model, images, mask) == pytest.approx(expected, rel=1e-6)


def test_the_papers_model_knows_none_of_them():
    from lib.models.mae import MAEConfig

    assert not {"visible_weight", "predict_share", "decoder"} & set(MAEConfig.model_fields)
