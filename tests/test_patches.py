"""Patches hold the pixels of images in a stated order, and give them back."""

import pytest
import torch

from lib.patches import grid_of, patchify, pixel_mask, unpatchify, visible_indices


def test_unpatchify_inverts_patchify(images, shape):
    assert torch.equal(unpatchify(patchify(images, shape.patch), shape.patch, shape.grid), images)


def test_a_patch_holds_its_own_pixels_in_reading_order():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert patchify(image, (2, 2))[0].tolist() == expected


def test_channels_come_last_within_a_patch():
    image = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])[None]
    assert patchify(image, (2, 2))[0, 0].tolist() == [0, 1] * 4


def test_pixel_mask_hides_exactly_the_pixels_of_hidden_patches(images, shape, generator):
    tokens = shape.grid[0] * shape.grid[1]
    mask = torch.rand(5, tokens, generator=generator) < 0.5
    hidden = pixel_mask(mask, shape.patch, shape.grid).float().expand_as(images)
    per_patch = patchify(hidden, shape.patch)
    assert torch.equal(per_patch, mask[:, :, None].float().expand_as(per_patch))


@pytest.mark.parametrize(
    ("size", "patch"), [((32, 32), (5, 5)), ((4, 6), (2, 4)), ((5, 4), (2, 2)), ((6, 4), (4, 2))]
)
def test_sizes_that_do_not_fit_are_refused(size, patch):
    said = f"{patch[0]}x{patch[1]} do not tile images of {size[0]}x{size[1]}"
    with pytest.raises(ValueError, match=said):
        grid_of(size, patch)


def test_visible_and_hidden_indices_part_the_tokens():
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    visible, hidden = visible_indices(mask)
    assert visible.tolist() == [[1, 3], [0, 1]]
    assert hidden.tolist() == [[0, 2], [2, 3]]


def test_indices_ascend_among_many_tokens(generator):
    """An unstable sort would keep the order of few by chance."""
    mask = torch.rand(1, 5000, generator=generator) < 0.5
    visible, hidden = visible_indices(mask)
    assert (visible.diff() > 0).all() and (hidden.diff() > 0).all()
    assert not mask[0, visible[0]].any() and mask[0, hidden[0]].all()


def test_unequal_counts_in_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"equally many patches, got counts \[0, 1\]"):
        visible_indices(torch.tensor([[True, False], [False, False]]))
