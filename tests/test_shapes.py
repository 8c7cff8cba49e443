"""Shapes in signatures are checked under pytest; without that, they would be no more than words."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lib import figures
from lib.patches import patchify
from lib.pixels import PixelSpace, Shape, unit_range

IMAGES = torch.rand(2, 1, 4, 4)


@pytest.mark.parametrize("wrong", [IMAGES[0], IMAGES.to(torch.uint8)], ids=["axes", "bytes"])
def test_other_axes_and_other_kinds_of_numbers_are_refused(wrong):
    with pytest.raises(TypeCheckError):
        patchify(wrong, (2, 2))


def test_one_axis_has_one_size_in_a_call():
    space = PixelSpace(Shape(1, 4, 4, (2, 2)), torch.zeros(1), torch.ones(1))
    with pytest.raises(TypeCheckError):
        space.blank(IMAGES, torch.zeros(1, 4, dtype=torch.bool))


def unchecked(function):
    """As users call it, without the checks of the tests."""
    return getattr(function, "__wrapped__", function)


def test_bytes_where_images_are_needed_are_refused_in_use_too():
    """A picture of bytes would be drawn white, and a model would see nothing of it."""
    bytes_ = (255 * IMAGES).to(torch.uint8)
    space = PixelSpace(Shape(1, 4, 4, (2, 2)), torch.zeros(1), torch.ones(1))
    with pytest.raises(TypeError, match="give unit_range"):
        unchecked(PixelSpace.standardise)(space, bytes_)
    with pytest.raises(TypeError, match="give unit_range"):
        unchecked(figures.as_picture)(bytes_[0])


def test_images_where_bytes_are_needed_are_refused_in_use_too():
    """They would be divided by 255 once more, and be black."""
    with pytest.raises(TypeError, match="used as they are"):
        unchecked(unit_range)(IMAGES)
