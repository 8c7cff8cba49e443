"""Augmentations change each image by its own choices, and nothing else about it."""

import pytest
import torch

from lib.augment import AUGMENTATIONS
from lib.streams import stream
from lib.training import Recipe


def pictures(count=40, height=16, width=12):
    """Smooth pictures, so that interpolation is close to what it should give."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    slopes = torch.rand(count, 2, 1, 1, generator=stream(0, "slopes")) * 120
    return (slopes[:, :1] * rows + slopes[:, 1:] * columns).round().to(torch.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_shape_and_type_and_is_its_generators(name):
    entry, images = AUGMENTATIONS[name], pictures()
    made = [entry.apply(images, entry.draw(40, 16, 12, stream(seed, "a"))) for seed in (0, 0, 1)]
    assert made[0].shape == images.shape and made[0].dtype == torch.uint8 and torch.equal(made[0], made[1])
    assert name == "none" or not torch.equal(made[0], made[2])
    assert images.equal(pictures()), "the images it was given are as they were"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_its_own_choices_alone(name):
    entry, images = AUGMENTATIONS[name], pictures()
    choices = entry.draw(40, 16, 12, stream(0, "a"))
    whole = entry.apply(images, choices)
    assert torch.equal(whole[7:9], entry.apply(images[7:9], choices[7:9]))


def test_a_crop_of_the_whole_is_the_image_and_a_half_is_that_half():
    images = pictures()
    full = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.9]]).expand(40, -1)
    crop = AUGMENTATIONS["resized_crop_flip"].apply
    assert torch.equal(crop(images, full), images)
    mirrored = crop(images, full.clone().index_fill_(1, torch.tensor([4]), 0.1))
    assert torch.equal(mirrored, images.flip(3))
    upper = crop(images, torch.tensor([[0.0, 0.0, 0.5, 1.0, 0.9]]).expand(40, -1)).float()
    assert (upper[:, :, ::2].mean(dim=(1, 2, 3)) - images[:, :, :8].float().mean(dim=(1, 2, 3))).abs().max() < 3


def test_crops_cover_a_fifth_to_all_of_the_area_inside_the_image():
    top, left, height, width, coin = AUGMENTATIONS["resized_crop_flip"].draw(5000, 16, 16, stream(0, "a")).unbind(1)
    assert (height * width).min() > 0.18 and (height * width).max() <= 1 and 0.45 < (coin < 0.5).float().mean() < 0.55
    assert min(top.min(), left.min()) >= 0 and max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    assert (height / width).log().abs().max() <= torch.tensor(16 / 9).log() and (height / width).log().abs().mean() > 0.05


def test_an_unknown_augmentation_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown augmentation 'crop'.*crop_flip"):
        Recipe(epochs=1, augment="crop")
