"""The paper's model: what its encoder sees, what its decoder fills in, what its loss counts."""

import pytest
import torch
from families import masks, small

from lib.models.mae import take
from lib.patches import patchify, visible_indices
from lib.pixels import nearness, patch_statistics
from lib.streams import stream


def model_for(shape, **options):
    return small("mae", shape, **options)


def test_the_encoder_sees_cls_and_visible_patches_only(shape, images):
    model, mask = model_for(shape), masks(shape)
    latents = model.encode(images, mask)
    assert latents.shape == (5, 1 + int((~mask[0]).sum()), 8)
    noise = torch.rand(images.shape, generator=stream(1, "n"))
    hidden = model.space.hidden_pixels(mask)
    assert torch.equal(latents, model.encode(torch.where(hidden, noise, images), mask)), (
        "hidden pixels changed the encoder's output"
    )
    assert not torch.allclose(latents, model.encode(torch.where(hidden, images, noise), mask)), (
        "visible pixels must matter"
    )


def test_no_gradient_reaches_hidden_pixels(shape, images):
    model, mask = model_for(shape), masks(shape)
    images.requires_grad_()
    model.encode(images, mask).sum().backward()
    hidden = model.space.hidden_pixels(mask).expand_as(images)
    assert (images.grad[hidden] == 0).all() and (images.grad[~hidden] != 0).any()


def test_the_mask_token_lives_in_the_decoder_alone(shape, images):
    model, mask = model_for(shape), masks(shape)
    before, drawn = model.encode(images, mask), model(images, mask)
    with torch.no_grad():
        model.mask_token.add_(1)
    assert torch.equal(before, model.encode(images, mask))
    assert not torch.allclose(drawn, model(images, mask))


def test_the_decoder_puts_every_latent_back_at_its_own_place(shape, images):
    """With the decoder's blocks replaced by nothing, a visible place holds its latent, a hidden one the mask token."""
    model, mask = model_for(shape), masks(shape)
    model.decoder, model.head = torch.nn.Identity(), torch.nn.Identity()
    latents = model.encode(images, mask)
    laid = model.decode(latents, mask) - model.decoder_positions
    for image in range(5):
        expected = model.decoder_embedding(latents)[image, 1:]
        assert torch.allclose(laid[image][~mask[image]], expected, atol=1e-5)
        assert torch.allclose(
            laid[image][mask[image]],
            model.mask_token[0].expand(int(mask[image].sum()), -1),
            atol=1e-6,
        )


def test_the_loss_counts_hidden_patches_only(shape, images):
    model, mask = model_for(shape), masks(shape)
    with torch.no_grad():
        squared = ((model(images, mask) - model.target(images)) ** 2).mean(dim=2)
        assert model.loss(images, mask).item() == pytest.approx(
            squared[mask].mean().item(), rel=1e-5
        )
        both = model_for(shape, loss_on="all")
        assert both.loss(images, mask).item() == pytest.approx(squared.mean().item(), rel=1e-5)


def test_normalised_targets_have_mean_zero_and_deviation_one(shape, images):
    target = model_for(shape, normalise_target=True).target(images)
    assert target.mean(dim=2).abs().max() < 1e-5
    assert (target.var(dim=2) - 1).abs().max() < 1e-2


def test_showing_a_normalised_prediction_does_not_leak_hidden_statistics(shape, images):
    model, mask = model_for(shape, normalise_target=True), masks(shape)
    noise = torch.rand(images.shape, generator=stream(1, "n")) * 0.2
    spoilt = torch.where(model.space.hidden_pixels(mask), noise, images)
    with torch.no_grad():
        assert torch.allclose(
            model.reconstruct(images, mask), model.reconstruct(spoilt, mask), atol=1e-6
        )
        assert not torch.allclose(
            model.reconstruct(images, mask, "true"), model.reconstruct(spoilt, mask, "true")
        )


def test_neighbours_are_visible_and_near():
    mask = torch.tensor([[False, True, True, False]])
    near = nearness(mask, (1, 4))[0]
    assert torch.allclose(near.sum(dim=1), torch.ones(4)) and (near[:, 1:3] == 0).all()
    assert near[0, 0] > 0.999 and near[1, 0] == pytest.approx(
        0.8, abs=1e-3
    )  # distances 1 and 2: weights 1 and 1/4


def test_embedding_is_the_mean_of_patch_tokens_or_cls(shape, images):
    for pooling, expected in (("mean", lambda z: z[:, 1:].mean(dim=1)), ("cls", lambda z: z[:, 0])):
        model = model_for(shape, pooling=pooling)
        assert torch.allclose(model.embed(images), expected(model.encode(images)))


def test_patch_statistics_are_the_original_codes(images, shape):
    patches = patchify(images, shape.patch)
    mean, deviation = patch_statistics(patches)
    assert torch.allclose(mean[2, 1], patches[2, 1].mean()) and torch.allclose(
        deviation[2, 1], (patches[2, 1].var() + 1e-6) ** 0.5
    )


def test_attention_rows_sum_to_one(shape, images):
    maps = model_for(shape).attention(images)
    tokens = shape.grid[0] * shape.grid[1]
    assert maps.shape == (5, 2, tokens + 1, tokens + 1)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(maps.shape[:3]), atol=1e-5)


def test_hidden_patches_alone_are_predicted_as_with_all_others(shape, images):
    """The shorter way of the loss gives the numbers of the whole decoder."""
    model, mask = model_for(shape, decoder_depth=2), masks(shape)
    latents = model.encode(images, mask)
    hidden = visible_indices(mask)[1]
    alone = model.decode(latents, mask, only_hidden=True)
    assert torch.allclose(alone, take(model.decode(latents, mask), hidden), atol=1e-6)


def test_without_a_mask_nothing_is_hidden(shape, images):
    model = model_for(shape)
    nothing = torch.zeros(5, shape.grid[0] * shape.grid[1], dtype=torch.bool)
    assert torch.equal(model(images), model(images, nothing)) and torch.equal(
        model.reconstruct(images), model.reconstruct(images, nothing)
    )
    assert torch.allclose(model.encode(images), model.encode(images, nothing), atol=1e-6)


def test_nothing_visible_and_nothing_hidden_are_refused(shape, images):
    model, all_hidden = (
        model_for(shape),
        torch.ones(5, shape.grid[0] * shape.grid[1], dtype=torch.bool),
    )
    with pytest.raises(ValueError, match="every patch is hidden"):
        model.loss(images, all_hidden)
    with pytest.raises(ValueError, match="nothing is hidden"):
        model.loss(images, ~all_hidden)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10}, "multiple of 4"),
        ({"dim": 12, "heads": 5}, "shared by 5 heads"),
    ],
)
def test_widths_that_do_not_go_together_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        model_for(shape, **options)


def test_images_of_another_shape_are_refused(shape, images):
    with pytest.raises(ValueError, match="the model was built for images"):
        model_for(shape)(images[:, :1].expand(-1, shape.channels + 1, -1, -1))


def test_a_target_of_single_numbers_cannot_be_normalised():
    from lib.pixels import Shape

    with pytest.raises(ValueError, match="more than one number"):
        model_for(Shape(1, 4, 4, (1, 1)), normalise_target=True)
