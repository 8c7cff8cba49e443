"""Completing pictures of any size through windows that overlap."""

import math
from itertools import pairwise

import pytest
import torch
from families import ready
from skimage.restoration import inpaint_biharmonic
from torch import nn

from lib.masking import draw
from lib.patches import pixel_mask
from lib.pixels import PixelSpace, Shape
from lib.streams import stream
from lib.windows import compare, complete, mask_of, starts, trimmed

SHAPE = Shape(3, 16, 16, patch=(4, 4))


class ShareHidden(nn.Module):
    """Answers every pixel of a window with the share of it that is hidden."""

    def __init__(self):
        super().__init__()
        self.space = PixelSpace(SHAPE, torch.full((3,), 0.5), torch.full((3,), 0.2))
        self.nothing = nn.Parameter(torch.zeros(1))

    def reconstruct(self, images, mask):
        return mask.float().mean(dim=1)[:, None, None, None].expand_as(images)


def picture(height=32, width=40, channels=3):
    return torch.rand(channels, height, width, generator=stream(0, "picture"))


def drawn(image, ratio=0.75, strategy="random"):
    grid = (image.shape[1] // 4, image.shape[2] // 4)
    mask = draw(strategy, batch=1, grid=grid, ratio=ratio, generator=stream(0, "mask"))
    return mask[0], pixel_mask(mask, (4, 4), grid)[0, 0]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_is_visible_stays_and_what_is_hidden_does_not_matter(stride):
    image = picture()
    mask, gone = drawn(image)
    model = ready("mae", SHAPE, image[None, :, :16, :16])
    found = complete(model, image, mask, stride)
    assert torch.equal(found[:, ~gone], image[:, ~gone])
    spoilt = torch.where(gone, torch.rand(image.shape, generator=stream(1, "noise")), image)
    assert torch.equal(complete(model, spoilt, mask, stride)[:, gone], found[:, gone])
    assert (found >= 0).all() and (found <= 1).all()


def test_a_picture_of_one_window_is_what_the_model_says():
    image = picture(16, 16)
    mask, gone = drawn(image)
    model = ready("mae", SHAPE, image[None])
    said = model.reconstruct(image[None], mask[None])[0].detach()
    assert torch.allclose(complete(model, image, mask), torch.where(gone, said, image), atol=1e-6)


def test_overlapping_predictions_are_averaged_by_their_distance_from_the_edge():
    image = picture(16, 20)
    hidden = torch.zeros(4, 5, dtype=torch.bool)
    hidden[1, 2] = True  # in both windows
    hidden[0, 0] = True  # in the first alone, so that the two answer differently
    found = complete(ShareHidden(), image, hidden.flatten(), stride=1)

    def weight(place):  # sin^2 over the 16 pixels of a window
        return math.sin(math.pi * (place + 1) / 17) ** 2

    for column in range(8, 12):
        first, second = weight(column), weight(column - 4)
        expected = (first * 2 / 16 + second * 1 / 16) / (first + second)
        assert found[:, 4:8, column].allclose(torch.tensor(expected), atol=1e-6)
    assert found[:, :4, :4].allclose(torch.tensor(2 / 16), atol=1e-6)


@pytest.mark.parametrize("strategy", ["random", "block", "grid"])
def test_any_strategy_and_windows_that_hide_differently(strategy):
    image = picture(48, 64)
    mask, gone = drawn(image, strategy=strategy)
    found = complete(ready("mae", SHAPE, image[None, :, :16, :16]), image, mask)
    assert found.isfinite().all() and not torch.equal(found[:, gone], image[:, gone])


def test_what_no_window_can_predict_gets_the_mean_of_what_is_visible():
    image = picture(16, 64)
    hidden = torch.ones(4, 16, dtype=torch.bool)
    hidden[:, 0] = False  # windows from the second patch on see nothing
    found = complete(ShareHidden(), image, hidden.flatten(), stride=4)
    assert found[:, :, 4:16].allclose(torch.tensor(12 / 16))
    colour = image[:, :, :4].mean(dim=(1, 2))
    assert found[:, :, 16:].allclose(colour[:, None, None], atol=1e-6)


def test_a_comparison_is_of_the_same_hidden_pixels():
    image = picture()
    model = ready("mae", SHAPE, image[None, :, :16, :16])
    mask = mask_of(model, image, "random", 0.75, stream(3, "mask"))
    found = compare(model, image, mask)
    assert torch.equal(found.completed["model"], complete(model, image, mask))
    smooth = inpaint_biharmonic(
        image.permute(1, 2, 0).numpy(), found.hidden.numpy(), channel_axis=-1
    )
    for name, filled in {
        "model": found.completed["model"],
        "inpainting": torch.from_numpy(smooth).permute(2, 0, 1).clamp(0, 1),
    }.items():
        error = ((filled - image) ** 2)[:, found.hidden].mean().item()
        assert found.decibels[name] == pytest.approx(-10 * math.log10(error), abs=1e-4)


def test_nothing_hidden_is_the_picture():
    image = picture()
    assert torch.equal(complete(ShareHidden(), image, torch.zeros(80, dtype=torch.bool)), image)


@pytest.mark.parametrize("length", [4, 5, 7, 12, 13])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 9])
def test_windows_reach_from_end_to_end_without_gaps(length, stride):
    begun = starts(length, 4, stride)
    assert begun[0] == 0 and begun[-1] == length - 4
    steps = [after - before for before, after in pairwise(begun)]
    assert all(0 < step <= min(stride, 4) for step in steps), "a wider one leaves no gaps either"


def test_the_middle_of_a_picture_is_whole_patches():
    image = picture(19, 22)
    assert torch.equal(trimmed(image, (4, 4)), image[:, 1:17, 1:21])
    assert torch.equal(trimmed(picture(16, 20), (4, 4)), picture(16, 20))


REFUSED = [
    (picture(channels=1), 80, {}, "made for 3 channels, this has 1"),
    (picture(30, 40), 80, {}, "30x40 is no whole patches of 4x4 pixels: cut it"),
    (picture(12, 40), 30, {}, "12x40 is smaller than the model's 16x16"),
    (picture(), 16, {}, "the mask is of 16 patches, the picture has 8x10"),
    (picture(), 80, {"stride": 0}, "a stride of 0"),
]


@pytest.mark.parametrize(("image", "tokens", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused(image, tokens, options, message):
    with pytest.raises(ValueError, match=message):
        complete(ShareHidden(), image, torch.zeros(tokens, dtype=torch.bool), **options)


def test_a_picture_of_which_nothing_is_visible_is_refused():
    with pytest.raises(ValueError, match="every patch is hidden"):
        complete(ShareHidden(), picture(), torch.ones(80, dtype=torch.bool))
