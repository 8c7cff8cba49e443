import pytest
import torch

from lib.layers import initialise
from lib.transformer import Attention, Transformer, sincos_positions


def test_attention_equals_torchs_own(generator):
    ours = Attention(12, 3)
    initialise(ours, generator)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.project.state_dict())
    x = torch.randn(2, 7, 12, generator=generator)
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    assert torch.allclose(ours(x), expected, atol=1e-6)
    assert torch.allclose(ours.weights(x), weights, atol=1e-6)


def test_written_out_attention_equals_the_fused_kernel(generator):
    attention = Attention(16, 4)
    initialise(attention, generator)
    x = torch.randn(3, 9, 16, generator=generator)
    query, key, value = attention.queries_keys_values(x)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(attention(x), attention.project(fused.transpose(1, 2).flatten(2)), atol=1e-6)


def test_a_transformer_does_not_know_the_order_of_its_tokens(generator):
    model = Transformer(8, 2, 2)
    initialise(model, generator)
    x, order = torch.randn(2, 6, 8, generator=generator), torch.randperm(6, generator=generator)
    assert torch.allclose(model(x)[:, order], model(x[:, order]), atol=1e-5)


def test_attention_maps_are_those_of_the_last_block(generator):
    model = Transformer(8, 2, 2)
    initialise(model, generator)
    x = torch.randn(2, 6, 8, generator=generator)
    maps = model.attention_maps(x)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(2, 2, 6), atol=1e-5)
    first = model.blocks[0](x)
    assert torch.allclose(maps, model.blocks[1].attention.weights(model.blocks[1].norm1(first)))


def test_positions_are_all_different_and_rows_and_columns_apart():
    table = sincos_positions((3, 5), 16)
    assert table.shape == (15, 16) and len(table.unique(dim=0)) == 15
    laid = table.reshape(3, 5, 16)
    assert torch.equal(laid[0, :, :8], laid[2, :, :8]), "the first half is the column's"
    assert torch.equal(laid[:, 0, 8:], laid[:, 4, 8:]), "the second half is the row's"


def test_positions_are_the_papers_sines():
    table = sincos_positions((1, 3), 8)
    assert torch.allclose(table[2, :2], torch.tensor([2.0, 2.0 / 100]).sin(), atol=1e-6)
    assert torch.allclose(table[2, 2:4], torch.tensor([2.0, 2.0 / 100]).cos(), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"), [(lambda: sincos_positions((2, 2), 6), "multiple of 4"), (lambda: Attention(10, 3), "3 heads")]
)
def test_widths_that_do_not_divide_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
