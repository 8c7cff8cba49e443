"""Shapes in signatures are checked under pytest; without that, they would be no more than words."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lib.patches import patchify
from lib.pixels import PixelSpace, Shape

IMAGES = torch.rand(2, 1, 4, 4)


@pytest.mark.parametrize("wrong", [IMAGES[0], IMAGES.to(torch.uint8)], ids=["axes", "bytes"])
def test_other_axes_and_other_kinds_of_numbers_are_refused(wrong):
    with pytest.raises(TypeCheckError):
        patchify(wrong, (2, 2))


def test_one_axis_has_one_size_in_a_call():
    space = PixelSpace(Shape(1, 4, 4, (2, 2)), torch.zeros(1), torch.ones(1))
    with pytest.raises(TypeCheckError):
        space.blank(IMAGES, torch.zeros(1, 4, dtype=torch.bool))
