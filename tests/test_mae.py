"""The paper's model: what the encoder sees, where the decoder puts it, what the loss counts."""

import ast
import inspect

import pytest
import torch
from families import masks, small, spoilt
from pydantic import ValidationError
from torch import nn

import lib.models.mae
from lib.models.mae import MAEConfig, take
from lib.patches import patchify, visible_indices
from lib.pixels import nearness, normalise_patches, patch_statistics
from lib.streams import stream


def test_the_encoder_sees_cls_and_visible_patches_only(shape, images):
    model, mask = small("mae", shape), masks(shape)
    latents = model.encode(images, mask)
    assert latents.shape == (5, 1 + int((~mask[0]).sum()), 8)
    hidden_spoilt = spoilt(model, images, mask)
    assert torch.equal(latents, model.encode(hidden_spoilt, mask)), "hidden pixels changed it"
    visible_spoilt = spoilt(model, images, ~mask)
    assert not torch.allclose(latents, model.encode(visible_spoilt, mask)), "visible ones must"


def test_no_gradient_reaches_hidden_pixels(shape, images):
    model, mask = small("mae", shape), masks(shape)
    images.requires_grad_()
    model.encode(images, mask).sum().backward()
    hidden = model.space.hidden_pixels(mask).expand_as(images)
    assert (images.grad[hidden] == 0).all() and (images.grad[~hidden] != 0).any()


def test_a_patch_keeps_its_own_position_in_the_encoder(shape, images):
    """Without blocks, a visible token is its patch, embedded, plus the position of its place."""
    model, mask = small("mae", shape), masks(shape)
    model.encoder = PassOn()
    found = model.encode(images, mask)
    patches = patchify(model.space.standardise(images), shape.patch)
    every = model.patch_embedding(patches) + model.positions
    for image in range(5):
        assert torch.allclose(found[image, 1:], every[image][~mask[image]], atol=1e-6)
        assert torch.equal(found[image, 0], model.cls_token[0, 0])


class PassOn(nn.Module):
    """A transformer of no blocks."""

    def forward(self, x, first=0, keep=None):
        return x[:, first:]


def test_the_mask_token_lives_in_the_decoder_alone(shape, images):
    model, mask = small("mae", shape), masks(shape)
    before, drawn = model.encode(images, mask), model(images, mask)
    with torch.no_grad():
        model.mask_token.add_(torch.arange(model.mask_token.shape[2]))
    assert torch.equal(before, model.encode(images, mask))
    assert not torch.allclose(drawn, model(images, mask), atol=1e-2)


def test_the_decoder_puts_every_latent_back_at_its_own_place(shape, images):
    """Without blocks, a visible place holds its latent and a hidden one the mask token."""
    model, mask = small("mae", shape), masks(shape)
    model.decoder, model.head = PassOn(), nn.Identity()
    latents = model.encode(images, mask)
    laid = model.decode(latents, mask) - model.decoder_positions
    expected = model.decoder_embedding(latents)[:, 1:]
    for image in range(5):
        gaps = model.mask_token[0].expand(int(mask[image].sum()), -1)
        assert torch.allclose(laid[image][~mask[image]], expected[image], atol=1e-5)
        assert torch.allclose(laid[image][mask[image]], gaps, atol=1e-6)


def test_the_loss_counts_hidden_patches_only(shape, images):
    model, mask = small("mae", shape), masks(shape)
    both = small("mae", shape, loss_on="all")
    with torch.no_grad():
        squared = ((model(images, mask) - model.target(images)) ** 2).mean(dim=2)
        hidden = squared[mask].mean().item()
        assert model.loss(images, mask).item() == pytest.approx(hidden, rel=1e-5)
        assert both.loss(images, mask).item() == pytest.approx(squared.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["mae", "mae_tokens", "mae_cross"])
def test_hidden_patches_alone_are_predicted_as_with_all_others(name, shape, images):
    """The shorter way of the loss gives the numbers of the whole decoder."""
    model, mask = small(name, shape, decoder_depth=2), masks(shape)
    latents = model.encode(images, mask)
    alone = model.decode(latents, mask, only_hidden=True)
    with_all = take(model.decode(latents, mask), visible_indices(mask)[1])
    assert torch.allclose(alone, with_all, atol=1e-5)


@pytest.mark.parametrize("name", ["mae", "mae_tokens", "mae_cross"])
def test_without_a_mask_nothing_is_hidden(name, shape, images):
    model = small(name, shape)
    nothing = masks(shape, 0.0)
    assert torch.equal(model(images), model(images, nothing))
    assert torch.equal(model.reconstruct(images), model.reconstruct(images, nothing))
    assert torch.allclose(model.encode(images), model.encode(images, nothing), atol=1e-6)


def test_nothing_visible_and_nothing_hidden_are_refused(shape, images):
    model, all_hidden = small("mae", shape), ~masks(shape, 0.0)
    with pytest.raises(ValueError, match="every patch is hidden"):
        model.loss(images, all_hidden)
    with pytest.raises(ValueError, match="nothing is hidden"):
        model.loss(images, ~all_hidden)


def test_embedding_is_the_mean_of_patch_tokens_or_cls(shape, images):
    mean, cls = small("mae", shape), small("mae", shape, pooling="cls")
    latents = mean.encode(images)
    assert torch.allclose(mean.embed(images), latents[:, 1:].mean(dim=1))
    assert torch.allclose(cls.embed(images), latents[:, 0])


def test_branches_of_the_encoder_can_be_left_out(shape, images):
    """All of them: what is left of a token is its input, normed."""
    model = small("mae", shape)
    nothing = model.encode(images, keep=torch.zeros(2, 2, 5))
    tokens = model.with_cls(model.embed_patches(images))
    assert torch.allclose(nothing, model.encoder.norm(tokens), atol=1e-6)
    assert torch.allclose(model.embed(images, torch.ones(2, 2, 5)), model.embed(images), atol=1e-6)


def test_attention_rows_sum_to_one(shape, images):
    maps = small("mae", shape).attention(images)
    tokens = shape.grid[0] * shape.grid[1]
    assert maps.shape == (5, 2, tokens + 1, tokens + 1)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(maps.shape[:3]), atol=1e-5)


def test_layers_are_counted_from_the_patches_to_the_norm(shape):
    """All but the decoder's parameters; where no layer of `embed` is, the last one's rate holds."""
    model = small("mae", shape)
    assert model.layers == 2
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert layers["cls_token"] == layers["patch_embedding.weight"] == 0
    assert layers["encoder.blocks.0.norm1.weight"] == 1
    assert layers["encoder.blocks.1.mlp.2.bias"] == 2
    assert layers["encoder.norm.weight"] == layers["decoder.blocks.0.norm1.weight"] == 3


# --- normalised targets -----------------------------------------------------------------------


def test_normalised_targets_have_mean_zero_and_deviation_one(shape, images):
    target = small("mae", shape, normalise_target=True).target(images)
    assert target.mean(dim=2).abs().max() < 1e-5
    assert (target.var(dim=2) - 1).abs().max() < 1e-2


def test_a_patch_of_one_number_cannot_be_normalised(shape):
    one = type(shape)(1, 4, 4, (1, 1))
    assert small("mae", one)
    with pytest.raises(ValueError, match="more than one number"):
        small("mae", one, normalise_target=True)


def test_showing_a_normalised_prediction_does_not_leak_hidden_statistics(shape, images):
    model, mask = small("mae", shape, normalise_target=True), masks(shape)
    darker = torch.where(model.space.hidden_pixels(mask), 0.2 * images, images)
    with torch.no_grad():
        drawn, leak = (model.reconstruct(images, mask, how) for how in ("neighbours", "true"))
        again, other = (model.reconstruct(darker, mask, how) for how in ("neighbours", "true"))
    assert torch.allclose(drawn, again, atol=1e-6)
    assert not torch.allclose(leak, other), "the truth's statistics do leak, as is said"


def test_a_perfect_normalised_prediction_is_the_image_under_its_own_statistics(shape, images):
    patches = patchify(images, shape.patch)
    mean, deviation = patch_statistics(patches)
    assert torch.allclose(normalise_patches(patches) * deviation + mean, patches, atol=1e-5)


def test_patch_statistics_are_the_original_codes(images, shape):
    patches = patchify(images, shape.patch)
    mean, deviation = patch_statistics(patches)
    assert torch.allclose(mean[2, 1], patches[2, 1].mean())
    assert torch.allclose(deviation[2, 1], (patches[2, 1].var() + 1e-6) ** 0.5)


def test_neighbours_are_visible_and_near():
    mask = torch.tensor([[False, True, True, False]])
    near = nearness(mask, (1, 4))[0]
    assert torch.allclose(near.sum(dim=1), torch.ones(4)) and (near[:, 1:3] == 0).all()
    assert near[0, 0] > 0.999
    assert near[1, 0] == pytest.approx(0.8, abs=1e-3)  # distances 1 and 2: weights 1 and 1/4


# --- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10}, "multiple of 4"),
        ({"dim": 12, "heads": 5}, "shared by 5 heads"),
        ({"decoder_dim": 16, "decoder_heads": 3}, "shared by 3 heads"),
        ({"depth": 0}, "depth"),
        ({"predict_share": 0.5}, "predict_share"),  # a successor's
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MAEConfig(**options)


COUNTS = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")


@pytest.mark.parametrize("name", [*COUNTS, "mlp_ratio", "decoder_mlp_ratio", "eps"])
def test_every_measure_of_the_model_is_above_zero(name):
    nothing = 0 if name in COUNTS else 0.0
    with pytest.raises(ValidationError, match=rf"{name}\n.*greater than"):
        MAEConfig(**{name: nothing})


def test_the_decoders_perceptrons_are_as_wide_as_the_encoders_unless_told(shape):
    def widths(model):
        stacks = (model.encoder, model.decoder)
        return [stack.blocks[0].mlp[0].out_features for stack in stacks]

    assert widths(small("mae", shape, mlp_ratio=2.0)) == [16, 24]
    assert widths(small("mae", shape, mlp_ratio=2.0, decoder_mlp_ratio=1.0)) == [16, 12]


def test_the_papers_model_knows_no_successor():
    tree = ast.parse(inspect.getsource(lib.models.mae))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in modules if "variants" in name or "cross" in name]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not {name for name in names if "cross" in name.lower() or "variant" in name.lower()}


def test_taking_nothing_gives_nothing(shape, images):
    patches = patchify(images, shape.patch)
    assert take(patches, torch.zeros(5, 0, dtype=torch.int64)).shape == (5, 0, patches.shape[2])
    chosen = torch.randint(0, patches.shape[1], (5, 3), generator=stream(0, "chosen"))
    expected = torch.stack([rows[index] for rows, index in zip(patches, chosen, strict=True)])
    assert torch.equal(take(patches, chosen), expected)
