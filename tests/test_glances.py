"""What a model knows of a picture: surprise, and likeness of windows."""

import pytest
import torch
from families import ready
from scipy.spatial import distance

from lib.glances import nearest, quarters, surprise_map
from lib.pixels import Shape
from lib.streams import stream
from lib.windows import complete

SHAPE = Shape(3, 16, 16, patch=(4, 4))


def picture(height=32, width=40):
    return torch.rand(3, height, width, generator=stream(0, "picture"))


def test_each_patch_is_visible_in_one_of_the_four_masks():
    masks = quarters(80, stream(0, "masks"))
    assert masks.shape == (4, 80)
    assert (masks.sum(dim=1) == 60).all() and (masks.sum(dim=0) == 3).all()
    assert not torch.equal(masks, quarters(80, stream(1, "masks")))


def test_surprise_is_the_error_in_a_patch_over_the_masks_that_hide_it():
    image = picture()
    model = ready("mae", SHAPE, image[None, :, :16, :16])
    found = surprise_map(model, image, stream(3, "masks"))
    assert found.shape == (8, 10)
    row, column = 2, 7
    part = (slice(None), slice(8, 12), slice(28, 32))
    errors = []
    for mask in quarters(80, stream(3, "masks")):
        if mask[row * 10 + column]:
            errors.append((complete(model, image, mask)[part] - image[part]).square().mean())
    assert len(errors) == 3
    assert found[row, column].item() == pytest.approx(torch.stack(errors).mean().sqrt().item())


def test_the_nearest_window_is_the_most_similar_one_that_does_not_overlap():
    features = torch.randn(6, 3, generator=stream(0, "features"))
    features[1] = features[0] + 0.01  # which is forbidden
    places = [(0, 0, 0), (0, 15, 15), (0, 0, 16), (1, 0, 0), (1, 8, 0), (2, 0, 0)]
    overlap = {(0, 1), (1, 2), (3, 4)}  # of windows of 16 pixels
    centred = (features - features.mean(dim=0)).numpy()
    apart = distance.cdist(centred, centred, "cosine")
    for one in range(6):
        rest = [o for o in range(6) if o != one and (min(o, one), max(o, one)) not in overlap]
        expected = min(rest, key=lambda other: apart[one, other])
        assert nearest(features, places, (16, 16))[one] == expected
    assert apart[0].argsort()[1] == 1, "what overlaps would have been nearest"
