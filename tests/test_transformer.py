"""The transformer against torch's own parts and the properties that the models rely on."""

import pytest
import torch

from lib.models.layers import initialise, perceptron
from lib.models.transformer import (
    Attention,
    Block,
    CrossBlock,
    CrossTransformer,
    Transformer,
    drop_path,
    sincos_positions,
)
from lib.streams import stream


def made(module):
    initialise(module, stream(0, "weights"))
    return module


def torchs(ours, dim, heads):
    """torch's attention with our weights."""
    theirs = torch.nn.MultiheadAttention(dim, heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.project.state_dict())
    return theirs


def test_attention_equals_torchs_own(generator):
    ours = made(Attention(12, 3))
    torch.nn.init.normal_(ours.qkv.bias, generator=generator)
    x = torch.randn(2, 7, 12, generator=generator)
    expected, weights = torchs(ours, 12, 3)(x, x, x, average_attn_weights=False)
    assert torch.allclose(ours(x), expected, atol=1e-6)
    assert torch.allclose(ours.weights(x), weights, atol=1e-6)


def test_attention_to_another_sequence_equals_torchs_own(generator):
    ours = made(Attention(12, 3))
    torch.nn.init.normal_(ours.qkv.bias, generator=generator)
    asking, context = (torch.randn(2, count, 12, generator=generator) for count in (4, 7))
    expected, _ = torchs(ours, 12, 3)(asking, context, context)
    assert torch.allclose(ours(asking, context), expected, atol=1e-6)


def test_written_out_attention_equals_the_fused_kernel(generator):
    attention = made(Attention(16, 4))
    x = torch.randn(3, 9, 16, generator=generator)
    query, key, value = attention.queries_keys_values(x)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    expected = attention.project(fused.transpose(1, 2).flatten(2))
    assert torch.allclose(attention(x), expected, atol=1e-6)


def test_a_transformer_does_not_know_the_order_of_its_tokens(generator):
    model = made(Transformer(8, 2, 2))
    x = torch.randn(2, 6, 8, generator=generator)
    order = torch.randperm(6, generator=generator)
    assert torch.allclose(model(x)[:, order], model(x[:, order]), atol=1e-5)


def test_a_block_is_pre_norm_with_two_branches(generator):
    """Written out once more: x + attention(norm(x)), then x + perceptron(norm(x))."""
    block = made(Block(8, 2))
    x = torch.randn(2, 5, 8, generator=generator)
    attended = x + block.attention(block.norm1(x))
    assert torch.allclose(block(x), attended + block.mlp(block.norm2(attended)), atol=1e-6)


@pytest.mark.parametrize("first", [0, 1, 4])
def test_the_tokens_from_a_place_on_are_as_with_all_others(generator, first):
    model = made(Transformer(8, 3, 2))
    x = torch.randn(2, 6, 8, generator=generator)
    assert torch.allclose(model(x, first=first), model(x)[:, first:], atol=1e-6)


def test_a_cross_block_lets_no_token_see_another(generator):
    model = made(CrossTransformer(8, 2, 2))
    asking, context = (torch.randn(1, count, 8, generator=generator) for count in (4, 6))
    whole = model(asking, context)
    assert torch.allclose(model(asking[:, 1:2], context), whole[:, 1:2], atol=1e-6)
    assert not torch.allclose(model(asking, context * 2), whole, atol=1e-3)


def test_a_cross_block_of_a_sequence_with_itself_is_a_block_but_for_the_norm(generator):
    cross, plain = made(CrossBlock(8, 2)), made(Block(8, 2))
    x = torch.randn(2, 5, 8, generator=generator)
    assert torch.allclose(cross(x, cross.norm1(x)), plain(x), atol=1e-6)


def test_a_branch_that_is_left_out_adds_nothing(generator):
    model = made(Transformer(8, 2, 2))
    x = torch.randn(3, 5, 8, generator=generator)
    keep = torch.ones(2, 2, 3)
    keep[:, :, 1] = 0
    found = model(x, keep=keep)
    assert torch.allclose(found[1], model.norm(x)[1], atol=1e-6)
    assert torch.allclose(found[[0, 2]], model(x)[[0, 2]], atol=1e-6)


def test_factors_of_each_branch_and_block_are_its_own(generator):
    """The second branch of the first block twice, for one image."""
    model = made(Transformer(8, 2, 2))
    x = torch.randn(2, 5, 8, generator=generator)
    keep = torch.ones(2, 2, 2)
    keep[0, 1, 0] = 2
    first, last = model.blocks
    attended = x + first.attention(first.norm1(x))
    expected = model.norm(last(attended + 2 * first.mlp(first.norm2(attended))))
    found = model(x, keep=keep)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[1], model(x)[1], atol=1e-6)


def test_drop_path_rises_with_depth_and_keeps_the_mean():
    factors = drop_path(5, 4000, 0.4, stream(0, "drop"))
    assert factors.shape == (5, 2, 4000)
    left_out = (factors == 0).float().mean(dim=2)
    assert torch.allclose(left_out, torch.linspace(0, 0.4, 5)[:, None].expand(5, 2), atol=0.03)
    assert torch.allclose(factors.mean(dim=2), torch.ones(5, 2), atol=0.05)


def test_attention_maps_are_those_of_the_last_block(generator):
    model = made(Transformer(8, 2, 2))
    x = torch.randn(2, 6, 8, generator=generator)
    maps = model.attention_maps(x)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(2, 2, 6), atol=1e-5)
    last = model.blocks[1]
    assert torch.allclose(maps, last.attention.weights(last.norm1(model.blocks[0](x))))


def test_positions_are_all_different_and_rows_and_columns_apart():
    table = sincos_positions((3, 5), 16)
    assert table.shape == (15, 16) and len(table.unique(dim=0)) == 15
    laid = table.reshape(3, 5, 16)
    assert torch.equal(laid[0, :, :8], laid[2, :, :8]), "the first half is the column's"
    assert torch.equal(laid[:, 0, 8:], laid[:, 4, 8:]), "the second half is the row's"


def test_positions_are_the_papers_sines():
    table = sincos_positions((1, 3), 8)
    angles = torch.tensor([2.0, 2.0 / 100])
    assert torch.allclose(table[2, :2], angles.sin(), atol=1e-6)
    assert torch.allclose(table[2, 2:4], angles.cos(), atol=1e-6)


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_positions((2, 2), 6)
    with pytest.raises(ValueError, match="3 heads"):
        Attention(10, 3)


# --- layers -----------------------------------------------------------------------------------


def test_initial_weights_are_xavier_uniform_and_biases_zero():
    linear = made(torch.nn.Linear(300, 200))
    bound = (6 / 500) ** 0.5
    assert 0.99 * bound < linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not linear.bias.any()


def test_tokens_are_small_and_normal():
    module = torch.nn.Module()
    module.mask_token = torch.nn.Parameter(torch.zeros(1, 1, 5000))
    module.scale = torch.nn.Parameter(torch.ones(3))
    made(module)
    assert module.mask_token.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(module.scale, torch.ones(3)), "other parameters are left alone"


def test_initial_weights_follow_from_their_generator_alone():
    torch.manual_seed(1)
    first = made(Transformer(8, 1, 2)).state_dict()
    torch.manual_seed(2)
    second = made(Transformer(8, 1, 2)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_perceptron_has_no_activation_at_its_end():
    layers = perceptron([4, 3, 2], torch.nn.Tanh)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Tanh", "Linear"]
